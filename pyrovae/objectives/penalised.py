"""The bound with another term beside its two: an estimator, and the objectives of the usual terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.util import torch_item
from torch import Tensor

from pyrovae.models import LatentVariableModel
from pyrovae.objectives.estimators import Estimator, check_labels, check_order
from pyrovae.objectives.objectives import Objective
from pyrovae.objectives.penalties import (
    Discrepancy,
    Magnitude,
    Moments,
    MomentsApart,
    Penalty,
    Sampling,
    Slopes,
    TotalCorrelation,
)
from pyrovae.objectives.sites import latent_sites, latent_sites_of
from pyrovae.objectives.weighting import Program, Schedule, Weighting
from pyrovae.shapes import check_count


@dataclass(frozen=True)
class Penalised(Estimator):
    """The ELBO, with its KL in closed form if there is one, and a penalty of the codes.

    Attributes:
        name: The objective, for messages.
        penalty: The other term.
        particles: Codes drawn for each image and step.
        images: Number of training images; None if it is not known.
    """

    name: str
    penalty: Penalty
    particles: int = 1
    images: int | None = None

    def __post_init__(self) -> None:
        check_count("particles", self.particles)

    @property
    def over_batch(self) -> bool:
        """Whether the loss of a batch is no mean of the losses of its images."""
        return self.penalty.over_batch

    def kept_of_a_pair(self, latent_dim: int) -> int:
        """Numbers that are held for each pair of images of a batch."""
        return self.particles * self.penalty.kept_of_a_pair(latent_dim)

    def of_set(self, images: int) -> Penalised:
        """The estimator for a training set of so many images."""
        return replace(self, images=images) if self.images is None else self

    def elbo(self) -> _PenalisedELBO:
        """Pyro's estimator, with the other term."""
        return _PenalisedELBO(
            self.penalty, self.images, num_particles=self.particles, vectorize_particles=True, max_plate_nesting=1
        )

    def check(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        check_labels(self.name, model)
        sites = latent_sites_of(model)
        check_order(self.name, sites)
        if len(sites) != 1:
            names = ", ".join(repr(site.name) for site in sites)
            raise ValueError(
                f"the objective {self.name} is for a model with one code, and {type(model).__name__} draws {names}: "
                f"use TraceELBO"
            )
        self.penalty.check(model, sites[0])
        return None


class _PenalisedELBO(TraceMeanField_ELBO):
    """`TraceMeanField_ELBO` with a penalty. The arguments of the programs are (beta, x, y)."""

    def __init__(self, penalty: Penalty, images: int | None, **settings: Any) -> None:
        super().__init__(**settings)
        self.penalty, self.images = penalty, images

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if not self.penalty.needs_slopes:
            return super()._get_trace(model, guide, args, kwargs)
        beta, x, *rest = args
        with torch.enable_grad():  # an evaluation of the loss takes these derivatives too
            return super()._get_trace(model, guide, (beta, x.detach().requires_grad_(), *rest), kwargs)

    def _differentiable_loss_particle(self, model_trace: Any, guide_trace: Any) -> tuple[Any, Tensor]:
        _, loss = super()._differentiable_loss_particle(model_trace, guide_trace)
        beta, x, *_ = guide_trace.nodes["_INPUT"]["args"]
        (site,) = latent_sites(guide_trace, model_trace)
        with torch.set_grad_enabled(torch.is_grad_enabled() or self.penalty.needs_slopes):
            term = self.penalty.of_batch(site, beta, x, self.images)
        # Pyro divides by the number of particles, of which the term is the mean.
        loss = loss + self.num_particles * term
        return torch_item(loss), loss


class BetaTCVAE(Objective):
    """The bound with a heavier total correlation: loss = weight * reconstruction + beta (KL + (t - 1) TC).

    The KL is the sum of I(x; z), the total correlation TC = KL(q(z) || prod_j q(z_j)) of the aggregate posterior q(z),
    and sum_j of the KL of q(z_j). `total_correlation`, t, weighs the second of them alone, so 1 is TraceMeanField. TC
    is estimated from the codes and posteriors of a batch. Of weighted sampling every image of the batch has the same
    weight in q(z); of stratified sampling a code's own image has that of one training image, which makes the estimate
    of q(z) unbiased. Memory grows with the square of the batch. All arguments but the last two and `particles` are
    those of `Weighting`.

    References:
        R. Chen, X. Li, R. Grosse and D. Duvenaud, Isolating Sources of Disentanglement in VAEs (2018),
        arXiv:1802.04942, with t as their beta; the stratified weights are theirs averaged over the order of the others,
        the weighted ones theirs but for a factor that has no gradient.

    Args:
        particles: Codes drawn for each image and step.
        total_correlation: Weight of the total correlation, relative to the rest of the KL.
        sampling: How q(z) is estimated from a batch: weighted or stratified.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
        total_correlation: float = 6.0,
        sampling: Sampling = "weighted",
    ) -> None:
        estimator = Penalised("BetaTCVAE", TotalCorrelation(total_correlation, sampling), particles)
        super().__init__(estimator, Weighting(beta, reconstruction_weight, warmup, schedule, cycles))


class DIPVAE(Objective):
    """The bound with codes held to uncorrelated dimensions of variance 1.

    loss = weight * reconstruction + beta * KL + off_diagonal * sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2

    C is the covariance over the batch of the posterior means (kind I), or of the codes, which is that of the means plus
    the mean covariance of the posteriors (kind II). The two terms have no warm-up. All arguments but the last three and
    `particles` are those of `Weighting`.

    References:
        A. Kumar, P. Sattigeri and A. Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations (2018), arXiv:1711.00848.

    Args:
        particles: Codes drawn for each image and step.
        kind: I or II.
        off_diagonal: Weight of the covariances.
        diagonal: Weight of the variances; by default as published, 10 times off_diagonal for kind I, the same for II.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
        kind: Moments = "II",
        off_diagonal: float = 10.0,
        diagonal: float | None = None,
    ) -> None:
        estimator = Penalised("DIPVAE", MomentsApart(kind, off_diagonal, diagonal), particles)
        super().__init__(estimator, Weighting(beta, reconstruction_weight, warmup, schedule, cycles))


