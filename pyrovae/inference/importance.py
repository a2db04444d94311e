"""log p(x) of images by importance weighting, for codes of any dimension and any guide with a density.

References:
    Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519, equation 8;
    S. Nowozin, Debiasing Evidence Approximations (2018), ICLR, for the bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split, batches_of_any
from pyrovae.estimates import PerImage
from pyrovae.inference.blocks import block_seed, check_labels, in_blocks, split_blocks
from pyrovae.inference.graphs import GraphEngine, graph_of
from pyrovae.inference.likelihood import LikelihoodEstimate, check_has_likelihood
from pyrovae.inference.pareto import SMALLEST_TAIL, pareto_shape, tail_size, threshold
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import device_of, frozen, seeded

SWEEP = (1, 10, 100, 1000, 5000)
"""Numbers of samples k at which the bound is reported."""

_Summary = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Bounds and errors, (stops, images), and the largest weights, (largest, images), of a block."""

_CPU_CHUNK = 20, 100
_GPU_CHUNK = 100, 500
"""Images, and codes per image, that are decoded together. On a CPU they fit into its cache."""
_CODES = 10_000
"""Codes decoded together at the end of an epoch."""


@checked
def importance_weighted(
    model: LatentVariableModel,
    split: Split,
    samples: Count = 1000,
    *,
    sweep: Sequence[int] = SWEEP,
    engine: GraphEngine = "graph",
    seed: Seed = 0,
    executor: Executor | None = None,
    progress: Callable[[int], object] = lambda codes: None,
) -> LikelihoodEstimate:
    """Estimate log p(x) ≥ E log (1/k) Σ p(x, z_i) / q(z_i | x) with z_i from the posterior.

    Each weight uses log q of the drawn code itself; with the analytic KL in its place the result would be no bound.
    The bound lies below log p(x) by about var(w) / (2 k mean(w)²). This bias is reported. If the labels of a
    SemiSupervisedVAE are hidden, the guide draws them too; with labels the bound is that of log p(x, y).

    Args:
        model: A model whose likelihood and posterior are densities.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        samples: Codes per image, k. Only the tail of 3 sqrt(k) weights is kept in memory.
        sweep: Smaller k at which the mean bound is reported too.
        engine: "graph", or "compiled", which is faster from a few million codes on.
        seed: Seed of the codes.
        executor: Who computes the images, a block at a time and to the same bits: a `concurrent.futures.Executor`; by
            default this process.
        progress: Called with the number of codes done since the last call.

    Raises:
        ValueError: If no such likelihood exists, or there are no images or samples.
    """
    check_has_likelihood(model)
    if not len(split):
        raise ValueError(f"an estimate needs at least one sample and one image, got {samples} and {len(split)}")
    stops = sorted({k for k in sweep if k <= samples} | {samples})
    check_labels(split)
    chunk = _CPU_CHUNK if device_of(model).type == "cpu" else _GPU_CHUNK
    size, draws = map(min, chunk, (len(split), samples))
    worker = partial(_weigh_blocks, model, engine, seed, (samples, stops), (size, draws))
    return _estimate(in_blocks(worker, split_blocks(split, size, executor), executor, progress), samples, stops)


