"""Terms that an objective adds to the two of a bound: what codes of a batch, or their encoder, are held to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyrovae.models import LatentVariableModel
from pyrovae.objectives.sites import LatentSite, family_name
from pyrovae.shapes import MOST, WrongTypeError, is_whole

Sampling = Literal["weighted", "stratified"]
Moments = Literal["I", "II"]


class Penalty(ABC):
    """A term of the loss beside reconstruction and KL.

    Attributes:
        over_batch: Whether it compares images of a batch with each other. Then it is no sum over images: a batch that
            is cut in two has another one.
        needs_slopes: Whether it takes derivatives with respect to the images.
    """

    over_batch: ClassVar[bool] = True
    needs_slopes: ClassVar[bool] = False

    @abstractmethod
    def of_batch(self, site: LatentSite, beta: Tensor, x: Tensor, images: int | None) -> Tensor:
        """The term, a scalar, in nats per image.

        Args:
            site: The code in guide and model, (B, latent_dim) or (particles, B, latent_dim).
            beta: Present weight of the KL term, a scalar.
            x: Images, (B, C, H, W).
            images: Number of training images; None if it is not known.
        """

    def kept_of_a_pair(self, latent_dim: int) -> int:
        """Numbers that are held for each pair of images of a batch until the backward pass; none by default."""
        return 0

    def check(self, model: LatentVariableModel, site: LatentSite) -> None:  # noqa: B027 - nothing to refuse
        """Refuse a model for which the term does not exist. By default it exists for every one.

        Raises:
            ValueError: If it does not.
        """


@dataclass(frozen=True)
class TotalCorrelation(Penalty):
    """beta (weight - 1) TC, TC = KL(q(z) || prod_j q(z_j)) of the aggregate posterior q(z): see `BetaTCVAE`."""

    weight: float = 6.0
    sampling: Sampling = "weighted"

    def __post_init__(self) -> None:
        _check_weight(self.weight, "total_correlation")
        if self.sampling not in ("weighted", "stratified"):
            raise ValueError(f"sampling must be weighted or stratified, got {self.sampling!r}")

    def of_batch(self, site: LatentSite, beta: Tensor, x: Tensor, images: int | None) -> Tensor:
        """The term, a scalar."""
        return beta * (self.weight - 1) * self.estimate(site, images)

    def estimate(self, site: LatentSite, images: int | None) -> Tensor:
        """The total correlation of a batch, a scalar."""
        z, q = site.value, _factors(site.q)
        # Axis 0 is the image whose code it is, axis -2 the image whose posterior it is judged by.
        each = q.log_prob(z.movedim(-2, 0).unsqueeze(-2))
        log_share = self._log_shares(z, images)
        if each.ndim == 4:
            log_share = log_share.unsqueeze(1)
        whole = (each.sum(-1) + log_share).logsumexp(-1)
        single = (each + log_share.unsqueeze(-1)).logsumexp(-2).sum(-1)
        return (whole - single).mean()

    def kept_of_a_pair(self, latent_dim: int) -> int:
        """Each code's distance from the other's posterior and its log-density, in every dimension."""
        return 2 * latent_dim

    def _log_shares(self, z: Tensor, images: int | None) -> Tensor:
        """Logarithm of the weight of each posterior in the aggregate, for each code, (B, B)."""
        count = z.shape[-2]
        if self.sampling == "weighted" or images is None or count == 1:
            return torch.full((count, count), -math.log(count), dtype=z.dtype, device=z.device)
        images = max(images, count)
        others = math.log((images - 1) / (images * (count - 1)))
        shares = torch.full((count, count), others, dtype=z.dtype, device=z.device)
        return shares.masked_fill(torch.eye(count, dtype=torch.bool, device=z.device), -math.log(images))

    def check(self, model: LatentVariableModel, site: LatentSite) -> None:
        """Refuse a posterior whose dimensions depend on each other.

        Raises:
            ValueError: If it is one.
        """
        if not (isinstance(site.q, Independent) and not site.q.base_dist.event_shape):
            raise ValueError(
                f"the objective BetaTCVAE needs the density of each dimension of the posterior, which "
                f"{family_name(site.q)} has not: use a posterior of independent dimensions, such as DiagonalNormal"
            )


@dataclass(frozen=True)
class MomentsApart(Penalty):
    """off_diagonal sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2: see `DIPVAE`."""

    kind: Moments = "II"
    off_diagonal: float = 10.0
    diagonal: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("I", "II"):
            raise ValueError(f"kind must be I or II, got {self.kind!r}")
        _check_weight(self.off_diagonal, "off_diagonal")
        if self.diagonal is not None:
            _check_weight(self.diagonal, "diagonal")

    def of_batch(self, site: LatentSite, beta: Tensor, x: Tensor, images: int | None) -> Tensor:
        """The term, a scalar."""
        covariance = self.covariance(site.q)
        diagonal = covariance.diagonal()
        apart = covariance.square().sum() - diagonal.square().sum()
        weight = self.off_diagonal * (10 if self.kind == "I" else 1) if self.diagonal is None else self.diagonal
        return self.off_diagonal * apart + weight * (diagonal - 1).square().sum()

    def covariance(self, q: Distribution) -> Tensor:
        """The covariance of the batch, (latent_dim, latent_dim): of the means of q, or of codes drawn from q."""
        means = _first(q.mean, 2)
        centred = means - means.mean(0)
        between = centred.T @ centred / len(means)
        within = _covariances(q) if self.kind == "II" else None
        return between if within is None else between + _first(within, 3).mean(0)

    def check(self, model: LatentVariableModel, site: LatentSite) -> None:
        """Refuse angles, which have no covariance, and posteriors without one in closed form.

        Raises:
            ValueError: If it is one.
        """
        if model.posterior.periodic:
            raise ValueError("the objective DIPVAE needs covariances, and angles have none: use another posterior")
        if self.kind == "II" and _covariances(site.q) is None:
            raise ValueError(
                f"the objective DIPVAE of kind II needs the posterior's covariance in closed form, which "
                f"{family_name(site.q)} has not: use kind I (--objective.kind I), or a Normal posterior"
            )


@dataclass(frozen=True)
class Discrepancy(Penalty):
    """weight MMD^2(q(z), p(z)) with a Gaussian kernel: see `InfoVAE`."""

    weight: float = 100.0
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        _check_weight(self.weight, "discrepancy")
        if self.bandwidth is not None and not (_is_number(self.bandwidth) and 0 < self.bandwidth < math.inf):
            raise ValueError(f"bandwidth, the scale of the kernel, must be positive, got {self.bandwidth!r}")

    def of_batch(self, site: LatentSite, beta: Tensor, x: Tensor, images: int | None) -> Tensor:
        """The term, a scalar."""
        p = site.p.expand(site.value.shape[:-1])
        return self.weight * self.estimate(site.value, p.rsample() if p.has_rsample else p.sample())

    def estimate(self, a: Tensor, b: Tensor) -> Tensor:
        """MMD^2 of two samples of equal size, (..., B, latent_dim), without bias for two and more."""
        between = self._kernel(a, b).mean((-1, -2))
        return (self._within(a) + self._within(b) - 2 * between).mean()

    def kept_of_a_pair(self, latent_dim: int) -> int:
        """The differences of codes in every dimension, from each other and from the prior's."""
        return 2 * latent_dim

    def _within(self, a: Tensor) -> Tensor:
        count = a.shape[-2]
        # The kernel of a code with itself is 1, and says nothing.
        return (self._kernel(a, a).sum((-1, -2)) - count) / max(count * (count - 1), 1)

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        width = math.sqrt(a.shape[-1]) if self.bandwidth is None else self.bandwidth
        squares = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)
        return (-squares / (2 * width**2)).exp()

    def check(self, model: LatentVariableModel, site: LatentSite) -> None:
        """Refuse angles, whose distances the kernel does not know.

        Raises:
            ValueError: If it is given some.
        """
        if model.posterior.periodic:
            raise ValueError("the objective InfoVAE compares distances, and angles have none: use another posterior")


