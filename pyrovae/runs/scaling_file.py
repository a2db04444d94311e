"""The scaling of a run's values: kept beside its settings, so that output is in the units of the input."""

import json
from typing import Any

from pyrovae.data import ImageSet, Scaling
from pyrovae.data.moments import Moments
from pyrovae.training import RunFolder

TRAINING = "training"
ROWS = 1 << 14
"""Rows whose moments are computed together."""
ROUNDING = 1e-9
"""What machines may differ by."""


def scaling_text(data: ImageSet) -> str | None:
    """The text of a run's scaling.json; None for grey images, which have none.

    Mean and deviation of the training rows show later whether they are still the same, and other policies than
    "standard" do not tell them. The files of stored ones have digests.
    """
    if data.scaling is None:
        return None
    state = data.scaling.to_dict()
    if data.scaling.policy != "standard" and data.stored is None:
        state[TRAINING] = _moments(data).to_dict()
    return json.dumps(state, indent=1) + "\n"


def read_scaling(folder: RunFolder) -> Scaling | None:
    """The scaling of a run, or None of one that was trained on grey images.

    Raises:
        ValueError: If the file is damaged.
    """
    state = _read(folder)
    return None if state is None else _scaling(folder, state)


def _read(folder: RunFolder) -> Any:
    if not folder.scaling.exists():
        return None
    try:
        return json.loads(folder.scaling.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(folder, error) from error


def _scaling(folder: RunFolder, state: Any) -> Scaling:
    try:
        return Scaling.from_dict(state)
    except ValueError as error:
        raise _damaged(folder, error) from error


def _damaged(folder: RunFolder, error: ValueError) -> ValueError:
    return ValueError(f"{folder.scaling} is damaged ({error}): put back the file that the training wrote")


def _moments(data: ImageSet) -> Scaling:
    """Mean and deviation of the training rows."""
    moments = Moments(data.columns)
    for rows in data.splits["train"].split(ROWS):
        moments.add(data.images[rows].double())
    return moments.scaling("standard")


def _differ(saved: Scaling, now: Scaling) -> bool:
    """Whether numbers differ by more than rounding, on the scale of each column."""
    if saved.shift.shape != now.shift.shape or saved.policy != now.policy:
        return True
    close = (saved.scale - now.scale).abs() <= ROUNDING * now.scale
    return not bool((close & ((saved.shift - now.shift).abs() <= ROUNDING * (now.shift.abs() + now.scale))).all())


def check_scaling(folder: RunFolder, data: ImageSet) -> None:
    """Refuse values that are no longer those that a run was trained on, of which its scaling tells.

    Raises:
        ValueError: If columns or their numbers differ.
    """
    state, now = _read(folder), data.scaling
    if state is None and now is None:
        return
    if state is None or now is None:
        was, is_now = ("grey images", "values") if state is None else ("values", "grey images")
        raise ValueError(
            f"{folder.path} was trained on {was}, and {data.name} now holds {is_now}: put back the old file, or train "
            f"a new run"
        )
    saved = _scaling(folder, state)
    if saved.columns != now.columns:
        changed = sorted(set(saved.columns) ^ set(now.columns)) or ["their order"]
        what = f"other columns ({', '.join(changed[:5])})"
    elif _differ(saved, now) or (TRAINING in state and _differ(_scaling(folder, state[TRAINING]), _moments(data))):
        what = "other values"
    else:
        return
    raise ValueError(
        f"{folder.path} was trained on {what} than {data.name} now has: put back the old file, or train a new run"
    )
