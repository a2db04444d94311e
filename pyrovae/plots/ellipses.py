"""Ellipses of equal probability in a plane of the latent space."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from pyrovae.latent import Ellipse
from pyrovae.plots.planes import class_legend, draw_prior, finish_plane
from pyrovae.plots.style import Colours, class_styles

MANY = 20
"""Classes above which outer rings are faint and nothing is filled, and names replace the legend."""

SHORT = 2
"""Letters of a name that is written in a circle."""


def plot_ellipses(
    ellipses: Mapping[int, Sequence[Ellipse]],
    class_names: Sequence[str],
    ax: Axes,
    *,
    prior: Sequence[Ellipse] = (),
    names: tuple[str, str] = ("z[0]", "z[1]"),
    colours: Colours = None,
) -> Axes:
    """Draw nested ellipses of equal probability for each class, the prior's dashed, the legend beside the axes.

    Each class carries its name at its centre, or beside it where another is; the masses are written on the prior's
    ellipses. Of many classes only the smallest ellipses are drawn strongly, and the names are the legend.

    Args:
        ellipses: The ellipses of each class, by label.
        class_names: Name of each class.
        ax: The axes to draw on.
        prior: Ellipses of the prior.
        names: What to write on the two axes.
        colours: Other colours than the usual; see `class_styles`.
    """
    styles, many = class_styles(len(class_names), colours), len(ellipses) > MANY
    draw_prior(prior, ax)
    places = _places(ellipses, class_names)
    for label, nested in ellipses.items():
        colour = styles[label][0]
        for ellipse in nested:
            faint = many and ellipse is not _smallest(nested)
            width = (0.5 if faint else 1.0) if many else 1.4
            ax.plot(*ellipse.outline().T, color=colour, linewidth=width, alpha=0.35 if faint else 1.0, zorder=2)
        if not many:
            ax.fill(*_smallest(nested).outline().T, color=colour, alpha=0.1, linewidth=0, zorder=2)
        _write_name(class_names[label], places[label], colour, ax)
    if not many:
        class_legend(class_names, styles, ax, chosen=list(ellipses))
    finish_plane(ax, names)
    return ax


def _places(ellipses: Mapping[int, Sequence[Ellipse]], class_names: Sequence[str]) -> dict[int, np.ndarray]:
    """Where to write each class's name: at its centre, or beside it on its own smallest ellipse where that is taken."""
    outer = np.concatenate([nested[-1].outline() for nested in ellipses.values()])
    crowded = len(ellipses) > MANY or any(len(class_names[label]) > SHORT for label in ellipses)
    apart = (0.03 if len(ellipses) > MANY else 0.04) * float(np.ptp(outer, axis=0).max())
    shares, angles = (np.linspace(0, 1, 5), 25) if crowded else (np.array([0.0, 0.5, 1.0]), 9)
    places: dict[int, np.ndarray] = {}
    for label, nested in ellipses.items():
        smallest = _smallest(nested)
        around = smallest.centre + shares[:, None, None] * (smallest.outline(angles) - smallest.centre)
        # Two names need as much width as they have letters.
        wide = np.array([max(1.0, 0.2 * (len(class_names[k]) + len(class_names[label]))) for k in places])
        taken = np.array(list(places.values())).reshape(-1, 2)
        free = [
            p
            for p in around.reshape(-1, 2)
            if (np.hypot((taken[:, 0] - p[0]) / wide, taken[:, 1] - p[1]) > apart).all()
        ]
        places[label] = free[0] if free else smallest.centre
    return places


def _write_name(name: str, place: np.ndarray, colour: str, ax: Axes) -> None:
    """A class's name in a circle of its colour, a word in a box."""
    box = {
        "boxstyle": "circle,pad=0.15" if len(name) <= SHORT else "round,pad=0.15",
        "facecolor": "white",
        "edgecolor": colour,
        "linewidth": 0.8,
    }
    x, y = place.tolist()
    ax.annotate(name, (x, y), ha="center", va="center", fontsize=8, bbox=box, zorder=3)


def _smallest(nested: Sequence[Ellipse]) -> Ellipse:
    return min(nested, key=lambda ellipse: ellipse.mass)