@dataclass(frozen=True)
class Magnitude(Penalty):
    """weight sum_j |E_q[z_j]|: see `Sparse`."""

    over_batch: ClassVar[bool] = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_weight(self.weight, "sparsity")

    def of_batch(self, site: LatentSite, beta: Tensor, x: Tensor, images: int | None) -> Tensor:
        """The term, a scalar."""
        return self.weight * _first(site.q.mean, 2).abs().sum(-1).mean()


@dataclass(frozen=True)
class Slopes(Penalty):
    """weight ||dE_q[z] / dx||^2, the squared Frobenius norm of the encoder's Jacobian: see `Contractive`."""

    over_batch: ClassVar[bool] = False
    needs_slopes: ClassVar[bool] = True
    weight: float = 1.0
    probes: int | None = None

    def __post_init__(self) -> None:
        _check_weight(self.weight, "contraction")
        if self.probes is not None and not is_whole(self.probes, 1, MOST):
            raise ValueError(
                f"probes must be a whole number of at least 1, or None for the exact norm, got {self.probes!r}"
            )

    def of_batch(self, site: LatentSite, beta: Tensor, x: Tensor, images: int | None) -> Tensor:
        """The term, a scalar."""
        means = _first(site.q.mean, 2)
        if self.probes is None:
            return self.weight * sum(self._squares(means[:, j], x) for j in range(means.shape[-1]))
        directions = torch.randn(self.probes, *means.shape, dtype=means.dtype, device=means.device)
        return self.weight * sum(self._squares((v * means).sum(-1), x) for v in directions) / self.probes

    @staticmethod
    def _squares(numbers: Tensor, x: Tensor) -> Any:
        """Squared norm of the gradient of a number of each image, (B,), with respect to that image; their mean."""
        (slope,) = torch.autograd.grad(numbers.sum(), x, create_graph=True)
        return slope.square().sum() / len(x)


def _factors(q: Distribution) -> Distribution:
    """The independent dimensions of a code, batch_shape (..., B, latent_dim)."""
    assert isinstance(q, Independent)
    return q.base_dist


def _first(moments: Tensor, ndim: int) -> Tensor:
    """Moments of each image without the axis of particles, which all have the same."""
    return moments if moments.ndim == ndim else moments[0]


def _covariances(q: Distribution) -> Tensor | None:
    """Covariance of each posterior, (..., B, latent_dim, latent_dim); None if it has no closed form."""
    if isinstance(q, Delta) or (isinstance(q, Independent) and not q.base_dist.event_shape):
        return torch.diag_embed(q.variance)
    return getattr(q, "covariance_matrix", None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_weight(weight: float, name: str) -> None:
    """Refuse a weight that is none.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is below zero or not finite.
    """
    if not _is_number(weight):
        raise WrongTypeError(f"{name}, a weight in the loss, must be a number, got {weight!r}")
    if not 0 <= weight < math.inf:
        raise ValueError(f"{name}, a weight in the loss, must be at least 0, got {weight}")
