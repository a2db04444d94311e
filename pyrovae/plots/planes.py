"""Planes of the latent space."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pyrovae.latent import Codes, Ellipse
from pyrovae.plots.style import class_styles, spare_axes


def plot_codes(codes: Codes, class_names: Sequence[str], ax: Axes, dims: tuple[int, int] = (0, 1)) -> Axes:
    """Draw the posterior means of images, coloured by class, the legend beside the axes.

    Args:
        codes: The codes.
        class_names: Name of each class.
        ax: The axes to draw on.
        dims: The two latent dimensions to draw.
    """
    styles = class_styles(len(class_names))
    # In one random order, so that no class is drawn over all others.
    order = np.random.default_rng(0).permutation(len(codes.labels))
    size = float(np.clip(20_000 / len(order), 4, 30))
    for k, (colour, marker) in enumerate(styles):
        chosen = codes.labels[order] == k
        ax.scatter(
            codes.means[order][chosen][:, dims[0]],
            codes.means[order][chosen][:, dims[1]],
            color=colour,
            marker=marker,
            s=size,
            linewidths=0,
            alpha=0.6,
            zorder=2,
        )
    _class_legend(class_names, ax)
    _plane(ax, (f"z[{dims[0]}]", f"z[{dims[1]}]"))
    return ax


def plot_ellipses(
    ellipses: Mapping[int, Sequence[Ellipse]],
    class_names: Sequence[str],
    ax: Axes,
    *,
    prior: Sequence[Ellipse] = (),
    names: tuple[str, str] = ("z[0]", "z[1]"),
) -> Axes:
    """Draw nested ellipses of equal probability for each class, the prior's dashed, the legend beside the axes.

    The outermost ellipse of each class carries its name at the centre; the masses are written on the prior's ellipses.

    Args:
        ellipses: The ellipses of each class, by label.
        class_names: Name of each class.
        ax: The axes to draw on.
        prior: Ellipses of the prior.
        names: What to write on the two axes.
    """
    styles = class_styles(len(class_names))
    for ellipse in prior:
        outline = ellipse.outline()
        ax.plot(*outline.T, color="#999999", linewidth=1, linestyle="--", zorder=1)
        x, y = outline[outline[:, 1].argmax()]
        ax.annotate(f"{ellipse.mass:g}", (x, y), color="#777777", fontsize=7, ha="center", va="bottom")
    for label, nested in ellipses.items():
        colour = styles[label][0]
        for ellipse in nested:
            ax.plot(*ellipse.outline().T, color=colour, linewidth=1.4, zorder=2)
        smallest = min(nested, key=lambda e: e.mass)
        ax.fill(*smallest.outline().T, color=colour, alpha=0.15, linewidth=0, zorder=2)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour, "linewidth": 0.8}
        ax.annotate(
            class_names[label],
            (nested[0].centre[0], nested[0].centre[1]),
            ha="center",
            va="center",
            fontsize=8,
            bbox=box,
            zorder=3,
        )
    _class_legend(class_names, ax, chosen=list(ellipses))
    _plane(ax, names)
    return ax


def _class_legend(class_names: Sequence[str], ax: Axes, chosen: Sequence[int] | None = None) -> None:
    """The classes and their colours, to the right of the axes."""
    styles = class_styles(len(class_names))
    handles = [
        Line2D([], [], linestyle="", marker=styles[k][1], color=styles[k][0], label=class_names[k])
        for k in (range(len(class_names)) if chosen is None else chosen)
    ]
    ax.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        ncols=1 + (len(handles) - 1) // 16,
        handletextpad=0.2,
    )


def _plane(ax: Axes, names: tuple[str, str]) -> None:
    """Axes of a plane in which a length is the same in every direction."""
    ax.set(aspect="equal", xlabel=names[0], ylabel=names[1])
    ax.set_adjustable("datalim")
    spare_axes(ax)
