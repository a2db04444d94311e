"""The parts of the KL term, the information that codes have of images, and the aggregate posterior."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyrovae.checks import Count, Positive, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, batches
from pyrovae.estimates import Estimate
from pyrovae.inference.grid import density_levels
from pyrovae.inference.likelihood import check_has_likelihood
from pyrovae.inference.target import other_codes
from pyrovae.latent.codes import one_dimensional
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

PAIRS_AT_A_TIME = 4_000_000
"""Pairs of a code and an image, times dimensions, that are scored together. It bounds the memory."""
HOLE = 0.1
"""A hole is where the density of the aggregate posterior is below this share of the prior's."""


@dataclass(frozen=True, eq=False)
class KLSplit:
    """The KL term of a set of images and its parts, nats per image.

    The aggregate posterior q(z) is the mixture of the posteriors of these images, so kl = information + marginal is
    exact for this set. For the population, information is a lower bound (at most log(images)), and marginal and total
    correlation are upper bounds. All of them become tight as images are added.

    Attributes:
        images: Number of images. One code is drawn for each.
        kl: E KL(q(z | x) || p(z)), estimated from the draws.
        information: Mutual information I(x; z) under q, E log q(z | x) / q(z).
        information_above: The same with the image's own posterior left out of q(z): an upper bound.
        marginal: KL(q(z) || p(z)).
        total_correlation: KL(q(z) || prod_j q(z_j)), or None if the posteriors' marginals have no closed form.
        dimension_wise: sum_j KL(q(z_j) || p(z_j)), or None.
        holes: Prior probability of the region where the aggregate posterior has less than a tenth of the prior's
            density. With few images in many dimensions it includes gaps between the images.
    """

    images: int
    kl: Estimate
    information: Estimate
    information_above: Estimate
    marginal: Estimate
    total_correlation: Estimate | None
    dimension_wise: Estimate | None
    holes: Estimate


@dataclass(frozen=True, eq=False)
class DensityRatio:
    """The aggregate posterior against the prior over the plane of a two-dimensional code.

    Attributes:
        axes: Coordinates along each dimension, (2, points).
        log_ratio: log q(z) / p(z), (points of z[0], points of z[1]).
        log_prior: log p(z), the same.
        images: Number of images in the mixture q(z).
    """

    axes: np.ndarray
    log_ratio: np.ndarray
    log_prior: np.ndarray
    images: int

    def prior_levels(self, masses: Sequence[float]) -> list[float]:
        """Log-densities of the prior at the contours of these masses, increasing; none for a flat prior."""
        finite = self.log_prior[np.isfinite(self.log_prior)]
        if np.ptp(finite) < 1e-3:
            return []
        return sorted({float(level) for level in density_levels(finite, masses)})


@checked
def split_kl(model: LatentVariableModel, split: Split, *, seed: Seed = 0) -> KLSplit:
    """Split the KL term into information, total correlation and what is left in each dimension.

    References:
        M. Hoffman and M. Johnson, ELBO Surgery (2016), NIPS workshop on advances in approximate Bayesian inference; R.
        T. Q. Chen, X. Li, R. Grosse and D. Duvenaud, Isolating Sources of Disentanglement in Variational Autoencoders
        (2018), arXiv:1802.04942; B. Poole et al., On Variational Bounds of Mutual Information (2019), arXiv:1905.06922,
        for the bounds from both sides.

    Args:
        model: A model whose posterior and prior are densities; the prior must not depend on the label.
        split: Images, uint8 (N, C, H, W), and labels, (N,). The cost grows with the square of their number.
        seed: Seed of the codes.

    Raises:
        ValueError: If there is no density, the prior depends on labels, or there are fewer than two images.
    """
    with frozen(model, seed) as device:
        q, prior = _aggregate(model, split, device)
        z = q.sample()
        n, own = len(z), q.log_prob(z)
        log_prior = prior.log_prob(z)
        marginals, prior_marginals = one_dimensional(q), one_dimensional(prior)
        mixture, others, apart = (torch.cat(parts) for parts in zip(*_mixture(q, marginals, z), strict=True))
        there = prior.expand([n]).sample()
        seen = torch.cat([density for density, _, _ in _mixture(q, None, there)])
        holes = (seen - prior.log_prob(there) < math.log(HOLE)).double()
    return KLSplit(
        images=n,
        kl=_estimate(own - log_prior),
        information=_estimate(own - mixture),
        information_above=_estimate(own - others),
        marginal=_estimate(mixture - log_prior),
        total_correlation=None if marginals is None else _estimate(mixture - apart),
        dimension_wise=None if marginals is None or prior_marginals is None else _estimate(apart - log_prior),
        holes=_estimate(holes),
    )


