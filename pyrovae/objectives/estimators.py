"""Estimators of a bound by Pyro, and the models that they apply to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.infer.util import torch_item
from torch import Tensor, where

from pyrovae.contracts import NotApplicable, name_of
from pyrovae.engine.shards import counted_once, mean_of_batch, whole_batch
from pyrovae.models import LatentVariableModel
from pyrovae.objectives.importance import PathwiseELBO, PerImageRenyiELBO
from pyrovae.objectives.sites import LatentSite, family_name, has_kl, kl_per_dimension, latent_sites_of
from pyrovae.shapes import WrongTypeError, check_choice, check_count

Gradient = Literal["standard", "stl", "dreg"]
Allowance = Literal["dimension", "code"]


class Estimator(ABC):
    """An estimator of a bound of log p(x).

    Attributes:
        additive: Whether the bound is a sum of a reconstruction and a KL term, which can be weighted.
    """

    additive: ClassVar[bool] = True

    @property
    def codes(self) -> int:
        """Codes of each image in the bound by which weights are judged."""
        return 1

    @property
    def over_batch(self) -> bool:
        """Whether the loss of a batch is no mean over its images, and so is another one if the batch is cut in two."""
        return False

    def kept_of_a_pair(self, latent_dim: int) -> int:
        """Numbers that are held for each pair of images of a batch, which are compared with each other in some."""
        return 0

    def of_set(self, images: int) -> Estimator:
        """The estimator for a training set of so many images."""
        return self

    @abstractmethod
    def elbo(self) -> ELBO:
        """Pyro's estimator."""

    @abstractmethod
    def check(self, model: LatentVariableModel) -> str | None:
        """A note on this estimator with this model, in one line, or None.

        Raises:
            ValueError: If it does not apply to the model.
        """


@dataclass(frozen=True)
class Traces(Estimator):
    """The ELBO by Monte Carlo over traces, with `particles` codes per image."""

    particles: int = 1

    def __post_init__(self) -> None:
        check_count("particles", self.particles)

    def elbo(self) -> ELBO:
        """Pyro's estimator."""
        return Trace_ELBO(num_particles=self.particles, vectorize_particles=True, max_plate_nesting=1)

    def check(self, model: LatentVariableModel) -> str | None:
        """Applies to any model."""
        return None


@dataclass(frozen=True)
class MeanField(Estimator):
    """The ELBO with the KL term in closed form if there is one."""

    particles: int = 1

    def __post_init__(self) -> None:
        check_count("particles", self.particles)

    def elbo(self) -> ELBO:
        """Pyro's estimator."""
        return TraceMeanField_ELBO(num_particles=self.particles, vectorize_particles=True, max_plate_nesting=1)

    def check(self, model: LatentVariableModel) -> str | None:
        """Names the pairs of distributions without a closed form."""
        check_labels("TraceMeanField", model)
        sites = latent_sites_of(model)
        check_order("TraceMeanField", sites)
        missing = [f"{family_name(s.q)} to {family_name(s.p)}" for s in sites if not has_kl(s.q, s.p)]
        if not missing:
            return None
        return (
            f"no closed form of the KL from {', '.join(missing)} is known: TraceMeanField estimates it like TraceELBO"
        )


