"""The exact log p(x) of models with a two-dimensional code, by a grid over the plane that all images share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, constraints

from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, batches, is_black_and_white, to_unit
from pyrovae.inference.graphs import graph_of
from pyrovae.inference.grid import NEGLIGIBLE, adapted, rounding
from pyrovae.inference.likelihood import LikelihoodEstimate, check_has_likelihood
from pyrovae.inference.target import Target, other_codes
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import device_of, frozen

CODES_AT_A_TIME = 2_000
"""Grid points decoded together; it bounds the memory whatever the number of points."""
TOLERANCE = 1e-3
"""Error in nats above which the grid of an image is refined."""
CLOSER, CLOSEST = 32, 128
"""Points along each side of the grids of an image's own, at first and at most."""
CLOSER_IMAGES = 10
"""Images whose own grids are decoded together."""
LOOKED_AT = 500
"""Images for which the shared grid is decoded again, to see where their mass is."""


@dataclass(frozen=True)
class Box:
    """A rectangle of the plane, (2,) each."""

    low: Tensor
    high: Tensor

    def grid(self, points: int) -> tuple[Tensor, Tensor]:
        """Midpoints of points x points cells, (points, points, 2), and the sides of a cell, (2,)."""
        step = (self.high - self.low) / points
        middle = torch.arange(points, device=step.device) + 0.5
        axes = [low + middle * side for low, side in zip(self.low, step, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1), step

    def around(self, logs: Tensor, points: int) -> Box:
        """The part of the box where a log-density on its grid, (points * points,), is not negligible, and a margin."""
        inside = (logs > logs.max() - NEGLIGIBLE).unflatten(0, (points, points)).nonzero()
        ends = torch.stack([inside.min(0).values - 1, inside.max(0).values + 2]).clamp(0, points)
        low, high = self.low + (self.high - self.low) / points * ends
        return Box(low, high)


def quadrature(
    model: LatentVariableModel,
    split: Split,
    points: int = 200,
    *,
    extent: float | None = None,
    tolerance: float = TOLERANCE,
    engine: str = "graph",
    progress: Callable[[int], object] = lambda codes: None,
) -> LikelihoodEstimate:
    """Compute log p(x) = log ∫ p(x | z) p(z) dz of a two-dimensional code on a grid over the plane.

    The grid is decoded once for all images (of a class, where the model looks at labels). Black or white pixels are
    scored by a matrix product, since the log-probability of independent pixels that take two values is linear in them.
    The midpoint rule converges faster than any power of the step on a smooth density, once the step is as narrow as
    what it integrates. Every other point of both axes gives a grid of twice the step: the difference is the error
    stated, with what float32 rounds, and far larger than the true one. Images above the tolerance are looked at more
    closely, where their mass is.

    References:
        L. N. Trefethen and J. A. C. Weideman, The Exponentially Convergent Trapezoidal Rule (2014), SIAM Review 56(3).

    Args:
        model: A model with a code of two dimensions, whose likelihood is a density.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        points: Points along each side, an even number.
        extent: Half the side of the grid; by default it holds the posterior means of all images and 10,000 draws from
            the prior with a margin, or is the box or torus that the prior lives on.
        tolerance: Error in nats above which the grid of an image is refined.
        engine: "compiled" or "graph", of the decoder.
        progress: Called with the number of pairs of a point and an image done since the last call.

    Raises:
        ValueError: If z has not two dimensions or is not the only code, no such likelihood exists, or the number of
            points is odd.
    """
    check_has_likelihood(model)
    if model.shapes.latent_dim != 2:
        raise NotApplicable(f"quadrature is for codes of two dimensions, this model has {model.shapes.latent_dim}")
    if others := ", ".join(other_codes(model)):
        raise NotApplicable(f"quadrature is for models whose only code is z, this one draws {others} as well")
    if points < 2 or points % 2:
        raise ValueError(f"quadrature needs an even number of points along each side, got {points}")
    if not len(split):
        raise ValueError("there are no images to evaluate: the split is empty")
    values, errors = np.empty(len(split)), np.empty(len(split))
    with frozen(model) as device:
        box = _box(model, split, device, extent)
        joint = _Joint(model, is_black_and_white(split.images), engine)
        for chosen, y in _by_label(model, split, device):
            some = replace(split, images=split.images[chosen], labels=split.labels[chosen])
            total, error = _shared_grid(joint, some, y, box, points, progress)
            flagged = np.flatnonzero(error > tolerance)
            for some_flagged in (flagged[i : i + LOOKED_AT] for i in range(0, len(flagged), LOOKED_AT)):
                x = to_unit(some.images[some_flagged].to(device))
                found = _closer(model, joint, x, y, box, points, tolerance, total[some_flagged], error[some_flagged])
                total[some_flagged], error[some_flagged] = found
            values[chosen], errors[chosen] = total, error
    side = f"[{float(box.low[0]):.1f}, {float(box.high[0]):.1f}]²"
    return LikelihoodEstimate(f"quadrature, {points} x {points} points of {side}", values, errors, np.zeros(len(split)))


class _Joint:
    """Scores all pairs of a code and an image by log p(x, z).

    Attributes:
        linear: Whether that is a matrix product.

    Args:
        model: The model.
        two_valued: Whether the pixels of all images are 0 or 1.
        engine: How the decoder is run.
    """

    def __init__(self, model: LatentVariableModel, two_valued: bool, engine: str) -> None:
        def tables(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            """What each white pixel adds, (codes, pixels), and what a black image has, (codes,)."""
            p = model.likelihood(z, y)
            black, white = (p.base_dist.log_prob(z.new_full(p.event_shape, value)) for value in (0.0, 1.0))
            return (white - black).flatten(1), black.flatten(1).sum(1) + model.prior(y).log_prob(z)

        def pairs(z: Tensor, y: Tensor, x: Tensor) -> Tensor:
            z = z.unsqueeze(1)
            return model.likelihood(z, y).log_prob(x) + model.prior(y).log_prob(z)

        self.linear = two_valued and self._independent(model)
        self._tables, self._pairs = graph_of(tables, engine), graph_of(pairs, engine)

    def __call__(self, z: Tensor, y: Tensor, images: list[Tensor]) -> Iterator[Tensor]:
        """For each batch of images x, (B, C, H, W): log p(x, z) of codes z, (G, 2), with one label y, (1,): (G, B)."""
        if not self.linear:
            yield from (self._pairs(z, y, x) for x in images)
            return
        white, black = self._tables(z, y.expand(len(z)))
        yield from (torch.addmm(black[:, None], white, x.flatten(1).T) for x in images)

    @staticmethod
    def _independent(model: LatentVariableModel) -> bool:
        device = device_of(model)
        p = model.likelihood(torch.zeros(1, 2, device=device), torch.zeros(1, dtype=torch.int64, device=device))
        return isinstance(p, Independent) and p.base_dist.event_shape == ()


def _shared_grid(
    joint: _Joint, split: Split, y: Tensor, box: Box, points: int, progress: Callable[[int], object]
) -> tuple[np.ndarray, np.ndarray]:
    """Log p(x) of images on one grid, and its error: float64 (N,) each."""
    z, step = box.grid(points)
    images = [x for x, _ in batches(split, 1000 if joint.linear else 10, z.device)]
    full = [torch.full([len(x)], -math.inf, dtype=torch.float64, device=z.device) for x in images]
    half = [total.clone() for total in full]
    rows = 2 * max(1, CODES_AT_A_TIME // points // 2)
    for some in z.split(rows):
        for i, logs in enumerate(joint(some.flatten(0, 1), y, images)):
            logs = logs.nan_to_num(nan=-math.inf)
            # Every other point of both axes, a grid of twice the step; rows come in even numbers for that.
            coarse = logs.unflatten(0, (len(some), points))[::2, ::2].flatten(0, 1)
            full[i] = torch.logaddexp(full[i], logs.logsumexp(0).double())
            half[i] = torch.logaddexp(half[i], coarse.logsumexp(0).double())
            progress(logs.numel())
    area = float(step.double().prod().log())
    value = (torch.cat(full) + area).cpu().numpy()
    coarse = (torch.cat(half) + area + math.log(4)).cpu().numpy()
    return value, np.abs(value - coarse) + rounding(value, split.images[0].numel())


def _closer(
    model: LatentVariableModel,
    joint: _Joint,
    x: Tensor,
    y: Tensor,
    box: Box,
    points: int,
    tolerance: float,
    value: np.ndarray,
    error: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Log p(x) of images on ever finer grids over the parts of the box that hold their mass, and its error."""
    z, _ = box.grid(points)
    rows = z.flatten(0, 1).split(CODES_AT_A_TIME)
    batches_of_x = [x] if joint.linear else list(x.split(CLOSER_IMAGES))
    logs = torch.cat([torch.cat(list(joint(codes, y, batches_of_x)), 1) for codes in rows])
    boxes = [box.around(column, points) for column in logs.nan_to_num(nan=-math.inf).unbind(1)]
    del logs
    low, high = (torch.stack([getattr(own, end) for own in boxes]).double() for end in ("low", "high"))
    ends = float(box.low[0]), float(box.high[0])
    value, error = value.copy(), error.copy()
    for first in range(0, len(x), CLOSER_IMAGES):
        few = slice(first, first + CLOSER_IMAGES)
        target = Target(model, x[few], y.expand(len(x[few])))
        *_, finer, found = adapted(target, low[few], high[few], ends, CLOSER, tolerance, CLOSEST)
        better = found.cpu().numpy() < error[few]
        value[few] = np.where(better, finer.cpu().numpy(), value[few])
        error[few] = np.where(better, found.cpu().numpy(), error[few])
    return value, error


def _by_label(model: LatentVariableModel, split: Split, device: torch.device) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Indices of images that share a decoded grid, with their label, (1,): of each class, where parts look at it."""
    probe = torch.zeros(1, dtype=torch.int64, device=device)
    labels = split.labels.numpy()
    if not model.shapes.num_classes and not model.prior(probe).batch_shape:
        yield np.arange(len(labels)), probe
        return
    for label in np.unique(labels):
        yield np.flatnonzero(labels == label), torch.full_like(probe, int(label))


def _box(model: LatentVariableModel, split: Split, device: torch.device, extent: float | None) -> Box:
    """Where the mass of all posteriors is: as the user says, the support of the prior, or what codes reach."""
    support: object = model.prior(split.labels[:1].to(device)).support
    support = getattr(support, "base_constraint", support)
    ends = None
    if extent is not None:
        ends = -extent, extent
    elif model.prior.periodic:
        ends = -math.pi, math.pi
    elif isinstance(support, constraints.interval):
        ends = float(torch.as_tensor(support.lower_bound).min()), float(torch.as_tensor(support.upper_bound).max())
    if ends is None:
        largest = 0.0
        for x, y in batches(split, 1000, device):
            largest = max(largest, float(model.posterior(x, y).mean.abs().max()))
            codes = model.prior(y).expand([len(y)]).sample(torch.Size([max(1, 10_000 // len(y))]))
            largest = max(largest, float(codes.abs().max()))
        ends = -1.2 * largest, 1.2 * largest
    return Box(torch.full([2], ends[0], device=device), torch.full([2], ends[1], device=device))
