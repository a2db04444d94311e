"""Whether probabilities are right: bands of ranks, and accuracy against confidence."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyrovae.diagnostics.calibration import Calibration
from pyrovae.inference.classes import Reliability
from pyrovae.plots.style import BOX, spare_axes

_INSIDE, _OUTSIDE, _POINT = "#117733", "#CC6677", "#332288"


def plot_calibration(calibration: Calibration, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw the ranks' distribution function minus the uniform one on an axis for each quantity, with its band.

    A guide too narrow rises above the band on the left and sinks below it on the right; one too wide does the reverse.
    Where the curve is outside of the band it carries points, as the band is thin at its ends.

    Args:
        calibration: What `calibrate` found.
        axes: An axis for each quantity, or for as many as shall be seen: the first ones and the last.
    """
    levels = calibration.levels
    chosen = [*range(len(axes) - 1), len(calibration.quantities) - 1]
    for ax, k in zip(axes, chosen, strict=True):
        ax.fill_between(
            levels, calibration.lower - levels, calibration.upper - levels, color="#bbbbbb", alpha=0.5, linewidth=0
        )
        colour = _INSIDE if calibration.inside[k] else _OUTSIDE
        away, outside = calibration.shares[k] - levels, calibration.outside[k]
        ax.plot(levels, away, color=colour, linewidth=1.2)
        ax.plot(levels[outside], away[outside], color=colour, linestyle="", marker="o", markersize=2)
        ax.axhline(0, color="#777777", linewidth=0.6)
        verdict = "inside" if calibration.inside[k] else f"outside at {outside.sum()} of {len(levels)} ranks"
        ax.set_title(f"{calibration.quantities[k]}\n{verdict}", fontsize=10)
        ax.set(xlabel="rank of the true value", xlim=(-0.02, 1.02), xticks=(0, 0.5, 1))
        spare_axes(ax)
    axes[0].set_ylabel("share below, minus uniform")
    return axes


def plot_reliability(curve: Reliability, ax: Axes) -> Axes:
    """Draw accuracy against confidence with bars of 95 %, the number of images beside each point and as its area."""
    errors = 1.96 * curve.error
    ends = np.minimum(errors, curve.accuracy), np.minimum(errors, 1 - curve.accuracy)
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    ax.errorbar(curve.confidence, curve.accuracy, ends, color=_POINT, linestyle="", linewidth=1)
    sizes = 8 + 100 * curve.counts / curve.counts.max()
    ax.scatter(curve.confidence, curve.accuracy, s=sizes, color=_POINT, zorder=3, clip_on=False)
    for x, y, size, count in zip(curve.confidence, curve.accuracy, sizes, curve.counts, strict=True):
        away = (-3 - np.sqrt(size) / 2, 0)
        ax.annotate(
            f"{count:,}", (x, y), away, textcoords="offset points", fontsize=7, ha="right", va="center", bbox=BOX
        )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
    ax.set(xlabel="confidence: probability of the predicted class", ylabel="accuracy: share of them that is right")
    spare_axes(ax)
    return ax
