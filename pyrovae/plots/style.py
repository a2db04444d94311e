"""The style of all pictures: sizes, class colours, saving."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import RcParams, colormaps, rc_context, rc_params_from_file, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.style import available, library
from matplotlib.text import Text

from pyrovae.files import replace_file

# P. Tol's "muted" scheme, which colour-blind readers can tell apart, and a dark grey.
_COLOURS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#555555",
)
_MARKERS = ("o", "^", "s", "D", "v", "P", "X")
BOX = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
"""Behind text that lies on a drawing."""
MOST_LIGHT = 1.8
"""Sum of red, green and blue, each from 0 to 1, beyond which text cannot be read on white."""
FILE_FORMATS = (".png", ".svg", ".pdf")


Colours = Sequence[str] | str | None
"""Colours of the classes in their order, or the name of one of matplotlib's colour maps; None for the usual ones."""


def class_styles(num_classes: int, colours: Colours = None) -> list[tuple[str, str]]:
    """A colour and a marker for each class, always the same for the same class.

    Ten classes differ by colour; more share colours and differ by marker.

    References:
        P. Tol, Colour Schemes, SRON technical note (2021), for the colours.

    Args:
        num_classes: Number of classes.
        colours: Other colours, one for each class, or a colour map to take them from.

    Raises:
        ValueError: If there is no such colour or colour map, or there are fewer colours than classes.
    """
    if isinstance(colours, str):
        if colours not in colormaps:
            raise ValueError(f"colours must be a list of colours or a colour map of matplotlib, got {colours!r}")
        colours = [to_hex(c) for c in colormaps[colours](np.linspace(0, 1, num_classes))]
    wrong = [c for c in colours or () if not is_color_like(c)]
    if wrong or (colours is not None and not len(colours)):
        raise ValueError(f"colours must be names such as teal or #44AA99, got {wrong[0] if wrong else 'none'!r}")
    if colours is not None and len(colours) < num_classes:
        raise ValueError(
            f"{num_classes} classes need as many colours to be told apart, got {len(colours)}: name more, or a colour "
            f"map such as viridis"
        )
    chosen = colours or _COLOURS
    return [(chosen[k % len(chosen)], _MARKERS[k // len(chosen) % len(_MARKERS)]) for k in range(num_classes)]


def use_style(style: str) -> None:
    """Draws all pictures from now on with matplotlib's settings of a style: fonts, lines, ticks.

    Classes keep their colours, and pictures their white ground.

    Args:
        style: One of `matplotlib.style.available`, or a file of such settings.

    Raises:
        ValueError: If there is no such style, or its text is too bright for a white ground.
    """
    try:
        settings = _settings_of(Path(style)) if Path(style).is_file() else library[style]
    except (KeyError, OSError) as error:
        known = ", ".join(name for name in available if not name.startswith("_"))
        raise ValueError(f"style must be a file of matplotlib's settings or one of {known}, got {style!r}") from error
    if sum(to_rgb(settings.get("text.color", "black"))) > MOST_LIGHT:
        raise ValueError(f"the style {style} has bright text, and pictures are drawn on white: choose another")
    rcParams.update(settings)


def _settings_of(path: Path) -> RcParams:
    """The settings in a file.

    Raises:
        ValueError: If one of them is none, or there are none.
    """
    heard: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("matplotlib")  # says in many lines what it passes over
    before, log.propagate = log.propagate, False
    log.addHandler(listener)
    try:
        settings = rc_params_from_file(path, use_default_template=False)
    except ValueError as error:  # of a file that is no text
        heard.append(str(error))
    finally:
        log.removeHandler(listener)
        log.propagate = before
    if heard or not settings:
        why = next(iter(" ".join(heard).strip().splitlines()), "it has none")
        raise ValueError(f"style must be a file of matplotlib's settings, got {str(path)!r}: {why[:200]}")
    return settings


def new_figure(width: float = 6.0, height: float = 4.5, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of a given size in inches, with axes row by row. pyplot's state is not changed."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def new_facets(count: int, side: float = 1.9, width: float = 6.0) -> tuple[Figure, list[Axes]]:
    """A figure with one large pair of axes on the left and `count` small ones on the right, which share their ranges.

    Args:
        count: Number of small axes; none leaves the large ones alone.
        side: Width and height of the small ones, inches.
        width: Width of the large ones, inches.

    Returns:
        The figure and its axes, the large ones first.
    """
    columns = max(1, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    if not count:
        return new_figure(width, width)
    figure = Figure(figsize=(width + side * columns, max(width, side * rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(width, side * columns)).flat
    grid = right.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, ax in enumerate(grid.flat):
        ax.xaxis.set_tick_params(labelbottom=place + columns >= count)
        if place >= count:
            ax.remove()
    return figure, [left.subplots(), *grid.flat[:count]]


def save_figure(figure: Figure, path: Path, *, size: tuple[float, float] | None = None, dpi: int = 150) -> None:
    """Save as PNG, SVG or PDF, by the file's ending; the text of a PDF stays text.

    Args:
        figure: The figure.
        path: The file.
        size: Width and height in inches, kept exactly; by default the figure's own, cut to what is drawn.
        dpi: Pixels in an inch.

    Raises:
        ValueError: If the ending is none of these.
        OSError: If it cannot be written; what was there before is untouched then.
    """
    if path.suffix not in FILE_FORMATS:
        raise ValueError(f"a figure is saved as {', '.join(FILE_FORMATS)}, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    settings: dict[str, Any] = {"dpi": dpi, "facecolor": "white", "metadata": metadata}
    if size is None:
        settings |= {"bbox_inches": "tight", "pad_inches": 0.08}
    else:
        figure.set_size_inches(*size)
    for text in figure.findobj(Text):  # a dollar in the name of a column or a class begins no formula
        if "$" in text.get_text() and "\\mathdefault" not in text.get_text():  # of matplotlib's own ticks
            text.set_parse_math(False)
    with rc_context({"pdf.fonttype": 42}):
        replace_file(path, lambda beside: figure.savefig(beside, **settings))


def spare_axes(axes: Axes) -> None:
    """Remove the upper and the right line of the frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
