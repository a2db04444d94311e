"""The likelihood log p(x) of images: by importance weighting for any code, by quadrature for a two-dimensional one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split, batches
from pyrovae.models import LatentVariableModel
from pyrovae.priors import Unscored
from pyrovae.runtime import frozen
from pyrovae.svi import compile_function

CODES_AT_A_TIME = 20_000
"""Codes decoded together; it bounds the memory whatever the number of samples or points."""


@dataclass(frozen=True, eq=False)
class LikelihoodEstimate:
    """Log-likelihood of images, in nats.

    Attributes:
        method: How it was estimated, in words.
        log_likelihood: log p(x) of each image, or the bound that estimates it, (images,).
        error: Standard error of each, or the quadrature's own error bound, (images,).
        sweep: Mean bound for numbers of samples up to the one used, by number; empty for quadrature.
    """

    method: str
    log_likelihood: np.ndarray
    error: np.ndarray
    sweep: dict[int, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean over the images."""
        return float(self.log_likelihood.mean())

    @property
    def mean_error(self) -> float:
        """Standard error of the mean that comes from the method, not from the choice of images."""
        return float(np.sqrt(np.square(self.error).sum()) / len(self.error))

    @property
    def spread(self) -> float:
        """Standard error of the mean as an estimate for all images of which these are a sample."""
        return float(self.log_likelihood.std(ddof=1) / math.sqrt(len(self.error))) if len(self.error) > 1 else math.nan

    def bits_per_dim(self, dimensions: int) -> float:
        """Minus the mean log-likelihood in bits per pixel and channel."""
        return -self.mean / dimensions / math.log(2)

    def to_dict(self) -> dict[str, object]:
        """The numbers under their names, for JSON."""
        return {
            "method": self.method,
            "images": len(self.error),
            "log_likelihood": self.mean,
            "error": self.mean_error,
            "spread": self.spread,
            "sweep": self.sweep,
            "unit": "nats per image",
        }

    def __str__(self) -> str:
        return (
            f"log p(x) {self.mean:.2f} nats per image ± {self.mean_error:.2g} ({self.method}, "
            f"{len(self.error):,} images, ± {self.spread:.2f} from their choice)"
        )


def check_has_likelihood(model: LatentVariableModel) -> None:
    """Refuse a model of which no log p(x) exists.

    Raises:
        ValueError: If the guide has no density, the prior is not scored, or the likelihood is none.
    """
    score = getattr(model.likelihood, "score", "NLL")
    if score != "NLL":
        raise ValueError(
            f"this model scores pixels by {score}, which is no density: there is no log p(x) to estimate; its "
            f"reconstruction and KL are what can be reported"
        )
    if isinstance(model.prior, Unscored) or not getattr(model.posterior, "has_density", True):
        raise ValueError("an autoencoder has no density of codes, so no log p(x): only its reconstruction exists")


