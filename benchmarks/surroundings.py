"""What every file of results has: what a measurement was made with, and means over seeds."""

import platform
from collections.abc import Sequence
from datetime import date

import numpy as np
import torch


def surroundings() -> dict[str, str]:
    """Machine, versions and day, under the names that they have in results."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {gpu}",
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        "date": date.today().isoformat(),
    }


def over_seeds(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over seeds, in text."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"
