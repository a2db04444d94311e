"""Traversals of the latent space: grids, single dimensions, all classes at one code, lines between two codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from pyrovae.checks import Count, Positive, checked
from pyrovae.latent.generate import decode
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel

Path = Literal["linear", "spherical", "quantile"]


@dataclass(frozen=True, eq=False)
class Traversal:
    """Images decoded at given codes.

    Attributes:
        images: Mean of p(x | z, y) at each code, (rows, columns, C, H, W).
        coordinates: The codes, (rows, columns, latent_dim).
        labels: The class of each image, (rows, columns), or None for a model without labels.
    """

    images: np.ndarray
    coordinates: np.ndarray
    labels: np.ndarray | None


@checked
def traverse(model: LatentVariableModel, coordinates: np.ndarray, labels: np.ndarray | int | None = None) -> Traversal:
    """Decode a grid of codes.

    Args:
        model: The model.
        coordinates: Codes, (rows, columns, latent_dim).
        labels: Class of all images or of each, (rows, columns). A conditional model needs them, others ignore them.

    Raises:
        ValueError: If the dimension of the codes is not that of the model, or labels are missing or unknown.
    """
    rows, columns, dim = coordinates.shape
    shapes = model.shapes
    if dim != shapes.latent_dim:
        raise ValueError(f"codes of this model have {shapes.latent_dim} dimensions, got {dim}")
    labels = None if labels is None or not shapes.num_classes else np.broadcast_to(labels, (rows, columns))
    z = torch.as_tensor(coordinates, dtype=torch.float32).reshape(-1, dim)
    y = None if labels is None else torch.as_tensor(labels.copy()).flatten()
    return Traversal(decode(model, z, y).unflatten(0, (rows, columns)).numpy(), coordinates, labels)


@checked
def grid_around(
    centre: np.ndarray, *, rows: Count = 9, columns: Count = 9, step: Positive = 0.5, dims: tuple[int, int] = (0, 1)
) -> np.ndarray:
    """Codes on a grid around a code, (rows, columns, latent_dim).

    The first dimension of `dims` increases from left to right and the second from bottom to top, as on a plot.

    Args:
        centre: Code in the middle, (latent_dim,).
        rows: Codes from top to bottom.
        columns: Codes from left to right.
        step: Distance of neighbours, in units of the code.
        dims: The two dimensions to traverse.

    Raises:
        ValueError: If the code has only one dimension, a dimension does not exist, or a size is not positive.
    """
    centre = np.asarray(centre, dtype=np.float64)
    if rows < 1 or columns < 1 or not step > 0:
        raise ValueError(f"a grid needs rows, columns and a positive step, got {rows}, {columns} and {step}")
    if len(centre) < 2:
        raise ValueError(
            f"a grid needs a code of at least two dimensions, this one has {len(centre)}: traverse its axes"
        )
    _check_codes(rows * columns, len(centre))
    first, second = dims
    if first == second or not all(0 <= d < len(centre) for d in dims):
        raise ValueError(f"a grid needs two different dimensions from 0 to {len(centre) - 1}, got {dims}")
    codes = np.tile(centre, (rows, columns, 1))
    codes[:, :, first] += step * (np.arange(columns) - (columns - 1) / 2)
    codes[:, :, second] -= step * (np.arange(rows) - (rows - 1) / 2)[:, None]
    return codes


@checked
def axes_through(centre: np.ndarray, values: Sequence[float], dims: Sequence[int] | None = None) -> np.ndarray:
    """Codes along single dimensions, one row per dimension, (len(dims), len(values), latent_dim).

    Args:
        centre: Values of the other dimensions, (latent_dim,).
        values: Values of the row's dimension.
        dims: The dimensions; by default all.

    Raises:
        ValueError: If a dimension does not exist.
    """
    centre = np.asarray(centre, dtype=np.float64)
    chosen = range(len(centre)) if dims is None else dims
    if not all(0 <= d < len(centre) for d in chosen):
        raise ValueError(f"this code has dimensions 0 to {len(centre) - 1}, got {list(chosen)}")
    _check_codes(len(chosen) * len(values), len(centre))
    codes = np.tile(centre, (len(chosen), len(values), 1))
    for row, dim in enumerate(chosen):
        codes[row, :, dim] = values
    return codes


@checked
def every_class(model: LatentVariableModel, codes: np.ndarray) -> Traversal:
    """Decode each code with every label: one row per code, one column per class.

    Args:
        model: A conditional model.
        codes: Codes, (rows, latent_dim).

    Raises:
        ValueError: If the model is not conditional.
    """
    if not model.shapes.num_classes:
        raise ValueError("this model does not look at labels, so a code has one image: use a CVAE")
    labels = np.arange(model.shapes.num_classes)
    return traverse(model, np.repeat(np.asarray(codes)[:, None], len(labels), 1), np.tile(labels, (len(codes), 1)))


@checked
def interpolate(start: np.ndarray, end: np.ndarray, steps: Count = 9, path: Path = "linear") -> np.ndarray:
    """Codes from one code to another, both included, (steps, latent_dim).

    Args:
        start: First code, (latent_dim,).
        end: Last code, (latent_dim,).
        steps: Number of codes.
        path: "linear"; "spherical": along the great circle, with interpolated length; or "quantile": linear in the
            standard Normal's cumulative probability of each dimension, so that steps have equal prior probability.

    Raises:
        ValueError: If there are fewer than two steps, or the path is unknown.

    References:
        T. White, Sampling Generative Networks (2016), arXiv:1609.04468, for the spherical path.
    """
    if steps < 2:
        raise ValueError(f"an interpolation needs at least its two ends, got {steps} steps")
    _check_codes(steps, np.size(start))
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    t = np.linspace(0, 1, steps)[:, None]
    if path == "linear":
        return (1 - t) * a + t * b
    codes = _quantile_line(a, b, t) if path == "quantile" else _spherical_line(a, b, t)
    codes[0], codes[-1] = a, b
    return codes


def _check_codes(count: int, latent_dim: int) -> None:
    """Refuse more codes than there is memory for."""
    check_memory({f"{count:,} codes of {latent_dim} dimensions": 32 * count * latent_dim}, "ask for fewer")


def _quantile_line(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr, ndtri

    return ndtri((1 - t) * ndtr(a) + t * ndtr(b))


def _spherical_line(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) < 1e-12:
        return (1 - t) * a + t * b  # the origin has no direction
    u, v = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.clip(u @ v, -1, 1))
    if np.sin(angle) < 1e-6:
        return (1 - t) * a + t * b  # parallel, or opposite: no unique great circle
    directions = (np.sin((1 - t) * angle) * u + np.sin(t * angle) * v) / np.sin(angle)
    return directions * ((1 - t) * lengths[0] + t * lengths[1])
