"""Codes in planes of the latent space."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pyrovae.latent import Codes, Ellipse
from pyrovae.plots.style import BOX, Colours, class_styles, spare_axes

Styles = Sequence[tuple[str, str]]


def plot_codes(
    codes: Codes,
    class_names: Sequence[str],
    ax: Axes,
    dims: tuple[int, int] = (0, 1),
    colours: Colours = None,
    legend: bool = True,
) -> Axes:
    """Draw the posterior means of images, coloured by class, the legend beside the axes.

    Args:
        codes: The codes.
        class_names: Name of each class.
        ax: The axes to draw on.
        dims: The two latent dimensions to draw.
        colours: Other colours than the usual; see `class_styles`.
        legend: Whether to draw it; beside `plot_code_facets` nobody needs it.
    """
    styles = class_styles(len(class_names), colours)
    _scatter(codes.means[:, dims], codes.labels, styles, ax)
    if legend:
        class_legend(class_names, styles, ax)
    _show_all(codes.means[:, dims], ax)
    finish_plane(ax, (f"z[{dims[0]}]", f"z[{dims[1]}]"))
    return ax


def plot_code_facets(
    codes: Codes,
    class_names: Sequence[str],
    axes: Sequence[Axes],
    dims: tuple[int, int] = (0, 1),
    colours: Colours = None,
) -> Sequence[Axes]:
    """Draw each class's posterior means on axes of their own, in its colour over all others in grey, with their count.

    Where thousands of codes of all classes lie on each other, only so is each class seen.

    Args:
        codes: The codes.
        class_names: Name of each class.
        axes: As many axes as classes, which share their ranges.
        dims: The two latent dimensions to draw.
        colours: Other colours than the usual; see `class_styles`.
    """
    points = codes.means[:, dims]
    for k, ((colour, _), ax) in enumerate(zip(class_styles(len(class_names), colours), axes, strict=True)):
        own = points[codes.labels == k]
        ax.scatter(points[:, 0], points[:, 1], color="#cccccc", s=2, linewidths=0, rasterized=True)
        ax.scatter(
            own[:, 0],
            own[:, 1],
            color=colour,
            s=float(np.clip(4_000 / max(1, len(own)), 3, 12)),
            linewidths=0,
            alpha=0.7,
        )
        _show_all(points, ax)
        ax.set_title(f"{class_names[k]} ({len(own):,})", fontsize=9)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(4, integer=True))
        ax.tick_params(labelsize=8)
        finish_plane(ax, ("", ""))
    return axes


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
        # In a square much wider than the prior its masses would hide the codes.
        draw_prior(prior, ax, over=True, masses=all(np.ptp(e.outline(), axis=0).max() > side / 2 for e in prior))
        finish_plane(ax, names)
        outside = int((np.abs(codes.draws) > side).any(1).sum())
        ax.set(xlim=(-side, side), ylim=(-side, side))
        ax.set_title(title)
        if outside:
            note = f"{outside:,} of {len(codes):,} codes are outside"
            ax.text(0.02, 0.02, note, transform=ax.transAxes, fontsize=7, zorder=4, bbox=BOX)
    class_legend(class_names, styles, axes[-1])
    return axes


def _scatter(points: np.ndarray, labels: np.ndarray, styles: Styles, ax: Axes) -> None:
    """Points of a plane in the colours and markers of their classes."""
    # In one random order, so that no class is drawn over all others.
    order = np.random.default_rng(0).permutation(len(labels))
    size, alpha = float(np.clip(20_000 / len(order), 4, 30)), float(np.clip(4_000 / len(order), 0.5, 0.7))
    for k, (colour, marker) in enumerate(styles):
        x, y = points[order][labels[order] == k].T
        ax.scatter(x, y, color=colour, marker=marker, s=size, linewidths=0, alpha=alpha, zorder=2)


def _show_all(points: np.ndarray, ax: Axes) -> None:
    """Have the axes hold all points, and neither side be much shorter than the other: ticks need room."""
    if len(points):
        low, high = points.min(0), points.max(0)
        half = 0.55 * (high - low)
        half = np.maximum(half, 0.75 * half.max() or 1.0)
        (left, bottom), (right, top) = (low + high) / 2 - half, (low + high) / 2 + half
        ax.set(xlim=(left, right), ylim=(bottom, top))


def draw_prior(prior: Sequence[Ellipse], ax: Axes, over: bool = False, masses: bool = True) -> None:
    """The prior's own ellipses, dashed, with their masses; below what else is drawn, or over it."""
    for ellipse in prior:
        outline = ellipse.outline()
        ax.plot(*outline.T, color="#777777", linewidth=1, linestyle="--", zorder=3 if over else 1)
        if not masses:
            continue
        x, y = outline[outline[:, 1].argmax()]
        ax.annotate(f"{ellipse.mass:g}", (x, y), color="#555555", fontsize=7, ha="center", va="center", bbox=BOX)


def class_legend(class_names: Sequence[str], styles: Styles, ax: Axes, chosen: Sequence[int] | None = None) -> None:
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


def finish_plane(ax: Axes, names: tuple[str, str]) -> None:
    """Axes of a plane in which a length is the same in every direction."""
    ax.set(aspect="equal", xlabel=names[0], ylabel=names[1])
    ax.set_adjustable("box")
    spare_axes(ax)
