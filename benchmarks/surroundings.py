"""What a measurement was made with, for every file of results."""

import platform
from datetime import date

import torch


def surroundings() -> dict[str, str]:
    """Machine, versions and day, under the names that they have in results."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {gpu}",
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        "date": date.today().isoformat(),
    }