@dataclass(frozen=True)
class FreeNats(Estimator):
    """The ELBO with free bits: the KL term is clamped from below by an allowance."""

    nats: float = 0.1
    per: Allowance = "dimension"
    particles: int = 1

    def __post_init__(self) -> None:
        check_count("particles", self.particles)
        if not isinstance(self.nats, int | float) or not 0 <= self.nats < math.inf:
            raise ValueError(f"nats, the free part of the KL, must be at least 0, got {self.nats}")
        check_choice("per", self.per, Allowance)

    @property
    def over_batch(self) -> bool:
        """The mean of the batch is clamped."""
        return True

    def elbo(self) -> ELBO:
        """Pyro's estimator, with the allowance."""
        return _FreeBitsELBO(
            self.nats,
            self.per == "dimension",
            num_particles=self.particles,
            vectorize_particles=True,
            max_plate_nesting=1,
        )

    def check(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        _check_densities("FreeBits", model)
        sites = latent_sites_of(model)
        check_order("FreeBits", sites)
        for site in sites:
            if self.per == "dimension" and kl_per_dimension(site.q, site.p) is None:
                raise ValueError(
                    f"free bits for each dimension need its KL in closed form, and there is none from "
                    f"{family_name(site.q)} to {family_name(site.p)}: give the allowance to the whole code "
                    f"(--objective.per code)"
                )
        return None


@dataclass(frozen=True)
class SeveralCodes(Estimator):
    """The importance-weighted bound of k codes."""

    additive: ClassVar[bool] = False
    k: int = 5
    gradient: Gradient = "standard"

    @property
    def codes(self) -> int:
        """Codes of each image."""
        return self.k

    def __post_init__(self) -> None:
        check_count("k", self.k)
        check_choice("gradient", self.gradient, Gradient)

    def elbo(self) -> ELBO:
        """Pyro's estimator, as a mean over images."""
        if self.gradient == "standard":
            return PerImageRenyiELBO(0.0, self.k)
        return PathwiseELBO(self.k, power=1 if self.gradient == "stl" else 2)

    def check(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        _check_densities("ImportanceWeighted", model)
        return None


@dataclass(frozen=True)
class RenyiOfCodes(Estimator):
    """Rényi's bound of k codes."""

    additive: ClassVar[bool] = False
    alpha: float = 0.5
    k: int = 5

    def __post_init__(self) -> None:
        check_count("k", self.k)
        if not isinstance(self.alpha, int | float):
            raise WrongTypeError(f"alpha must be a number, got {self.alpha!r}")
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be at least 0, got {self.alpha}: below there is no lower bound")
        if self.alpha == 1:
            raise ValueError("alpha must not be 1: that limit is the ELBO, use TraceELBO")

    def elbo(self) -> ELBO:
        """Pyro's estimator, as a mean over images."""
        return PerImageRenyiELBO(self.alpha, self.k)

    def check(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        _check_densities("Renyi", model)
        return None


class _FreeBitsELBO(TraceMeanField_ELBO):
    """`TraceMeanField_ELBO` with the KL term clamped from below by an allowance."""

    sums_over_rows = True

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
            if site["mask"] is not None:
                dims = where(site["mask"].unsqueeze(-1), dims, 0.0)
            means = mean_of_batch(dims)
            codes = math.prod(dims.shape[:-2]) * whole_batch(dims.shape[-2])
            loss = loss + counted_once(site["scale"] * codes * means.clamp(min=self.nats).sum())
        return torch_item(loss), loss


def _check_densities(objective: str, model: LatentVariableModel) -> None:
    """Refuse a bound by densities of codes for a model whose posterior is a point, or that sums over labels."""
    check_labels(objective, model)
    model.posterior.need_density(
        f"the objective {objective} needs a posterior with a density, and "
        f"{name_of(model.posterior)} is a point: use TraceELBO, or a VAE"
    )


def check_labels(objective: str, model: LatentVariableModel) -> None:
    """Refuse other bounds than the ELBO for a model that sums over labels.

    Raises:
        NotApplicable: If it does.
    """
    if model.infers_labels:
        raise NotApplicable(
            f"the objective {objective} has no sum over the classes of images without labels, which "
            f"{type(model).__name__} needs: use TraceELBO"
        )


def check_order(objective: str, sites: list[LatentSite]) -> None:
    """Refuse the closed form of a KL if guide and model draw codes in different orders."""
    for site in sites:
        if not site.in_order and has_kl(site.q, site.p):
            raise ValueError(
                f"the objective {objective} takes the KL of {site.name!r} in closed form, and there is "
                f"none where the model draws codes before it that the guide draws after it: use TraceELBO, or draw "
                f"them in the same order"
            )
