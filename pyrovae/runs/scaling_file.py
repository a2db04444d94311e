"""The scaling of a run's values: kept beside its settings, so that output is in the units of the input."""

import json

import torch

from pyrovae.data import ImageSet, Scaling
from pyrovae.training import RunFolder


def scaling_text(scaling: Scaling | None) -> str | None:
    """The text of a run's scaling.json; None for grey images, which have none."""
    return None if scaling is None else json.dumps(scaling.to_dict(), indent=1) + "\n"


def read_scaling(folder: RunFolder) -> Scaling | None:
    """The scaling of a run, or None of one that was trained on grey images.

    Raises:
        ValueError: If the file is damaged.
    """
    if not folder.scaling.exists():
        return None
    try:
        return Scaling.from_dict(json.loads(folder.scaling.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{folder.scaling} is damaged ({error}): put back the file that the training wrote") from error


def check_scaling(folder: RunFolder, data: ImageSet) -> None:
    """Refuse values that are no longer those that a run was trained on, of which its scaling tells.

    Raises:
        ValueError: If columns or their numbers differ.
    """
    saved, now = read_scaling(folder), data.scaling
    if saved is None or now is None:
        return
    if saved.columns != now.columns:
        changed = sorted(set(saved.columns) ^ set(now.columns)) or ["their order"]
        what = f"other columns ({', '.join(changed[:5])})"
    elif not all(
        torch.allclose(*pair, rtol=1e-9, atol=1e-12) for pair in ((saved.shift, now.shift), (saved.scale, now.scale))
    ):
        what = "other values"
    else:
        return
    raise ValueError(
        f"{folder.path} was trained on {what} than {data.name} now has: put back the old file, or train a new run"
    )
