"""The evidence lower bound with weights on its two terms: by traces, with analytic KL, and with free bits."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.infer.util import torch_item
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae.models import LatentVariableModel
from pyrovae.objectives.base import (
    Objective,
    Program,
    check_densities,
    check_order,
    check_particles,
    family_name,
    has_kl,
    kl_per_dimension,
    latent_sites_of,
)


class SiteWeights(Messenger):
    """Weight the log-densities of a program: latent sites by one factor, observed sites by another.

    Unlike `pyro.poutine.scale` it takes a weight of zero, which the start of a warm-up needs, and tensors that
    change from step to step without another trace.
    """

    def __init__(self, latent: Tensor, observed: Tensor) -> None:
        super().__init__()
        self.latent = latent
        self.observed = observed

    def _pyro_sample(self, msg: Message) -> None:
        # A plate's own subsample site has no density to weight.
        if type(msg["fn"]).__name__ != "_Subsample":
            msg["scale"] = msg["scale"] * (self.observed if msg["is_observed"] else self.latent)


@dataclass(frozen=True)
class _WeightedELBO(Objective):
    """A bound with a weight on each of its two terms; the arguments are those of `TraceELBO`."""

    beta: float = 1.0
    reconstruction_weight: float = 1.0
    warmup: float = 0.0
    schedule: Literal["linear", "sigmoid", "cyclical"] = "linear"
    cycles: int = 4
    particles: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta, the weight of the KL term, must be at least 0, got {self.beta}")
        if not 0 <= self.reconstruction_weight < math.inf:
            raise ValueError(f"reconstruction_weight must be at least 0, got {self.reconstruction_weight}")
        if not self.beta and not self.reconstruction_weight:
            raise ValueError("beta and reconstruction_weight cannot both be 0: nothing would be left to minimise")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be a share of all steps, from 0 to 1, got {self.warmup}")
        if self.schedule not in ("linear", "sigmoid", "cyclical"):
            raise ValueError(f"schedule must be linear, sigmoid or cyclical, got {self.schedule!r}")
        if self.cycles < 1:
            raise ValueError(f"cycles must be at least 1, got {self.cycles}")
        check_particles(self.particles)

    def beta_at(self, progress: float) -> float:
        """Weight of the KL term when the share `progress`, 0 to 1, of all training steps is done."""
        if not self.warmup:
            return self.beta
        if self.schedule == "cyclical" and progress < 1:
            progress = progress * self.cycles % 1
        risen = min(1.0, progress / self.warmup)
        if self.schedule == "sigmoid":
            # The logistic curve from -6 to 6, stretched to begin at 0 and end at 1.
            risen = 0.5 + 0.5 * math.tanh(6 * (risen - 0.5)) / math.tanh(3)
        return self.beta * risen

    def weighted(self, program: Program) -> Program:
        """The program with its sites weighted; its first argument is the current KL weight, a 0-d tensor."""

        def weighted_program(beta: Tensor, x: Tensor, y: Tensor | None = None) -> None:
            per_image = 1.0 / len(x)
            with SiteWeights(beta * per_image, torch.full_like(beta, self.reconstruction_weight * per_image)):
                program(x, y)

        return weighted_program


@dataclass(frozen=True)
class TraceELBO(_WeightedELBO):
    """The evidence lower bound by Monte Carlo over traces: loss = weight * reconstruction + beta * KL.

    In nats per image: the programs' sums over a batch are divided by its size, so that learning rates and
    tolerances mean the same whatever the batch.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114; I. Higgins et al.,
        beta-VAE (2017), for beta; S. Bowman et al., Generating Sentences from a Continuous Space (2016),
        arXiv:1511.06349, for the warm-up, linear or sigmoid; H. Fu et al., Cyclical Annealing Schedule (2019),
        arXiv:1903.10145.

    Args:
        beta: Weight of the KL term; 0 leaves the reconstruction alone.
        reconstruction_weight: Weight of the reconstruction term; 0 leaves the KL alone.
        warmup: Share of all training steps, 0 to 1, over which the KL weight rises from 0 to beta.
        schedule: How it rises: linear, sigmoid, or cyclical: linear, over that share of each of some cycles.
        cycles: Number of cycles of the cyclical schedule.
        particles: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound."""
        return Trace_ELBO(num_particles=self.particles, vectorize_particles=True, max_plate_nesting=1)

    def notice(self, model: LatentVariableModel) -> str | None:
        """Nothing: any model will do."""
        return None


@dataclass(frozen=True)
class TraceMeanField(_WeightedELBO):
    """The ELBO with the KL term in closed form where posterior and prior have one, and by Monte Carlo elsewhere.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix B; G. Roeder,
        Y. Wu and D. Duvenaud (2017), arXiv:1703.09194, on why the closed form is not always the quieter one.

    Args:
        beta: Weight of the KL term; 0 leaves the reconstruction alone.
        reconstruction_weight: Weight of the reconstruction term; 0 leaves the KL alone.
        warmup: Share of all training steps, 0 to 1, over which the KL weight rises from 0 to beta.
        schedule: How it rises: linear, sigmoid, or cyclical: linear, over that share of each of some cycles.
        cycles: Number of cycles of the cyclical schedule.
        particles: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound."""
        return TraceMeanField_ELBO(num_particles=self.particles, vectorize_particles=True, max_plate_nesting=1)

    def notice(self, model: LatentVariableModel) -> str | None:
        """Which pairs of distributions have no closed form, or a refusal."""
        sites = latent_sites_of(model)
        check_order(self, sites)
        missing = [f"{family_name(s.q)} to {family_name(s.p)}" for s in sites if not has_kl(s.q, s.p)]
        if not missing:
            return None
        return (
            f"no closed form of the KL from {', '.join(missing)} is known: TraceMeanField estimates it like TraceELBO"
        )


@dataclass(frozen=True)
class FreeBits(_WeightedELBO):
    """The ELBO with a part of the KL term for free: loss = weight * reconstruction + beta * sum_j max(nats, KL_j).

    KL_j is the mean over the batch of the KL of dimension j, or of the whole code. A dimension below its allowance is
    not pressed further, so it need not collapse.

    References:
        D. P. Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow (2016),
        arXiv:1606.04934, appendix C.8.

    Args:
        beta: Weight of the KL term; 0 leaves the reconstruction alone.
        reconstruction_weight: Weight of the reconstruction term; 0 leaves the KL alone.
        warmup: Share of all training steps, 0 to 1, over which the KL weight rises from 0 to beta.
        schedule: How it rises: linear, sigmoid, or cyclical: linear, over that share of each of some cycles.
        cycles: Number of cycles of the cyclical schedule.
        particles: Codes drawn for each image and step.
        nats: What is free, in nats.
        per: Whether each dimension has that allowance, which takes a KL in closed form for each, or the whole code.

    Raises:
        ValueError: If an argument is out of its range.
    """

    nats: float = 0.1
    per: Literal["dimension", "code"] = "dimension"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.nats < math.inf:
            raise ValueError(f"nats, the free part of the KL, must be at least 0, got {self.nats}")
        if self.per not in ("dimension", "code"):
            raise ValueError(f"per must be dimension or code, got {self.per!r}")

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound, with the allowance."""
        return _FreeBitsELBO(
            self.nats,
            self.per == "dimension",
            num_particles=self.particles,
            vectorize_particles=True,
            max_plate_nesting=1,
        )

    def notice(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        check_densities(self, model)
        sites = latent_sites_of(model)
        check_order(self, sites)
        for site in sites:
            if self.per == "dimension" and kl_per_dimension(site.q, site.p) is None:
                raise ValueError(
                    f"free bits for each dimension need its KL in closed form, and there is none from "
                    f"{family_name(site.q)} to {family_name(site.p)}: give the allowance to the whole code "
                    f"(--objective.per code)"
                )
        return None


class _FreeBitsELBO(TraceMeanField_ELBO):
    """`TraceMeanField_ELBO` whose KL term counts no less than an allowance."""

    def __init__(self, nats: float, per_dimension: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self.nats = nats
        self.per_dimension = per_dimension

    def _differentiable_loss_particle(self, model_trace: Any, guide_trace: Any) -> tuple[Any, Tensor]:
        loss: Any = 0.0
        for name, site in model_trace.nodes.items():
            if site["type"] != "sample":
                continue
            if site["is_observed"]:
                loss = loss - site["log_prob_sum"]
                continue
            guide_site = guide_trace.nodes[name]
            dims = kl_per_dimension(guide_site["fn"], site["fn"])
            if dims is None or not self.per_dimension:
                log_ratio = guide_site["unscaled_log_prob"] - site["unscaled_log_prob"]
                dims = log_ratio.unsqueeze(-1) if dims is None else dims.sum(-1, keepdim=True)
            means = dims.flatten(0, -2).mean(0)
            loss = loss + site["scale"] * math.prod(dims.shape[:-1]) * means.clamp(min=self.nats).sum()
        return torch_item(loss), loss
