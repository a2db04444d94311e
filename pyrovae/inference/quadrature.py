"""The exact log p(x) of models with a two-dimensional code, on a grid that all images share.

On a smooth density the midpoint rule converges faster than any power of the step, once the step is as narrow as the
density. Dropping every other point of both axes doubles the step. The difference is the stated error, which is far
larger than the true one; rounding in float32 is added. Images whose error exceeds the tolerance get grids of their own.

References:
    L. N. Trefethen and J. A. C. Weideman, The Exponentially Convergent Trapezoidal Rule (2014), SIAM Review 56(3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, constraints

from pyrovae.checks import Count, Positive, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, batches, is_black_and_white, to_unit
from pyrovae.inference.graphs import GraphEngine, graph_of
from pyrovae.inference.grid import NEGLIGIBLE, adapted, rounding
from pyrovae.inference.likelihood import LikelihoodEstimate, check_has_likelihood
from pyrovae.inference.target import Target, other_codes
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import device_of, frozen

CODES_AT_A_TIME = 2_000
"""Grid points that are decoded together. It bounds the memory for any number of points."""
TOLERANCE = 1e-3
"""Error in nats above which an image gets a grid of its own."""
CLOSER, CLOSEST = 32, 128
"""Points along each side of an image's own grid: initial and maximum number."""
CLOSER_IMAGES = 10
"""Images whose own grids are decoded together."""
LOOKED_AT = 500
"""Images for which the shared grid is decoded a second time together, to find their mass."""


