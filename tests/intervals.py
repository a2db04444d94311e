"""Do 95 % intervals hold as often as they say?"""

import numpy as np


def hold(away: np.ndarray, error: np.ndarray, *, short: float = 0.0) -> None:
    """Estimates, so far away from the truth, are within 1.96 errors of it in 95 % of all cases.

    Up to three standard deviations of that many independent cases; `short` is a share of them that may be missing.
    """
    inside = np.abs(away) < 1.96 * error
    band = 3 * np.sqrt(0.05 * 0.95 / inside.size)
    assert 0.95 - short - band <= inside.mean() <= 0.95 + band, f"{inside.sum()} of {inside.size} intervals hold"


def hold_in_19_of_20(away: list[float], error: list[float]) -> None:
    """The same of twenty seeds, without any allowance."""
    assert len(away) == 20
    inside = np.abs(away) < 1.96 * np.array(error)
    assert inside.sum() >= 19, f"{inside.sum()} of 20 intervals hold"
