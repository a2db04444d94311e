"""Grids of images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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
    """Draw rows of images as one picture: black on white for one channel, unchanged for three; vectors as plots.

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
    """Draw inputs above their reconstructions, in two long rows."""
    both = np.stack([pairs.inputs, pairs.outputs])
    return plot_image_grid(both, ax, row_labels=["input", "output"])


def plot_manifold(manifold: Manifold, ax: Axes) -> Axes:
    """Draw the images over the plane of a two-dimensional code, with round coordinates on the axes, zero among them."""
    height, width = cell_size(manifold.images)
    # Images of MNIST's size have a margin of their own; smaller ones run into each other without a gap.
    gap = 0 if min(height, width) >= 16 else 1
    gap = 4 if is_vectors(manifold.images) else gap
    plot_image_grid(manifold.images, ax, gap=gap)
    _label_plane(ax, manifold.coordinates, (height, width), gap)
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
    """Draw decoded codes, with two of their coordinates on the axes if they are a grid.

    Args:
        traversal: The traversal.
        ax: The axes to draw on.
        dims: The dimension that grows from left to right and the one that grows from bottom to top; none for codes
            that are no grid, which have labels instead.
        row_labels: A label left of each row.
        column_labels: A label above each column.

    Raises:
        ValueError: If the codes are no grid of these dimensions.
    """
    if not len(dims):
        return plot_image_grid(traversal.images, ax, row_labels=row_labels, column_labels=column_labels)
    plane = traversal.coordinates[:, :, list(dims)]
    if not (np.allclose(plane[:, :, 0], plane[:1, :, 0]) and np.allclose(plane[:, :, 1], plane[:, :1, 1])):
        raise ValueError(f"dims must be two dimensions of a grid of codes, or () for codes that are none, got {dims}")
    gap = 4 if is_vectors(traversal.images) else 1
    plot_image_grid(traversal.images, ax, gap=gap)
    _label_tiles(ax, plane, cell_size(traversal.images), gap)
    ax.set(xlabel=f"z[{dims[0]}]", ylabel=f"z[{dims[1]}]")
    return ax


def plot_interpolation(
    images: np.ndarray, ax: Axes, *, ends: np.ndarray | None = None, row_labels: Sequence[str] | None = None
) -> Axes:
    """Draw ways between two codes, one a row, with the share of the way above each column and both ends marked.

    Args:
        images: What the codes on the way decode to, both ends included, (rows, steps, C, H, W).
        ax: The axes to draw on.
        ends: The images that the ends are codes of, drawn outside of them, (rows, 2, C, H, W).
        row_labels: A label left of each row.
    """
    shares = [f"{share:.3g}" for share in np.linspace(0, 1, images.shape[1])]
    if ends is not None:
        images = np.concatenate([ends[:, :1], images, ends[:, 1:]], axis=1)
        shares = ["image", *shares, "image"]
    plot_image_grid(images, ax, row_labels=row_labels, column_labels=shares)
    if ends is not None:
        tile = cell_size(images)[1] + 1
        for between in (1, images.shape[1] - 1):
            ax.axvline(between * tile, color="black", linewidth=2)
    ax.set_xlabel("share of the way from the first code to the last")
    ax.xaxis.set_label_position("top")
    return ax


def _label_plane(ax: Axes, coordinates: np.ndarray, size: tuple[int, int], gap: int) -> None:
    """Mark round numbers between the images' coordinates where they would lie, (rows, columns, 2)."""
    height, width = size
    across, up = coordinates[0, :, 0], coordinates[::-1, 0, 1]
    places = gap + width / 2 + np.arange(len(across)) * (width + gap)
    heights = (gap + height / 2 + np.arange(len(up)) * (height + gap))[::-1]
    for axis, values, pixels in ((ax.xaxis, across, places), (ax.yaxis, up, heights)):
        locator = MaxNLocator(min(8, max(2, len(values) // 2)), steps=[1, 2, 5, 10])
        ticks = [t for t in locator.tick_values(values[0], values[-1]) if values[0] <= t <= values[-1]]
        axis.set_ticks(np.interp(ticks, values, pixels), [_number(tick) for tick in ticks])
    ax.tick_params(length=3)


def _label_tiles(ax: Axes, plane: np.ndarray, size: tuple[int, int], gap: int) -> None:
    """Write the two coordinates of a grid's codes, (rows, columns, 2), below its columns and left of its rows."""
    height, width = size
    for axis, values, side in ((ax.xaxis, plane[0, :, 0], width), (ax.yaxis, plane[:, 0, 1], height)):
        step = float(np.abs(np.diff(values)).min()) if len(values) > 1 else 1.0
        decimals = next((d for d in (1, 2) if np.isclose(step, round(step, d))), 3)
        places = gap + side / 2 + np.arange(len(values)) * (side + gap)
        axis.set_ticks(places, [_number(round(float(value), decimals)) for value in values])


def _number(value: float) -> str:
    """A short number with a true minus sign; zero has none."""
    return f"{value + 0.0:g}".replace("-", "−")