def bound_of_codes(model: LatentVariableModel, split: Split, codes: int, *, seed: int = 0) -> float:
    """Mean of the importance-weighted bound of images, nats, by a few codes each; for the end of every epoch.

    Args:
        model: A model whose likelihood and posterior are densities.
        split: Images, with the pixels that it was trained on.
        codes: Codes per image, k.
        seed: Seed of the codes.
    """
    log_weights, total = _log_weights(model), 0.0
    with frozen(model, seed) as device:
        like = torch.empty(codes, device=device)
        for x, y in batches_of_any(split, max(1, _CODES // codes), device):
            logs = log_weights(x, *(() if y is None else (y,)), like)
            total += float((logs.double().logsumexp(0) - math.log(codes)).sum())
    return total / len(split)


def _weigh_blocks(
    model: LatentVariableModel,
    engine: str,
    seed: int,
    wanted: tuple[int, Sequence[int]],
    chunk: tuple[int, int],
    blocks: Sequence[tuple[int, Split]],
    progress: Callable[[int], object],
) -> list[_Summary]:
    """What is known of the weights of some blocks of images; see `in_blocks`.

    Args:
        model: The model.
        engine: "graph" or "compiled".
        seed: Seed of the codes.
        wanted: Number of weights of each image, and the numbers at which the bound is reported.
        chunk: Images, and codes of each, in a pass.
        blocks: The blocks.
        progress: Called with the number of codes done since the last call.
    """
    weigh = graph_of(_log_weights(model), engine)
    found = []
    with frozen(model, seed) as device:
        for first, block in blocks:
            ((x, y),) = batches_of_any(block, len(block), device)
            weights = _Weights(len(x), *wanted, device)
            with seeded(block_seed(seed, first), device):
                _fill(weights, weigh, x, y, *chunk, progress)
            found.append(weights.summary())
    return found


def _fill(
    weights: _Weights,
    weigh: Callable[..., Tensor],
    x: Tensor,
    y: Tensor | None,
    size: int,
    draws: int,
    progress: Callable[[int], object],
) -> None:
    """Draw all weights of a batch. Every call has the same shape, so one graph serves all; surplus weights are cut."""
    like = torch.empty(draws, device=x.device)
    filled = torch.arange(size, device=x.device).clamp(max=len(x) - 1)
    x, y = x[filled], None if y is None else y[filled]
    while weights.done < weights.samples:
        logs = weigh(x, *(() if y is None else (y,)), like)[: weights.samples - weights.done, : weights.images]
        weights.add(logs)
        progress(logs.numel())


def _estimate(parts: Sequence[_Summary], samples: int, stops: Sequence[int]) -> LikelihoodEstimate:
    """The estimate from the weights of all images."""
    bounds, errors, tails = (np.concatenate(arrays, -1) for arrays in zip(*parts, strict=True))
    return LikelihoodEstimate(
        f"importance-weighted, k = {samples:,}",
        bounds[-1],
        errors[-1],
        np.square(errors[-1]) / 2,
        {k: PerImage(*rows).mean for k, *rows in zip(stops, bounds, errors, strict=True)},
        pareto_shape(tails.T, samples) if tail_size(samples) >= SMALLEST_TAIL else None,
        threshold(samples),
    )


def _log_weights(model: LatentVariableModel) -> Callable[..., Tensor]:
    """A function of images, labels if there are any, and a tensor `like`: log weights, (len(like), images)."""

    def log_weights(x: Tensor, *labels_and_like: Tensor) -> Tensor:
        """Log weights from the programs' traces, for any latent sites."""
        *labels, like = labels_and_like
        y = labels[0] if labels else None
        with pyro.plate("_draws", len(like), dim=-2):
            guide = poutine.trace(model.guide).get_trace(x, y)
            joint = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(x, y)
        return _log_prob(joint) - _log_prob(guide)

    return log_weights


class _Weights:
    """Running sums over the importance weights of a few images, and the largest weights.

    Attributes:
        images: Number of images.
        samples: Number of weights of each image in all.
        done: Number of weights of each image so far.
        tail: The largest so far, (at most tail_size + 1, images).
    """

    def __init__(self, images: int, samples: int, stops: Sequence[int], device: torch.device) -> None:
        self.images, self.samples, self.done = images, samples, 0
        self.tail = torch.empty(0, images, device=device)
        self._kept = tail_size(samples) + 1
        self._stops = stops
        self._total = torch.full([images], -math.inf, dtype=torch.float64, device=device)
        self._squares = self._total.clone()
        self._bounds: list[Tensor] = []
        self._errors: list[Tensor] = []

    def summary(self) -> _Summary:
        """The bound at each stop, its standard error by the delta method, sd(w) / (sqrt(k) mean(w)); the tail."""
        bounds, errors = torch.stack(self._bounds), torch.stack(self._errors)
        return bounds.cpu().numpy(), errors.cpu().numpy(), self.tail.cpu().numpy()

    def add(self, logs: Tensor) -> None:
        """Add logarithms of weights, (draws, images)."""
        logs = logs.double()
        for stop in self._stops:
            if self.done < stop <= self.done + len(logs):
                total, squares = self._with(logs[: stop - self.done])
                self._bounds.append(total - math.log(stop))
                ratio = (squares - 2 * total + math.log(stop)).exp() - 1
                # One weight has no variance.
                self._errors.append((ratio.clamp(min=0) / (stop - 1)).sqrt() if stop > 1 else ratio * math.nan)
        self._total, self._squares = self._with(logs)
        self.done += len(logs)
        both = torch.cat([self.tail, logs])
        self.tail = both.topk(min(self._kept, len(both)), 0, sorted=False).values

    def _with(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.logaddexp(self._total, logs.logsumexp(0))
        return total, torch.logaddexp(self._squares, (2 * logs).logsumexp(0))


def _log_prob(trace: poutine.Trace) -> Tensor:
    """The joint log-density of a trace's draws, for each draw and image."""
    sites = [site for site in trace.nodes.values() if site["type"] == "sample"]
    logs = [site["fn"].log_prob(site["value"]) for site in sites if type(site["fn"]).__name__ != "_Subsample"]
    return torch.stack(logs).sum(0)
