"""Measured attributes of handwritten characters (thickness, slant, size) from moments of the grey values.

They do not depend on contrast, so a decoder's faint image is measured like a crisp one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pyrovae.checks import checked

ATTRIBUTES = ("thickness", "slant", "length", "height", "width")
"""Names of the attributes, in the order of `Morphology`."""

UNITS = dict.fromkeys(ATTRIBUTES, "pixels") | {"slant": "degrees"}
"""Unit of each attribute."""

_CHUNK = 500
"""Images at a time; few enough for the processor's cache."""


@dataclass(frozen=True, eq=False)
class Morphology:
    """Measured attributes of images; NaN for empty images.

    Attributes:
        thickness: Mean width of the strokes, pixels, (images,): twice the ink over the length of its outline. It is
            exact for a closed loop; for a straight stroke of length l and thickness t it is l / (l + t) of the truth.
        slant: Angle from upright, degrees, (images,); positive if the top leans to the right, as in italics.
        length: Length of the pen's path, pixels, (images,): half the outline, about 10 % too long.
        height: Height, pixels, (images,), of the upright bar with the same vertical variance of ink.
        width: Width without the slant, pixels, (images,): the same from the horizontal variance of the sheared image.
    """

    thickness: np.ndarray
    slant: np.ndarray
    length: np.ndarray
    height: np.ndarray
    width: np.ndarray

    def to_dict(self) -> dict[str, np.ndarray]:
        """The attributes by their names, each (images,)."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@checked
def measure(images: np.ndarray) -> Morphology:
    """Measure images of light strokes on a dark background, such as MNIST.

    References:
        D. C. Castro, J. Tan, B. Kainz, E. Konukoglu and B. Glocker, Morpho-MNIST: Quantitative Assessment and
        Diagnostics for Representation Learning (2019), arXiv:1809.10780, for the attributes and the slant by moments;
        they measure thickness and length on skeletons of binarised images.

    Args:
        images: Grey values in [0, 1], (images, C, H, W). Channels are averaged.

    Raises:
        ValueError: If the images do not have four axes.
    """
    if np.ndim(images) != 4:
        raise ValueError(f"images to measure must be of shape (N, C, H, W), got {np.shape(images)}")
    chunks = [_measure(images[start : start + _CHUNK]) for start in range(0, len(images), _CHUNK)]
    empty: tuple[np.ndarray, ...] = (np.zeros(0),) * len(ATTRIBUTES)
    return Morphology(*map(np.concatenate, zip(*chunks, strict=True)) if chunks else empty)


def _measure(images: np.ndarray) -> tuple[np.ndarray, ...]:
    ink = np.clip(np.asarray(images, dtype=np.float32).mean(1), 0, None)
    with np.errstate(invalid="ignore", divide="ignore"):
        mass = ink.sum((1, 2), dtype=np.float64)
        outline = _outline(ink)
        variance_x, covariance, variance_y = _second_moments(ink, mass)
        sheared = variance_x - covariance**2 / variance_y
        return (
            2 * mass / outline,
            np.degrees(np.arctan(-covariance / variance_y)),  # minus, as rows are counted downwards
            outline / 2 / _level(ink),
            np.sqrt(12 * variance_y),
            np.sqrt(12 * sheared.clip(min=0)),
        )


def _second_moments(ink: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Var(column), Cov(column, row) and Var(row) of each image's ink, pixels², each (images,)."""
    # Coordinates from the centre keep the differences below accurate.
    rows, columns = (np.arange(size, dtype=np.float32) - (size - 1) / 2 for size in ink.shape[1:])
    along_rows, along_columns = ink.sum(2) / mass[:, None], ink.sum(1) / mass[:, None]
    row, column = along_rows @ rows, along_columns @ columns
    mixed = (ink @ columns) @ rows / mass
    return along_columns @ columns**2 - column**2, mixed - row * column, along_rows @ rows**2 - row**2


def _outline(ink: np.ndarray) -> np.ndarray:
    """Total variation of the bilinear interpolation, pixels x grey value, (images,): the perimeter of a crisp shape.

    The integral of the gradient's length is the mean length of all level lines, so soft edges do not bias it. Four
    Gauss points per cell make it nearly independent of direction.
    """
    ink = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    down, right = np.diff(ink, axis=1), np.diff(ink, axis=2)
    near = 0.5 - 0.5 / 3**0.5
    total = np.zeros(len(ink))
    for u in (near, 1 - near):
        across = (1 - u) * right[:, :-1] + u * right[:, 1:]
        for v in (near, 1 - near):
            along = (1 - v) * down[:, :, :-1] + v * down[:, :, 1:]
            total += np.sqrt(np.square(across) + np.square(along)).sum((1, 2)) / 4
    return total


def _level(ink: np.ndarray) -> np.ndarray:
    """The grey value at the centre of strokes, (images,): a mean dominated by strong ink, but not by a single pixel."""
    squared = np.square(ink)
    return (squared * ink).sum((1, 2)) / squared.sum((1, 2))
