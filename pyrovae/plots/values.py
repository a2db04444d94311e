"""Plots of a study's numbers over a few settings."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pyrovae.plots.style import class_styles, spare_axes

_CURVES = (0, 6, 3, 7)
"""Class colours of curves, in turn; chosen for different lightness."""


def plot_values(
    settings: Sequence[str],
    means: Sequence[float],
    errors: Sequence[float],
    ax: Axes,
    label: str,
    *,
    name: str = "",
    line: float | None = None,
) -> Axes:
    """Draw values with error bars of one standard error, the settings evenly spaced.

    A second call on the same axes draws the next curve in another colour.

    Args:
        settings: Names of the settings.
        means: Value at each.
        errors: Standard error of each.
        ax: The axes to draw on.
        label: What the values are, with their unit.
        name: Name of the curve in a legend.
        line: A value to compare with, dashed.
    """
    drawn = len(ax.containers)
    colour = class_styles(10)[_CURVES[drawn % len(_CURVES)]][0]
    places = np.arange(len(settings))
    ax.errorbar(places, means, errors, color=colour, marker="os^D"[drawn % 4], markersize=4, label=name)
    if line is not None:
        ax.axhline(line, color="#777777", linewidth=1, linestyle="--")
    ax.set_xticks(places, settings)
    ax.set_ylabel(label)
    ax.margins(x=0.08)
    spare_axes(ax)
    return ax
