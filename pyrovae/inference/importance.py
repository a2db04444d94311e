"""The likelihood log p(x) of images by importance weighting, for any code and any guide with a density."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split, batches
from pyrovae.estimates import mean_error
from pyrovae.inference.graphs import GraphEngine, graph_of
from pyrovae.inference.likelihood import LikelihoodEstimate, check_has_likelihood
from pyrovae.inference.pareto import SMALLEST_TAIL, pareto_shape, tail_size, threshold
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

SWEEP = (1, 10, 100, 1000, 5000)
"""Numbers of samples at which the bound is reported, up to the one that is used."""

_CPU_CHUNK = 20, 100
_GPU_CHUNK = 100, 500
"""Images, and codes of each, that are decoded together: on a CPU as many as stay in its cache."""


@checked
def importance_weighted(
    model: LatentVariableModel,
    split: Split,
    samples: Count = 1000,
    *,
    sweep: Sequence[int] = SWEEP,
    engine: GraphEngine = "graph",
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda codes: None,
) -> LikelihoodEstimate:
    """Estimate log p(x) ≥ E log (1/k) Σ p(x, z_i) / q(z_i | x), z_i from the posterior.

    The weights hold the log-density q of the very codes that were drawn. With the analytic KL in its place the figure
    would be no bound at all. The bound lies below log p(x) by about var(w) / (2 k mean(w)²), which is reported.

    References:
        Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519, equation 8;
        S. Nowozin, Debiasing Evidence Approximations (2018), ICLR, for the bias.

    Args:
        model: A model whose likelihood and posterior are densities.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        samples: Codes for each image, k; memory does not depend on it, but for the tail of 3 sqrt(k) weights.
        sweep: Smaller numbers of codes at which the mean bound is reported too.
        engine: "compiled", which pays from a few million codes on, or "graph" without a compiler.
        seed: Seed of the codes.
        progress: Called with the number of codes done since the last call.

    Raises:
        ValueError: If no such likelihood exists, or there are no images or samples.
    """
    check_has_likelihood(model)
    if samples < 1 or not len(split):
        raise ValueError(f"an estimate needs at least one sample and one image, got {samples} and {len(split)}")
    stops = sorted({k for k in sweep if k <= samples} | {samples})
    weigh = graph_of(_log_weights(model), engine)
    parts: list[_Weights] = []
    with frozen(model, seed) as device:
        size, draws = _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK
        size, draws = min(size, len(split)), min(draws, samples)
        like = torch.empty(draws, device=device)
        for x, y in batches(split, size, device):
            weights = _Weights(len(x), samples, stops, device)
            # All calls are of one size, so that there is one graph; what is too much is left out again.
            filled = torch.arange(size, device=device).clamp(max=len(x) - 1)
            x, y = x[filled], y[filled]
            while weights.done < samples:
                logs = weigh(x, y, like)[: samples - weights.done, : weights.images]
                weights.add(logs)
                progress(logs.numel())
            parts.append(weights)
    return _estimate(parts, samples, stops)


def _estimate(parts: Sequence[_Weights], samples: int, stops: Sequence[int]) -> LikelihoodEstimate:
    """What the weights of all images say."""
    bounds, errors, tails = (
        torch.cat(tensors, -1).cpu().numpy()
        for tensors in zip(*[(w.bounds, w.errors, w.tail) for w in parts], strict=True)
    )
    return LikelihoodEstimate(
        f"importance-weighted, k = {samples:,}",
        bounds[-1],
        errors[-1],
        np.square(errors[-1]) / 2,
        {k: float(row.mean()) for k, row in zip(stops, bounds, strict=True)},
        {k: mean_error(row) for k, row in zip(stops, errors, strict=True)},
        pareto_shape(tails.T, samples) if tail_size(samples) >= SMALLEST_TAIL else None,
        threshold(samples),
    )


def _log_weights(model: LatentVariableModel) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A function of images, labels and a tensor `like`: log weights, one for each element of `like` and image."""

    def log_weights(x: Tensor, y: Tensor, like: Tensor) -> Tensor:
        """Of the programs' traces, whatever codes they draw."""
        with pyro.plate("_draws", len(like), dim=-2):
            guide = poutine.trace(model.guide).get_trace(x, y)
            joint = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(x, y)
        return _log_prob(joint) - _log_prob(guide)

    return log_weights


class _Weights:
    """Sums over the importance weights of a few images as they come in, and the largest of them.

    Attributes:
        done: Number of weights of each image so far.
        tail: The largest so far, (at most tail_size + 1, images).
    """

    def __init__(self, images: int, samples: int, stops: Sequence[int], device: torch.device) -> None:
        self.images, self.done = images, 0
        self.tail = torch.empty(0, images, device=device)
        self._kept = tail_size(samples) + 1
        self._stops = stops
        self._total = torch.full([images], -math.inf, dtype=torch.float64, device=device)
        self._squares = self._total.clone()
        self._bounds: list[Tensor] = []
        self._errors: list[Tensor] = []

    @property
    def bounds(self) -> Tensor:
        """The bound at each stop, (stops, images)."""
        return torch.stack(self._bounds)

    @property
    def errors(self) -> Tensor:
        """Its standard error by the delta method, sd(w) / (sqrt(k) mean(w)), (stops, images)."""
        return torch.stack(self._errors)

    def add(self, logs: Tensor) -> None:
        """Take in logarithms of weights, (draws, images)."""
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
