"""One look for all pictures: sizes, class colours, saving."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
FILE_FORMATS = (".png", ".svg", ".pdf")


def class_styles(num_classes: int) -> list[tuple[str, str]]:
    """A colour and a marker for each class, always the same for the same class.

    Ten classes differ by colour; more share colours and differ by marker.

    References:
        P. Tol, Colour Schemes, SRON technical note (2021), for the colours.
    """
    return [(_COLOURS[k % len(_COLOURS)], _MARKERS[k // len(_COLOURS) % len(_MARKERS)]) for k in range(num_classes)]


def new_figure(width: float = 6.0, height: float = 4.5, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of its own, inches wide and high, with axes side by side; pyplot's state is not touched."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def save_figure(figure: Figure, path: Path) -> None:
    """Save as PNG, SVG or PDF, by the file's ending.

    Raises:
        ValueError: If the ending is none of these.
    """
    if path.suffix not in FILE_FORMATS:
        raise ValueError(f"a figure is saved as {', '.join(FILE_FORMATS)}, got {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None)


def spare_axes(axes: Axes) -> None:
    """Take away what a plot does not need: the upper and the right line of the frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
