"""When to stop: a watched number, the best of it so far, and how long ago that was."""

from __future__ import annotations

import math
from typing import Any


class EarlyStopping:
    """Stops after a number of epochs without a better value of what is watched.

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
        """Take in the value of an epoch, NaN where nothing is watched, and say whether it is the best so far."""
        if watched < self.best:
            self.best, self.epochs_without_better = watched, 0
            return True
        if not math.isnan(watched):
            self.epochs_without_better += 1
        return False

    def state_dict(self) -> dict[str, float | int]:
        """What it has seen."""
        return {"best": self.best, "epochs_without_better": self.epochs_without_better}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.best, self.epochs_without_better = state["best"], state["epochs_without_better"]

    @property
    def stops(self) -> bool:
        """Whether it is time."""
        return self.patience is not None and self.epochs_without_better >= self.patience
