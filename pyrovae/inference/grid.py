"""The exact posterior of a code of one or two dimensions: its density on a grid fitted to each image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import Count, Positive, checked
from pyrovae.data import Split
from pyrovae.inference.draws import PosteriorDraws
from pyrovae.inference.target import Target
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

NEGLIGIBLE = 25.0
"""A log-density this many nats below the maximum is left out of a grid."""
ROUNDS = 12
"""Maximum number of times that a grid is moved or resized."""
MOST_POINTS = 512
"""Maximum number of points along each side."""


@dataclass(frozen=True, eq=False)
class GridPosterior:
    """p(z | x) of images on grids.

    Attributes:
        axes: Midpoints of the cells along each dimension, evenly spaced, (images, latent_dim, points).
        log_density: log p(z | x) at the midpoints, (images, points) or (images, points, points), z[0] first.
        log_evidence: log p(x), (images,), in nats.
        error: Bound of the error of log p(x): the difference to the rule with every other point, plus rounding in
            float32, (images,).
    """

    axes: np.ndarray
    log_density: np.ndarray
    log_evidence: np.ndarray
    error: np.ndarray

    @cached_property
    def points(self) -> np.ndarray:
        """All midpoints, (cells, images, latent_dim)."""
        return _mesh(torch.as_tensor(self.axes)).numpy()

    @cached_property
    def weights(self) -> np.ndarray:
        """Probability of each cell, (cells, images)."""
        logs = self.log_density.reshape(len(self.axes), -1).T
        weights = np.exp(logs - logs.max(0))
        return weights / weights.sum(0)

    @property
    def mean(self) -> np.ndarray:
        """(images, latent_dim)."""
        return np.einsum("sn,snd->nd", self.weights, self.points)

    @property
    def covariance(self) -> np.ndarray:
        """(images, latent_dim, latent_dim)."""
        away = self.points - self.mean
        return np.einsum("sn,snd,snf->ndf", self.weights, away, away)

    def levels(self, masses: Sequence[float]) -> np.ndarray:
        """Log-density at the edge of the highest-density region of each mass, (images, masses)."""
        rows = self.log_density.reshape(len(self.axes), -1)
        return np.stack([density_levels(row, masses) for row in rows])

    def draws(self, draws: int = 1000, *, seed: int = 0) -> PosteriorDraws:
        """Independent draws: a cell by its probability, and a place in it."""
        size = draws * len(self.axes) * self.axes.shape[1]
        check_memory({f"{draws:,} draws for each image": 40 * size}, "choose fewer draws")
        rng = np.random.default_rng(seed)
        steps = self.axes[:, :, 1] - self.axes[:, :, 0]
        cells = np.stack([rng.choice(len(self.points), draws, p=w) for w in self.weights.T], 1)
        z = np.take_along_axis(self.points, cells[:, :, None], 0)
        z = z + steps * (rng.random(z.shape) - 0.5)
        return PosteriorDraws("quadrature", z[None].astype(np.float32), independent=True)


def density_levels(log_density: np.ndarray, masses: Sequence[float]) -> np.ndarray:
    """Log-density at the edge of the highest-density region of each mass, in the order of the masses.

    Args:
        log_density: On cells of equal size, (cells,), up to a constant. Cells that are not finite have no mass.
        masses: Probabilities of the regions, as shares of the mass on all cells.
    """
    ordered = np.sort(log_density[np.isfinite(log_density)])[::-1]
    inside = np.cumsum(np.exp(ordered - ordered[0]))
    return ordered[np.searchsorted(inside / inside[-1], masses)]


def rounding(values: np.ndarray, pixels: int) -> np.ndarray:
    """Bound of the float32 rounding error of a sum over pixels, nats."""
    return 2.0**-22 * (np.abs(values) + pixels)


@checked
def quadrature_posterior(
    model: LatentVariableModel,
    split: Split,
    points: Count = 128,
    *,
    seen: Tensor | None = None,
    tolerance: Positive = 1e-3,
    progress: Callable[[int], object] = lambda codes: None,
) -> GridPosterior:
    """Compute p(z | x) of a code of one or two dimensions by the midpoint rule.

    The first grid of an image covers draws of prior and guide. It is moved and resized until it fits the region within
    25 nats of the maximum. Then the number of points is doubled until log p(x) agrees with the rule on every other
    point.

    Args:
        model: A model with a code of one or two dimensions.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        points: Initial number of points along each side; even.
        seen: Which pixels are observed, bool (C, H, W) or (N, C, H, W); all by default.
        tolerance: Error of log p(x), in nats, above which points are doubled, up to 512.
        progress: Called with the number of codes done since the last call.

    Raises:
        ValueError: If the code has more dimensions, there is no posterior, or the number of points is odd.
    """
    dims = model.shapes.latent_dim
    if dims > 2:
        raise ValueError(f"quadrature is for codes of one or two dimensions, this model has {dims}: use nuts_posterior")
    if points < 8 or points % 2:
        raise ValueError(f"quadrature needs an even number of points along each side, at least 8, got {points}")
    cells = len(split) * points**dims
    check_memory({f"grids of {cells:,} cells": 8 * (3 + 2 * dims) * cells}, "choose fewer points, or fewer images")
    with frozen(model) as device:
        target = Target.of(model, split, device, seen)
        ends = target.ends()
        low, high = _first_box(target, ends)
        low, high, logs, evidence, error = adapted(target, low, high, ends, points, tolerance, progress=progress)
        axes = _axes(low, high, logs.shape[1])
        density = logs - evidence.reshape(-1, *[1] * dims)
    return GridPosterior(*(part.cpu().numpy() for part in (axes, density, evidence, error)))


def adapted(
    target: Target,
    low: Tensor,
    high: Tensor,
    ends: tuple[float, float],
    points: int,
    tolerance: float,
    most: int = MOST_POINTS,
    progress: Callable[[int], object] = lambda codes: None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Fit a grid to the posterior of each image: first its ends, then its number of points.

    Args:
        target: The images' unnormalised posterior.
        low: Lower ends of the first grids, float64 (images, latent_dim).
        high: Their upper ends.
        ends: Bounds of the codes' support.
        points: Initial number of points along each side; even.
        tolerance: Error of log p(x), in nats, above which points are doubled.
        most: Maximum number of points along each side.
        progress: Called with the number of codes done since the last call.

    Returns:
        Ends of the grids, (images, latent_dim) twice; log p(x, z) on them, (images, points, ...); log p(x) and the
        bound of its error, (images,) each.
    """
    logs = _evaluate(target, low, high, points, progress)
    for _ in range(ROUNDS):
        new_low, new_high = _next_box(logs, low, high, ends)
        if bool(((new_high - new_low) > 0.6 * (high - low)).all() & ((new_low >= low) & (new_high <= high)).all()):
            break
        low, high = new_low, new_high
        logs = _evaluate(target, low, high, points, progress)
    evidence, error = _integrate(logs, low, high)
    while float(error.max()) > tolerance and points < most:
        points *= 2
        logs = _evaluate(target, low, high, points, progress)
        evidence, error = _integrate(logs, low, high)
    rounded = rounding(evidence.cpu().numpy(), target.x[0].numel())
    return low, high, logs, evidence, error + torch.as_tensor(rounded, device=error.device)


