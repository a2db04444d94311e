"""The evidence lower bound (ELBO) of a set of images and its two terms."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split, batches_of_any
from pyrovae.estimates import Estimate, PerImage
from pyrovae.models import LatentVariableModel
from pyrovae.objectives import LatentSite, kl_per_dimension, latent_sites
from pyrovae.runtime import frozen

CODED_TWICE = 100
"""Minimum number of images that are coded twice. With 100 the Monte Carlo error is known to about 10 %."""

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if the variance of its posterior mean over the images exceeds this."""

Terms = Callable[[Tensor, Tensor | None], list[Tensor]]
"""What the bound of a batch is made of; see `terms_of`."""

ROUNDING = 1e-12
"""A variance below this share of the squared term is rounding in float32, not the effect of a random draw."""


def active_units(means: Tensor) -> int:
    """Number of latent dimensions whose posterior mean depends on the image, Var_x E_q[z_j | x] > 0.01.

    Args:
        means: Posterior mean of each image, (N, latent_dim).

    References:
        Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519,
        section 5.2.
    """
    if len(means) < 2:
        return 0
    return int((means.var(0) > ACTIVE_VARIANCE).sum())


@dataclass(frozen=True)
class ElboEstimate:
    """The bound of a set of images: means over the images, in nats per image.

    Attributes:
        images: Number of images.
        score: Name of the reconstruction term: "NLL", or "cross-entropy" if the likelihood is not a density.
        negative_elbo: Reconstruction + KL. If the score is "NLL", an upper bound of -log p(x).
        reconstruction: Minus the expected log-likelihood of an image given its code.
        kl: KL divergence of the posterior from the prior. Its Monte Carlo error is 0 if it has a closed form.
        kl_per_dim: KL of each latent dimension, (latent_dim,), if posterior and prior factorise over dimensions
            and the divergence has a closed form; otherwise None.
        active_units: Number of latent dimensions whose posterior mean depends on the image.
        dimensions: Number of latent dimensions of all codes that the programs draw.
    """

    images: int
    score: str
    negative_elbo: Estimate
    reconstruction: Estimate
    kl: Estimate
    kl_per_dim: np.ndarray | None
    active_units: int
    dimensions: int

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        terms = {name: getattr(self, name) for name in ("negative_elbo", "reconstruction", "kl")}
        errors = {
            kind: {name: None if math.isnan(error := getattr(term, field)) else error for name, term in terms.items()}
            for kind, field in (("error", "monte_carlo"), ("spread", "sampling"))
        }
        return {
            "images": self.images,
            "score": self.score,
            **{name: term.value for name, term in terms.items()},
            "kl_per_dim": None if self.kl_per_dim is None else self.kl_per_dim.tolist(),
            "active_units": self.active_units,
            "dimensions": self.dimensions,
            **errors,
            "unit": "nats per image",
        }

    def __str__(self) -> str:
        total = "-ELBO" if self.score == "NLL" else f"{self.score} + KL"
        return (
            f"{total} {self.negative_elbo.value:.2f} = reconstruction ({self.score}) {self.reconstruction.value:.2f} "
            f"+ KL {self.kl.value:.2f} nats per image{self.negative_elbo.errors} on {self.images:,} images, "
            f"{self.active_units} of {self.dimensions} units active"
        )


@checked
def estimate_elbo(
    model: LatentVariableModel,
    split: Split,
    *,
    batch_size: Count = 1000,
    seed: Seed = 0,
) -> ElboEstimate:
    """Estimate the ELBO of a split with one code per image, both terms with weight 1.

    The KL term is exact if Pyro has its closed form; otherwise the same codes estimate it. A tenth of the images (at
    least 100) are coded a second time: half of the mean squared difference is the variance due to the code's draw.
    If the labels of a SemiSupervisedVAE are hidden, the bound is that of log p(x) and sums over the classes; with
    labels it is that of log p(x, y).

    Args:
        model: Any object with Pyro programs `model(x, y)` and `guide(x, y)` whose rightmost plate is that of images.
        split: Images, uint8 (N, C, H, W), and labels, (N,). For a model of binary pixels, binarise it first
            with `fixed_split`.
        batch_size: Images at a time. It bounds the memory.
        seed: Seed of the codes.

    Raises:
        ValueError: If there are no images.
    """
    return elbo_by(terms_of(model), model, split, batch_size=batch_size, seed=seed)


