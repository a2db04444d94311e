"""Early stopping: a monitored value, its best so far, and the epochs since then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def watched(row: Mapping[str, float]) -> float:
    """What is monitored of an epoch's row of metrics, NaN if it was not validated."""
    return row.get("validation_negative_bound", row.get("validation_negative_elbo", math.nan))


class EarlyStopping:
    """Stops after a number of epochs without an improvement of the monitored value.

    Args:
        patience: That number, or None for never.

    Attributes:
        best: The smallest value so far.
        epochs_without_better: Epochs since then.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.best = math.inf
        self.epochs_without_better = 0

    def is_better(self, watched: float) -> bool:
        """Record the value of an epoch, NaN if nothing is monitored; return whether it is the best so far."""
        if watched < self.best:
            self.best, self.epochs_without_better = watched, 0
            return True
        if not math.isnan(watched):
            self.epochs_without_better += 1
        return False

    def state_dict(self) -> dict[str, float | int]:
        """The recorded state."""
        return {"best": self.best, "epochs_without_better": self.epochs_without_better}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of `state_dict`."""
        self.best, self.epochs_without_better = state["best"], state["epochs_without_better"]

    @property
    def stops(self) -> bool:
        """Whether to stop."""
        return self.patience is not None and self.epochs_without_better >= self.patience