@checked
def density_ratio(
    model: LatentVariableModel, split: Split, points: Count = 200, *, extent: Positive = 4.0, seed: Seed = 0
) -> DensityRatio:
    """The aggregate posterior of images against the prior, over the plane.

    Args:
        model: A model with a code of two dimensions, whose posterior and prior are densities.
        split: Images, uint8 (N, C, H, W), and labels, (N,).
        points: Points along each side.
        extent: Half the side.
        seed: Seed, for priors whose density is estimated from draws.

    Raises:
        ValueError: If the code has not two dimensions, there is no density, or the prior depends on labels.
    """
    if model.shapes.latent_dim != 2:
        raise ValueError(f"the plane is that of a code of two dimensions, this model has {model.shapes.latent_dim}")
    check_memory({f"a plane of {points:,} x {points:,} points": 40 * points**2}, "choose fewer points")
    with frozen(model, seed) as device:
        q, prior = _aggregate(model, split, device)
        axis = torch.linspace(-extent, extent, points, device=device)
        z = torch.cartesian_prod(axis, axis)
        support: Any = prior.support
        inside = support.check(z)
        log_prior = torch.full([len(z)], -math.inf, device=device)
        log_prior[inside] = prior.log_prob(z[inside])
        log_ratio = torch.full_like(log_prior, math.nan)
        log_ratio[inside] = torch.cat([density for density, _, _ in _mixture(q, None, z[inside])]) - log_prior[inside]
    axes = np.stack([axis.cpu().numpy()] * 2)
    shape = (points, points)
    return DensityRatio(
        axes, log_ratio.reshape(shape).cpu().numpy(), log_prior.reshape(shape).cpu().numpy(), len(split)
    )


def _aggregate(model: LatentVariableModel, split: Split, device: torch.device) -> tuple[Distribution, Distribution]:
    """The posteriors of all images as one batch, and the prior."""
    if model.likelihood.is_density:
        check_has_likelihood(model)
    model.posterior.need_density("an autoencoder has no density of codes, so no KL term to split")
    if other_codes(model):
        raise NotApplicable("the parts are those of the code z, and this model draws others beside it")
    if len(split) < 2:
        raise NotApplicable(f"an aggregate posterior needs at least two images, got {len(split)}")
    x, y = next(batches(split, len(split), device))
    prior = model.prior(y)
    if prior.batch_shape:
        raise NotApplicable("the prior depends on the label, so there is no one prior to compare the aggregate with")
    return model.posterior(x, y), prior


def _mixture(q: Distribution, marginals: Distribution | None, z: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For a few codes of z, (N, d), at a time: log q(z) with and without the image of the same row, Σ_j log q(z_j)."""
    n, d = q.batch_shape[0], z.shape[1]
    for first in range(0, len(z), max(1, PAIRS_AT_A_TIME // (n * d))):
        codes = z[first : first + max(1, PAIRS_AT_A_TIME // (n * d))].unsqueeze(1)
        apart = torch.zeros(len(codes), device=z.device)
        if marginals is not None:
            each = marginals.log_prob(codes)
            apart = (each.logsumexp(1) - math.log(n)).sum(-1)
        pairs = each.sum(-1) if marginals is not None and isinstance(q, Independent) else q.log_prob(codes)
        mixture = pairs.logsumexp(1) - math.log(n)
        rows = torch.arange(len(codes), device=z.device)
        pairs[rows, (first + rows).clamp(max=n - 1)] = -math.inf
        yield mixture, pairs.logsumexp(1) - math.log(n - 1), apart


def _estimate(values: Tensor) -> Estimate:
    return Estimate.mean_of(values.cpu().numpy())