class InfoVAE(Objective):
    """The bound with the aggregate posterior q(z) held to the prior by their maximum mean discrepancy.

    loss = weight * reconstruction + beta * KL + discrepancy * MMD^2(q(z), p(z))

    MMD^2 is estimated without bias from the codes of a batch and as many draws from the prior, with the kernel
    exp(-|z - z'|^2 / (2 bandwidth^2)). It has no warm-up. beta = 0, the default, is the MMD-VAE; with the model
    Autoencoder it is the Wasserstein autoencoder. Memory grows with the square of the batch. All arguments but the last
    two and `particles` are those of `Weighting`.

    References:
        S. Zhao, J. Song and S. Ermon, InfoVAE (2019), arXiv:1706.02262, with beta = 1 - alpha and discrepancy =
        alpha + lambda - 1; A. Gretton et al., A Kernel Two-Sample Test (2012), lemma 6; I. Tolstikhin et al.,
        Wasserstein Auto-Encoders (2018), arXiv:1711.01558.

    Args:
        particles: Codes drawn for each image and step.
        discrepancy: Weight of MMD^2.
        bandwidth: Scale of the kernel; by default the square root of latent_dim.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 0.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
        discrepancy: float = 100.0,
        bandwidth: float | None = None,
    ) -> None:
        estimator = Penalised("InfoVAE", Discrepancy(discrepancy, bandwidth), particles)
        super().__init__(estimator, Weighting(beta, reconstruction_weight, warmup, schedule, cycles))


class Sparse(Objective):
    """The bound with short codes, most of whose dimensions are zero: + sparsity * sum_j |E_q[z_j]|.

    Of the model Autoencoder the sparse autoencoder. All arguments but `sparsity` and `particles` are those of
    `Weighting`.

    References:
        A. Ng, Sparse autoencoder, CS294A lecture notes (2011), for the idea; B. Olshausen and D. Field, Emergence of
        simple-cell receptive field properties by learning a sparse code for natural images (1996), for the norm.

    Args:
        particles: Codes drawn for each image and step.
        sparsity: Weight of the norm.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
        sparsity: float = 1.0,
    ) -> None:
        estimator = Penalised("Sparse", Magnitude(sparsity), particles)
        super().__init__(estimator, Weighting(beta, reconstruction_weight, warmup, schedule, cycles))


class Contractive(Objective):
    """The bound with an encoder that changes little with the image: + contraction * ||dE_q[z] / dx||^2.

    Of the model Autoencoder the contractive autoencoder. The squared Frobenius norm of the Jacobian is exact by default
    and costs a backward pass through the encoder for each dimension of the code; `probes` estimates it without bias
    from so many random directions. All arguments but the last two and `particles` are those of `Weighting`.

    References:
        S. Rifai et al., Contractive Auto-Encoders: Explicit Invariance During Feature Extraction (2011);
        M. Hutchinson, A stochastic estimator of the trace of the influence matrix (1989), for the probes.

    Args:
        particles: Codes drawn for each image and step.
        contraction: Weight of the norm.
        probes: Random directions; by default none, and the norm is exact.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
        contraction: float = 1.0,
        probes: int | None = None,
    ) -> None:
        estimator = Penalised("Contractive", Slopes(contraction, probes), particles)
        super().__init__(estimator, Weighting(beta, reconstruction_weight, warmup, schedule, cycles))