@dataclass(frozen=True)
class Box:
    """A rectangle of the plane, (2,) each."""

    low: Tensor
    high: Tensor

    def __str__(self) -> str:
        return f"[{float(self.low[0]):.1f}, {float(self.high[0]):.1f}]²"

    def grid(self, points: int) -> tuple[Tensor, Tensor]:
        """Midpoints of points x points cells, (points, points, 2), and the sides of a cell, (2,)."""
        step = (self.high - self.low) / points
        middle = torch.arange(points, device=step.device) + 0.5
        axes = [low + middle * side for low, side in zip(self.low, step, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1), step

    def around(self, logs: Tensor, points: int) -> Box:
        """The part of the box where a log-density on its grid, (points * points,), is not negligible, with a margin."""
        inside = (logs > logs.max() - NEGLIGIBLE).unflatten(0, (points, points)).nonzero()
        ends = torch.stack([inside.min(0).values - 1, inside.max(0).values + 2]).clamp(0, points)
        low, high = self.low + (self.high - self.low) / points * ends
        return Box(low, high)


@checked
def quadrature(
    model: LatentVariableModel,
    split: Split,
    points: Count = 200,
    *,
    extent: float | None = None,
    tolerance: Positive = TOLERANCE,
    engine: GraphEngine = "graph",
    progress: Callable[[int], object] = lambda codes: None,
) -> LikelihoodEstimate:
    """Compute log p(x) = log ∫ p(x | z) p(z) dz of a two-dimensional code on a grid over the plane.

    The grid is decoded once for all images (of a class). Binary pixels are scored by a matrix product.

    Args:
        model: A model with a code of two dimensions, whose likelihood is a density.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        points: Points along each side, an even number.
        extent: Half the side of the grid. By default it covers posterior means and prior draws, or the prior's support.
        tolerance: Error in nats above which an image gets a grid of its own.
        engine: "compiled" or "graph", for the decoder.
        progress: Called with the number of pairs of a point and an image done since the last call.

    Raises:
        ValueError: If z is not two-dimensional or not the only code, log p(x) does not exist, or points are odd.
    """
    _check(model, split, points)
    values, errors = np.empty(len(split)), np.empty(len(split))
    with frozen(model) as device:
        box = _box(model, split, device, extent)
        joint = _Joint(model, is_black_and_white(split.images), engine)
        for chosen, y in _by_label(model, split, device):
            some = replace(split, images=split.images[chosen], labels=split.labels[chosen])
            total, error = _shared_grid(joint, some, y, box, points, progress)
            flagged = np.flatnonzero(error > tolerance)
            for few in (flagged[i : i + LOOKED_AT] for i in range(0, len(flagged), LOOKED_AT)):
                x = to_unit(some.images[few].to(device))
                total[few], error[few] = _closer(model, joint, x, y, box, points, tolerance, total[few], error[few])
            values[chosen], errors[chosen] = total, error
    return LikelihoodEstimate(f"quadrature, {points} x {points} points of {box}", values, errors, np.zeros(len(split)))


def _check(model: LatentVariableModel, split: Split, points: int) -> None:
    """Refuse models and arguments for which there is no log p(x) on a grid over the plane."""
    check_has_likelihood(model)
    check_memory({f"a grid of {points:,} x {points:,} points": 24 * points**2}, "choose fewer points")
    if model.shapes.latent_dim != 2:
        raise NotApplicable(f"quadrature is for codes of two dimensions, this model has {model.shapes.latent_dim}")
    if others := ", ".join(other_codes(model)):
        raise NotApplicable(f"quadrature is for models whose only code is z, this one draws {others} as well")
    if points < 2 or points % 2:
        raise ValueError(f"quadrature needs an even number of points along each side, got {points}")
    if not len(split):
        raise ValueError("there are no images to evaluate: the split is empty")


class _Joint:
    """log p(x, z) of all pairs of a code and an image.

    Attributes:
        linear: Whether it is computed by a matrix product.

    Args:
        model: The model.
        two_valued: Whether the pixels of all images are 0 or 1.
        engine: "compiled" or "graph", for the decoder.
    """

    def __init__(self, model: LatentVariableModel, two_valued: bool, engine: str) -> None:
        def tables(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            """Contribution of each white pixel, (codes, pixels), and log p(x, z) of a black image, (codes,)."""
            p = model.likelihood(z, y)
            black, white = (p.base_dist.log_prob(z.new_full(p.event_shape, value)) for value in (0.0, 1.0))
            return (white - black).flatten(1), black.flatten(1).sum(1) + model.prior(y).log_prob(z)

        def pairs(z: Tensor, y: Tensor, x: Tensor) -> Tensor:
            z = z.unsqueeze(1)
            return model.likelihood(z, y).log_prob(x) + model.prior(y).log_prob(z)

        self.linear = two_valued and self._independent(model)
        self._tables, self._pairs = graph_of(tables, engine), graph_of(pairs, engine)

    def __call__(self, z: Tensor, y: Tensor, images: list[Tensor]) -> Iterator[Tensor]:
        """Log p(x, z), (G, B), for each batch of images x, (B, C, H, W), at codes z, (G, 2), with one label y, (1,)."""
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
    """Log p(x) of images on the shared grid, and its error: float64 (N,) each."""
    z, step = box.grid(points)
    images = [x for x, _ in batches(split, 1000 if joint.linear else 10, z.device)]
    full = [torch.full([len(x)], -math.inf, dtype=torch.float64, device=z.device) for x in images]
    half = [total.clone() for total in full]
    rows = 2 * max(1, CODES_AT_A_TIME // points // 2)
    for some in z.split(rows):
        for i, logs in enumerate(joint(some.flatten(0, 1), y, images)):
            logs = logs.nan_to_num(nan=-math.inf)
            # Every other point of both axes: twice the step. The number of rows is even for this purpose.
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
    """Log p(x) of images on grids of their own, over the parts of the box that contain their mass, and its error."""
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
    """Indices of images that share a decoded grid, with their label, (1,): per class if a part depends on the label."""
    probe = torch.zeros(1, dtype=torch.int64, device=device)
    labels = split.labels.numpy()
    if not model.shapes.num_classes and not model.prior(probe).batch_shape:
        yield np.arange(len(labels)), probe
        return
    for label in np.unique(labels):
        yield np.flatnonzero(labels == label), torch.full_like(probe, int(label))


def _box(model: LatentVariableModel, split: Split, device: torch.device, extent: float | None) -> Box:
    """A box that contains the mass of all posteriors: the user's, the prior's support, or the range of codes."""
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
