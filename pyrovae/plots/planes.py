"""Planes of the latent space."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pyrovae.latent import Codes, Ellipse
from pyrovae.plots.style import Colours, class_styles, spare_axes

Styles = Sequence[tuple[str, str]]

_BOX = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


def plot_codes(
    codes: Codes,
    class_names: Sequence[str],
    ax: Axes,
    dims: tuple[int, int] = (0, 1),
    colours: Colours = None,
) -> Axes:
    """Draw the posterior means of images, coloured by class, the legend beside the axes.

    Args:
        codes: The codes.
        class_names: Name of each class.
        ax: The axes to draw on.
        dims: The two latent dimensions to draw.
        colours: Other colours than the usual; see `class_styles`.
    """
    styles = class_styles(len(class_names), colours)
    _scatter(codes.means[:, dims], codes.labels, styles, ax)
    _class_legend(class_names, styles, ax)
    _plane(ax, (f"z[{dims[0]}]", f"z[{dims[1]}]"))
    return ax


def plot_panels(
    panels: Mapping[str, Codes],
    class_names: Sequence[str],
    axes: Sequence[Axes],
    *,
    names: tuple[str, str] = ("z[0]", "z[1]"),
    limit: float | None = None,
    prior: Sequence[Ellipse] = (),
    colours: Colours = None,
) -> Sequence[Axes]:
    """Draw a draw from each posterior of several models side by side, in the same square, classes in their colours.

    Draws, not means: a model whose posteriors are all the prior has all its means at one point.

    Args:
        panels: Two-dimensional codes of the same images by each model, by the title of their panel.
        class_names: Name of each class.
        axes: As many axes.
        names: What to write on the two axes.
        limit: Half the side of the square around the origin, in units of the code; by default it holds all codes. What
            lies outside is counted in the panel's corner.
        prior: Ellipses of the prior, dashed.
        colours: Other colours than the usual; see `class_styles`.
    """
    styles = class_styles(len(class_names), colours)
    side = limit or 1.05 * max(float(np.abs(codes.draws).max()) for codes in panels.values())
    for (title, codes), ax in zip(panels.items(), axes, strict=True):
        _scatter(codes.draws, codes.labels, styles, ax)
        _prior_ellipses(prior, ax, over=True)
        _plane(ax, names)
        ax.set_adjustable("box")
        outside = int((np.abs(codes.draws) > side).any(1).sum())
        ax.set(xlim=(-side, side), ylim=(-side, side))
        ax.set_title(title)
        if outside:
            note = f"{outside:,} of {len(codes):,} codes are outside"
            ax.text(0.02, 0.02, note, transform=ax.transAxes, fontsize=7, zorder=4, bbox=_BOX)
    _class_legend(class_names, styles, axes[-1])
    return axes


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
    ellipses.

    Args:
        ellipses: The ellipses of each class, by label.
        class_names: Name of each class.
        ax: The axes to draw on.
        prior: Ellipses of the prior.
        names: What to write on the two axes.
        colours: Other colours than the usual; see `class_styles`.
    """
    styles = class_styles(len(class_names), colours)
    _prior_ellipses(prior, ax)
    places = _places(ellipses)
    for label, nested in ellipses.items():
        colour = styles[label][0]
        for ellipse in nested:
            ax.plot(*ellipse.outline().T, color=colour, linewidth=1.4, zorder=2)
        smallest = min(nested, key=lambda e: e.mass)
        ax.fill(*smallest.outline().T, color=colour, alpha=0.15, linewidth=0, zorder=2)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour, "linewidth": 0.8}
        ax.annotate(
            class_names[label],
            (float(places[label][0]), float(places[label][1])),
            ha="center",
            va="center",
            fontsize=8,
            bbox=box,
            zorder=3,
        )
    _class_legend(class_names, styles, ax, chosen=list(ellipses))
    _plane(ax, names)
    return ax


def _scatter(points: np.ndarray, labels: np.ndarray, styles: Styles, ax: Axes) -> None:
    """Points of a plane in the colours and markers of their classes."""
    # In one random order, so that no class is drawn over all others.
    order = np.random.default_rng(0).permutation(len(labels))
    size = float(np.clip(20_000 / len(order), 4, 30))
    for k, (colour, marker) in enumerate(styles):
        x, y = points[order][labels[order] == k].T
        ax.scatter(x, y, color=colour, marker=marker, s=size, linewidths=0, alpha=0.6, zorder=2)


def _prior_ellipses(prior: Sequence[Ellipse], ax: Axes, over: bool = False) -> None:
    """The prior's ellipses, dashed, with their masses."""
    for ellipse in prior:
        outline = ellipse.outline()
        ax.plot(*outline.T, color="#777777", linewidth=1, linestyle="--", zorder=3 if over else 1)
        x, y = outline[outline[:, 1].argmax()]
        ax.annotate(f"{ellipse.mass:g}", (x, y), color="#555555", fontsize=7, ha="center", va="center", bbox=_BOX)


def _places(ellipses: Mapping[int, Sequence[Ellipse]]) -> dict[int, np.ndarray]:
    """Position of each class's name: at its centre, or on its smallest ellipse if the centre is occupied."""
    outer = np.concatenate([nested[-1].outline() for nested in ellipses.values()])
    apart = 0.04 * float(np.ptp(outer, axis=0).max())
    places: dict[int, np.ndarray] = {}
    for label, nested in ellipses.items():
        smallest = min(nested, key=lambda e: e.mass)
        around = smallest.centre + np.array([[0.0], [0.5], [1.0]])[:, None] * (smallest.outline(9) - smallest.centre)
        taken = np.array(list(places.values())).reshape(-1, 2)
        free = [p for p in around.reshape(-1, 2) if (np.linalg.norm(taken - p, axis=1) > apart).all()]
        places[label] = free[0] if free else smallest.centre
    return places


def _class_legend(class_names: Sequence[str], styles: Styles, ax: Axes, chosen: Sequence[int] | None = None) -> None:
    """The classes and their colours, to the right of the axes."""
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
    """Axes with equal scales."""
    ax.set(aspect="equal", xlabel=names[0], ylabel=names[1])
    ax.set_adjustable("datalim")
    spare_axes(ax)