def _axes(low: Tensor, high: Tensor, points: int) -> Tensor:
    """Midpoints, float64 (images, latent_dim, points)."""
    middle = (torch.arange(points, device=low.device, dtype=torch.float64) + 0.5) / points
    return low[..., None] + (high - low)[..., None] * middle


def _mesh(axes: Tensor) -> Tensor:
    """All points of the grids, (cells, images, latent_dim), the first dimension slowest."""
    if axes.shape[1] == 1:
        return axes.permute(2, 0, 1)
    points = axes.shape[2]
    first = axes[:, 0].T.repeat_interleave(points, 0)
    return torch.stack([first, axes[:, 1].T.repeat(points, 1)], -1)


def _evaluate(target: Target, low: Tensor, high: Tensor, points: int, progress: Callable[[int], object]) -> Tensor:
    """Log p(x, z) on the grids, float64 (images, points, ...)."""
    z = _mesh(_axes(low, high, points)).to(target.x.dtype)
    return target.log_joint_of_many(z, progress).T.unflatten(1, (points,) * low.shape[1])


def _integrate(logs: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Log p(x) by all points, and its difference to the value by every other point."""
    cell = ((high - low) / logs.shape[1]).log().sum(1)
    full = logs.flatten(1).logsumexp(1) + cell
    half = logs[(slice(None), *[slice(None, None, 2)] * low.shape[1])].flatten(1)
    return full, (full - half.logsumexp(1) - cell - low.shape[1] * math.log(2)).abs()


def _first_box(target: Target, ends: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """A square that contains nearly all draws of prior and guide: its ends, (images, latent_dim) twice."""
    prior = target.model.prior(target.y).expand([len(target)])
    codes = torch.cat([p.sample(torch.Size([2000])) for p in (prior, target.guide())]).double()
    # A quantile, not the maximum: under a prior with heavy tails the square would be too wide for its cells.
    sides = 1.2 * codes.abs().flatten(0, 1).quantile(0.9995, dim=0).max().expand(len(target), codes.shape[-1])
    return (-sides).clamp(min=ends[0]), sides.clamp(max=ends[1])


def _next_box(logs: Tensor, low: Tensor, high: Tensor, ends: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The box around all that is not negligible, with a margin of two cells; extended where that reaches the edge."""
    points, dims = logs.shape[1], low.shape[1]
    step = (high - low) / points
    matters = logs > logs.flatten(1).max(1).values.reshape(-1, *[1] * dims) - NEGLIGIBLE
    lows, highs = [], []
    for d in range(dims):
        other = [1 + k for k in range(dims) if k != d]
        rows = matters.any(other[0]) if other else matters
        first = rows.int().argmax(1)
        last = points - 1 - rows.flip(1).int().argmax(1)
        wide = high[:, d] - low[:, d]
        lows.append(torch.where(first == 0, low[:, d] - wide / 2, low[:, d] + (first - 2) * step[:, d]))
        highs.append(
            torch.where(last == points - 1, high[:, d] + wide / 2, high[:, d] - (points - 3 - last) * step[:, d])
        )
    return torch.stack(lows, 1).clamp(min=ends[0]), torch.stack(highs, 1).clamp(max=ends[1])
