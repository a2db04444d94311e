"""Grids of vectors and sequences: each is a small plot of its numbers, where an image is a picture of its pixels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Patch

from pyrovae.plots.style import class_styles, spare_axes

FEW_COLUMNS = 40
"""Numbers up to which each is drawn as a bar; more of them as a line."""
_HEIGHT, _WIDTH = 24, 32
_FRAME, _BAR = "#bbbbbb", "#44AA99"


def is_vectors(images: np.ndarray) -> bool:
    """Whether an array, (..., C, H, W), holds vectors or sequences, which are one pixel high."""
    return images.shape[-2] == 1


def cell_size(images: np.ndarray) -> tuple[int, int]:
    """Height and width that one image or vector of an array, (..., C, H, W), takes in a grid."""
    return (_HEIGHT, _WIDTH) if is_vectors(images) else (images.shape[-2], images.shape[-1])


def draw_vectors(vectors: np.ndarray, ax: Axes, gap: float) -> None:
    """Draw rows of vectors as bars, and of long vectors or sequences as lines, all on one scale.

    Args:
        vectors: (rows, columns, C, 1, D), NaN where a number is missing.
        ax: The axes, whose picture of each cell is `cell_size` and goes down from the top, as images do.
        gap: Distance of two cells.
    """
    rows, columns, channels, _, numbers = vectors.shape
    seen = vectors[np.isfinite(vectors)]
    low, high = (min(0.0, float(seen.min())), max(0.0, float(seen.max()))) if seen.size else (0.0, 1.0)
    tall = _HEIGHT / max(high - low, 1e-12)
    bars = channels == 1 and numbers <= FEW_COLUMNS
    colours = [colour for colour, _ in class_styles(channels)] if channels > 1 else [_BAR]
    frames: list[np.ndarray] = []
    shapes: list[list[np.ndarray]] = [[] for _ in colours]
    for i in range(rows):
        for j in range(columns):
            left, top = j * (_WIDTH + gap) + gap - 0.5, i * (_HEIGHT + gap) + gap - 0.5
            zero = top + tall * high
            frames += [_rectangle(left, top, _WIDTH, _HEIGHT), np.array([(left, zero), (left + _WIDTH, zero)])]
            for vector, found in zip(vectors[i, j, :, 0], shapes, strict=True):
                found += _bars(vector, left, zero, tall) if bars else _lines(vector, left, zero, tall)
    ax.add_collection(LineCollection(frames, colors=_FRAME, linewidths=0.4))
    for found, colour in zip(shapes, colours, strict=True):
        kind = (
            PolyCollection(found, facecolors=colour) if bars else LineCollection(found, colors=colour, linewidths=0.7)
        )
        ax.add_collection(kind)
    ax.set(xlim=(-0.5, columns * (_WIDTH + gap) + gap - 0.5), ylim=(rows * (_HEIGHT + gap) + gap - 0.5, -0.5))
    ax.set_aspect("equal")


def plot_columns(rows: np.ndarray, draws: np.ndarray, names: Sequence[str], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw a histogram of each column of a table, filled, and of a model's draws of it, as a line.

    Args:
        rows: The table, (rows, columns), NaN where a value is missing.
        draws: The model's, (draws, columns).
        names: Of the columns.
        axes: As many axes, or more.
    """
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    for seen, drawn, name, ax in zip(rows.T, draws.T, names, axes, strict=False):
        seen = seen[np.isfinite(seen)]
        both = np.concatenate([seen, np.quantile(drawn, [0.005, 0.995])])
        bins = np.linspace(both.min(), both.max() + 1e-12, 25).tolist()
        ax.hist(seen, bins, density=True, color=_BAR, alpha=0.5)
        ax.hist(drawn, bins, density=True, histtype="step", color="#332288")
        ax.set_title(name, fontsize=8)
        ax.set_yticks([])
        ax.tick_params(labelsize=7)
        ax.xaxis.get_offset_text().set_fontsize(7)
        spare_axes(ax)
    if len(names):
        handles = [Patch(color=_BAR, alpha=0.5, label="rows"), Patch(fill=False, edgecolor="#332288", label="draws")]
        axes[0].legend(handles=handles, fontsize=6, frameon=False)
    return axes


def _rectangle(left: float, top: float, width: float, height: float) -> np.ndarray:
    right, low = left + width, top + height
    return np.array([(left, top), (right, top), (right, low), (left, low), (left, top)])


def _bars(vector: np.ndarray, left: float, zero: float, tall: float) -> list[np.ndarray]:
    width = _WIDTH / len(vector)
    return [
        _rectangle(left + (k + 0.1) * width, zero, 0.8 * width, -tall * value)
        for k, value in enumerate(vector)
        if np.isfinite(value)
    ]


def _lines(vector: np.ndarray, left: float, zero: float, tall: float) -> list[np.ndarray]:
    """One line for each stretch without a missing number."""
    x = left + _WIDTH * (np.arange(len(vector)) + 0.5) / len(vector)
    points = np.stack([x, zero - tall * vector], 1)
    breaks = np.flatnonzero(~np.isfinite(vector))
    pieces = np.split(points, breaks)
    return [whole for piece in pieces if len(whole := piece[np.isfinite(piece[:, 1])])]
