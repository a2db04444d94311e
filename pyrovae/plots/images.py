"""Grids of images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pyrovae.latent import Manifold, Reconstructions, Traversal
from pyrovae.plots.vectors import cell_size, draw_vectors, is_vectors


def plot_image_grid(
    images: np.ndarray,
    ax: Axes,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    gap: int = 1,
) -> Axes:
    """Draw rows of images as one picture, black on white for one channel, as they are for three; vectors as plots.

    Args:
        images: In [0, 1], (rows, columns, C, H, W); values outside are cut off. Vectors and sequences, whose H is 1,
            may have any values.
        ax: The axes to draw on.
        row_labels: A label left of each row, (rows,).
        column_labels: A label above each column, (columns,).
        gap: Pixels between two images.
    """
    rows, columns = images.shape[:2]
    height, width = cell_size(images)
    if is_vectors(images):
        draw_vectors(images, ax, gap)
    else:
        _draw_images(images, ax, gap)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if row_labels is not None:
        ax.set_yticks([gap + height / 2 + i * (height + gap) for i in range(rows)], row_labels)
    if column_labels is not None:
        ax.set_xticks([gap + width / 2 + j * (width + gap) for j in range(columns)], column_labels)
        ax.xaxis.tick_top()
    ax.tick_params(length=0)
    return ax


def _draw_images(images: np.ndarray, ax: Axes, gap: int) -> None:
    rows, columns, channels, height, width = images.shape
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.nan)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap) + gap, j * (width + gap) + gap
            canvas[top : top + height, left : left + width] = images[i, j].transpose(1, 2, 0)
    canvas = np.clip(canvas, 0, 1)
    if channels == 3:
        ax.imshow(np.nan_to_num(canvas, nan=1.0), interpolation="nearest")
    else:
        pixels = np.ma.masked_invalid(canvas.mean(-1))
        ax.imshow(pixels, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        ax.set_facecolor("#d8d8d8")


def plot_reconstructions(pairs: Reconstructions, ax: Axes) -> Axes:
    """Draw inputs above what the model makes of them, in two long rows."""
    both = np.stack([pairs.inputs, pairs.outputs])
    return plot_image_grid(both, ax, row_labels=["input", "output"])


def plot_manifold(manifold: Manifold, ax: Axes) -> Axes:
    """Draw the images over the plane of a two-dimensional code, with the coordinates of some on the axes."""
    rows, columns = manifold.images.shape[:2]
    height, width = cell_size(manifold.images)
    # Images of MNIST's size have a margin of their own; smaller ones run into each other without a gap.
    gap = 0 if min(height, width) >= 16 else 1
    gap = 4 if is_vectors(manifold.images) else gap
    plot_image_grid(manifold.images, ax, gap=gap)
    some_columns = np.linspace(0, columns - 1, min(columns, 7)).round().astype(int)
    some_rows = np.linspace(0, rows - 1, min(rows, 7)).round().astype(int)
    ax.set_xticks(
        gap + width / 2 + some_columns * (width + gap), [f"{manifold.coordinates[0, j, 0]:.2f}" for j in some_columns]
    )
    ax.set_yticks(
        gap + height / 2 + some_rows * (height + gap), [f"{manifold.coordinates[i, 0, 1]:.2f}" for i in some_rows]
    )
    ax.tick_params(length=2)
    ax.set(xlabel=f"z[0], at {manifold.spacing}", ylabel=f"z[1], at {manifold.spacing}")
    return ax


def plot_traversal(
    traversal: Traversal,
    ax: Axes,
    *,
    dims: Sequence[int] = (0, 1),
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> Axes:
    """Draw decoded codes with their coordinates on the upper left of each picture.

    Args:
        traversal: The traversal.
        ax: The axes to draw on.
        dims: The dimensions whose coordinates are written; none for pictures alone.
        row_labels: A label left of each row.
        column_labels: A label above each column.
    """
    height, width = cell_size(traversal.images)
    gap = max(2, height // 4) if len(dims) else 1
    plot_image_grid(traversal.images, ax, row_labels=row_labels, column_labels=column_labels, gap=gap)
    ax.set_facecolor("white")
    if len(dims):
        for i, row in enumerate(traversal.coordinates):
            for j, code in enumerate(row):
                text = ", ".join(f"{code[d]:.1f}" for d in dims)
                left, top = j * (width + gap) + gap, i * (height + gap) + gap
                ax.text(left, top - 1, text, fontsize=5, va="bottom", color="#555555")
    return ax