def importance_weighted(
    model: LatentVariableModel,
    split: Split,
    samples: int = 1000,
    *,
    sweep: Sequence[int] = (1, 10, 100, 1000, 5000),
    engine: str = "graph",
    seed: int = 0,
    progress: Callable[[int], object] = lambda codes: None,
) -> LikelihoodEstimate:
    """Estimate log p(x) ≥ E log (1/k) Σ p(x, z_i) / q(z_i | x), z_i from the posterior.

    The weights hold the log-density q of the very codes that were drawn. With the analytic KL in its place the figure
    would be no bound at all.

    References:
        Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519, equation 8.

    Args:
        model: A model whose likelihood and posterior are densities.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        samples: Codes for each image, k.
        sweep: Smaller numbers of codes at which the mean bound is reported too.
        engine: "compiled", or "graph" without a compiler.
        seed: Seed of the codes.
        progress: Called with the number of codes done since the last call.

    Raises:
        ValueError: If no such likelihood exists, or there are no images or samples.
    """
    check_has_likelihood(model)
    if samples < 1 or not len(split):
        raise ValueError(f"an estimate needs at least one sample and one image, got {samples} and {len(split)}")
    stops = sorted({k for k in sweep if k <= samples} | {samples})
    images_at_a_time = min(len(split), 250)
    draws = max(1, min(samples, CODES_AT_A_TIME // images_at_a_time))

    def log_weights(x: Tensor, y: Tensor, like: Tensor) -> Tensor:
        q = model.posterior(x, y)
        z = q.sample(torch.Size([len(like)]))
        return model.likelihood(z, y).log_prob(x) + model.prior(y).log_prob(z) - q.log_prob(z)

    weigh = compile_function(log_weights, engine)
    bounds: dict[int, list[Tensor]] = {k: [] for k in stops}
    errors = []
    with frozen(model, seed) as device:
        for x, y in batches(split, images_at_a_time, device):
            total = torch.full([len(x)], -math.inf, dtype=torch.float64, device=device)
            squares = total.clone()
            done = 0
            for stop in stops:
                while done < stop:
                    count = min(draws, stop - done)
                    logs = weigh(x, y, torch.empty(count, device=device)).double()
                    total = torch.logaddexp(total, logs.logsumexp(0))
                    squares = torch.logaddexp(squares, (2 * logs).logsumexp(0))
                    done += count
                    progress(count * len(x))
                bounds[stop].append((total - math.log(stop)).cpu())
            # Delta method: the variance of log(mean w) is var(w) / (k mean(w)^2).
            ratio = (squares - 2 * total + math.log(samples)).exp() - 1
            errors.append((ratio.clamp(min=0) / samples).sqrt().cpu())
    final = torch.cat(bounds[samples]).numpy()
    means = {k: float(torch.cat(parts).mean()) for k, parts in bounds.items()}
    return LikelihoodEstimate(f"importance-weighted, k = {samples:,}", final, torch.cat(errors).numpy(), means)


def quadrature(
    model: LatentVariableModel,
    split: Split,
    points: int = 300,
    *,
    extent: float | None = None,
    progress: Callable[[int], object] = lambda codes: None,
) -> LikelihoodEstimate:
    """Compute log p(x) = log ∫ p(x | z) p(z) dz of a two-dimensional code on a grid over the plane.

    The midpoint rule converges faster than any power of the step on a smooth density, once the step is as narrow as
    the posterior. Its error is judged by the same rule on every other point.

    Args:
        model: A model with a two-dimensional code whose likelihood is a density.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        points: Points along each side; even.
        extent: Half the side of the square around the origin; by default 1.2 times the largest coordinate among 10,000
            codes from the prior and all posterior means.
        progress: Called with the number of codes done since the last call.

    Raises:
        ValueError: If the code has not two dimensions, no such likelihood exists, or the number of points is odd.
    """
    check_has_likelihood(model)
    if model.shapes.latent_dim != 2:
        raise ValueError(f"quadrature is for codes of two dimensions, this model has {model.shapes.latent_dim}")
    if points < 2 or points % 2:
        raise ValueError(f"quadrature needs an even number of points along each side, got {points}")
    full, half = [], []
    with frozen(model) as device:
        side = extent or _extent(model, split, device)
        step = 2 * side / points
        axis = (torch.arange(points, device=device) + 0.5) * step - side
        for x, y in batches(split, 20, device):
            sums = [torch.full([len(x)], -math.inf, dtype=torch.float64, device=device) for _ in range(2)]
            for rows in axis.split(2 * max(1, CODES_AT_A_TIME // points // len(x) // 2)):
                z = torch.cartesian_prod(rows, axis)[:, None].expand(-1, len(x), -1)
                logs = (model.likelihood(z, y).log_prob(x) + model.prior(y).log_prob(z)).double()
                sums[0] = torch.logaddexp(sums[0], logs.logsumexp(0))
                # Every other point of both axes, a grid of twice the step; rows come in even numbers for that.
                coarse = logs.unflatten(0, (len(rows), points))[::2, ::2].flatten(0, 1)
                sums[1] = torch.logaddexp(sums[1], coarse.logsumexp(0))
                progress(len(z) * len(x))
            full.append((sums[0] + 2 * math.log(step)).cpu())
            half.append((sums[1] + 2 * math.log(2 * step)).cpu())
    values = torch.cat(full).numpy()
    return LikelihoodEstimate(
        f"quadrature, {points} x {points} points to ±{side:.1f}", values, np.abs(values - torch.cat(half).numpy())
    )


def _extent(model: LatentVariableModel, split: Split, device: torch.device) -> float:
    largest = 0.0
    for x, y in batches(split, 1000, device):
        largest = max(largest, float(model.posterior(x, y).mean.abs().max()))
        codes = model.prior(y).expand([len(y)]).sample(torch.Size([max(1, 10_000 // len(y))]))
        largest = max(largest, float(codes.abs().max()))
    return 1.2 * largest