def elbo_by(terms: Terms, model: LatentVariableModel, split: Split, *, batch_size: int, seed: int) -> ElboEstimate:
    """`estimate_elbo` by a function that is `terms_of(model)`, or does the same."""
    n = len(split)
    if not n:
        raise ValueError("there are no images to evaluate: the split is empty")
    again = range(0, n, max(1, min(10, n // CODED_TWICE)))
    with frozen(model, seed) as device:
        found, means, *dims = zip(*_batches_of_terms(terms, model, split, batch_size, device), strict=True)
        second = [each for each, *_ in _batches_of_terms(terms, model, split.take(again), batch_size, device)]
        means_of_all = torch.cat(means).cpu()
    bound = _estimates(torch.cat(found).cpu(), again, torch.cat(second).cpu())
    return ElboEstimate(
        images=n,
        score=model.likelihood.score,
        negative_elbo=bound[0],
        reconstruction=bound[1],
        kl=bound[2],
        kl_per_dim=(torch.stack(dims[0]).cpu().sum(0) / n).numpy() if dims else None,
        active_units=active_units(means_of_all),
        dimensions=means_of_all.shape[1],
    )


@checked
def bound_of_each(model: LatentVariableModel, split: Split, *, batch_size: Count = 1000, seed: Seed = 0) -> PerImage:
    """Minus the ELBO of each image, the mean over two codes, with half of their difference as its error.

    The differences of two models on the same images have a smaller error than the difference of their means.

    Args:
        model: As for `estimate_elbo`.
        split: Images, uint8 (N, C, H, W), and labels, (N,).
        batch_size: Images at a time. It bounds the memory.
        seed: Seed of the codes.

    Raises:
        ValueError: If there are no images.
    """
    if not len(split):
        raise ValueError("there are no images to evaluate: the split is empty")
    terms = terms_of(model)
    with frozen(model, seed) as device:
        one, other = (
            torch.cat([found[:, 0] for found, *_ in _batches_of_terms(terms, model, split, batch_size, device)])
            .cpu()
            .numpy()
            for _ in range(2)
        )
    return PerImage((one + other) / 2, np.abs(one - other) / 2)


def _estimates(terms: Tensor, again: range, second: Tensor) -> list[Estimate]:
    """Means of the three terms with their errors.

    Args:
        terms: Minus the bound, reconstruction and KL of every image, (N, 3).
        again: The images that were coded twice.
        second: Their terms with the second code, (len(again), 3).
    """
    n = len(terms)
    within = (terms[again] - second).square().mean(0) / 2
    within[within < ROUNDING * terms.square().mean(0)] = 0.0
    own = (within / n).sqrt().tolist()
    chosen = (terms.var(0) / n).sqrt().tolist() if n > 1 else [math.nan] * 3
    _, reconstruction, kl = terms.mean(0).tolist()
    values = reconstruction + kl, reconstruction, kl
    return [Estimate(*three, "nats per image") for three in zip(values, chosen, own, strict=True)]


def terms_of(model: LatentVariableModel) -> Terms:
    """What the bound of a batch is made of, as a function of pixels x and labels y.

    It returns minus the bound, reconstruction and KL of every image, float64 (B, 3); posterior means, (B, dimensions);
    and the KL per dimension summed over the batch, float64, if that is known.
    """

    def terms(x: Tensor, y: Tensor | None) -> list[Tensor]:
        latents, reconstruction, weights = _trace(model, x, y)
        kl, per_dim, mean = _divergence(latents, weights, len(x))
        found = [torch.stack([reconstruction + kl, reconstruction, kl], 1), mean]
        return found if per_dim is None else [*found, per_dim]

    return terms


def _batches_of_terms(
    terms: Terms, model: LatentVariableModel, split: Split, batch_size: int, device: torch.device
) -> Iterator[list[Tensor]]:
    """The terms of the bound, batch by batch; on a GPU nothing waits for them."""
    if model.infers_labels:  # all classes of an image are decoded together
        batch_size = max(1, batch_size // model.shapes.num_classes)
    for x, y in batches_of_any(split, batch_size, device):
        yield terms(x, y)


def _trace(
    model: LatentVariableModel, x: Tensor, y: Tensor | None
) -> tuple[list[tuple[LatentSite, Tensor]], Tensor, Tensor | None]:
    """Run guide and model once.

    Returns:
        Latent sites with their log q - log p; minus the observed log-density, (B,); and the guide's probabilities of
        labels that are enumerated, (classes, B), or None.
    """
    guide = model.guide
    if y is None and model.infers_labels:
        guide = poutine.enum(guide, first_available_dim=-2)
    guide_trace = poutine.trace(guide).get_trace(x, y)
    model_trace = poutine.trace(poutine.replay(model.model, trace=guide_trace)).get_trace(x, y)
    guide_trace.compute_log_prob()
    model_trace.compute_log_prob()
    latents = [
        (site, guide_trace.nodes[site.name]["log_prob"] - model_trace.nodes[site.name]["log_prob"])
        for site in latent_sites(guide_trace, model_trace)
    ]
    weights = next((guide_trace.nodes[s.name]["log_prob"].exp() for s, _ in latents if s.enumerated), None)
    logs = [_expected(model_trace.nodes[name]["log_prob"], weights) for name in model_trace.observation_nodes]
    return latents, -torch.stack([_of_images(each, len(x)) for each in logs]).sum(0), weights


def _expected(values: Tensor, weights: Tensor | None) -> Tensor:
    """The guide's mean over labels that are enumerated of numbers, (classes, B) or (classes, B, dimensions)."""
    if weights is None:
        return values
    return ((weights if values.ndim == weights.ndim else weights.unsqueeze(-1)) * values).sum(0)


def _divergence(
    latents: list[tuple[LatentSite, Tensor]], weights: Tensor | None, images: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """KL of each image, (B,); KL per dimension summed over the batch, or None; posterior means, (B, dimensions)."""
    per_image, per_dim, means = [], [], []
    for site, log_ratio in latents:
        each = kl_per_dimension(site.q, site.p) if site.in_order else None
        if each is not None:
            each = _expected(each, weights)
            per_dim.append(_doubled(each).flatten(0, -2).sum(0))
        per_image.append(_of_images(_expected(log_ratio, weights) if each is None else each.sum(-1), images))
        if not site.enumerated:
            means.append(_expected(_mean(site.q, site.value), weights).flatten(1))
    known = bool(per_dim) and len(per_dim) == len(means)
    return torch.stack(per_image).sum(0), torch.cat(per_dim) if known else None, torch.cat(means, 1)


def _of_images(values: Tensor, images: int) -> Tensor:
    """Sum over all dimensions left of the plate of images: float64 (B,)."""
    return _doubled(values).reshape(-1, images).sum(0)


def _doubled(values: Tensor) -> Tensor:
    """Numbers in float64, where they are or on the CPU: MPS has none."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _mean(q: Distribution, value: Tensor) -> Tensor:
    """The posterior mean, or the draw itself if the family has no mean in closed form."""
    try:
        return q.mean
    except NotImplementedError:
        return value
