"""What every objective is, and what it asks of a model's programs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.infer.elbo import ELBO
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from pyrovae.contracts import name_of
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

Program = Callable[..., None]


class Objective(ABC):
    """What a training minimises, in nats per image.

    Attributes:
        additive: Whether the loss is weight * reconstruction + beta * KL, so that a log may show it as that sum.
    """

    additive: ClassVar[bool] = True

    @abstractmethod
    def beta_at(self, progress: float) -> float:
        """Weight of the KL term when the share `progress`, 0 to 1, of all training steps is done."""

    @abstractmethod
    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound."""

    @abstractmethod
    def weighted(self, program: Program) -> Program:
        """The program as `elbo` wants it; its first argument is the current KL weight, a 0-d tensor."""

    @abstractmethod
    def notice(self, model: LatentVariableModel) -> str | None:
        """What a user should know of this objective with this model, in a line, or None; to be called before training.

        Raises:
            ValueError: If the objective makes no sense with the model.
        """


def kl_per_dimension(q: Distribution, p: Distribution) -> Tensor | None:
    """KL of each dimension of the code in closed form, (..., B, latent_dim); None where there is none.

    Args:
        q: Posterior of codes, event_shape (latent_dim,).
        p: Prior of codes, with the same event shape.
    """
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    if len(q.event_shape) != 1 or q.event_shape != p.event_shape:
        return None
    try:
        kl = kl_divergence(q.base_dist, p.base_dist)
    except NotImplementedError:
        return None
    return kl if kl.shape == (*q.batch_shape, *q.event_shape) else None


def has_kl(q: Distribution, p: Distribution) -> bool:
    """Whether the KL of two distributions is known in closed form."""
    try:
        kl_divergence(q, p)
    except NotImplementedError:
        return False
    return True


@dataclass(frozen=True)
class LatentSite:
    """A code in the traces of guide and model.

    Attributes:
        name: Name of the site, such as "z".
        q: Its distribution in the guide.
        p: Its distribution in the model, given the guide's codes.
        value: The guide's draw.
        in_order: Whether the guide has drawn before it all that the model has. Only then does p look at nothing that
            was drawn given this code, and the KL from q to p is what log q - log p comes to on average.
    """

    name: str
    q: Distribution
    p: Distribution
    value: Tensor
    in_order: bool


def latent_sites(guide_trace: Any, model_trace: Any) -> list[LatentSite]:
    """The codes of two traces, the model's replayed with the guide's draws, in the guide's order."""
    names = [name for name, site in guide_trace.nodes.items() if _is_code(site) and name in model_trace.nodes]
    before = [name for name in model_trace.nodes if name in names]
    return [
        LatentSite(
            name,
            guide_trace.nodes[name]["fn"],
            model_trace.nodes[name]["fn"],
            guide_trace.nodes[name]["value"],
            set(before[: before.index(name)]) <= set(names[:i]),
        )
        for i, name in enumerate(names)
    ]


def _is_code(site: dict[str, Any]) -> bool:
    """Whether a guide's site is a draw of the model's, and not a plate's indices or a helper's noise."""
    subsample = type(site.get("fn")).__name__ == "_Subsample"
    return site["type"] == "sample" and not subsample and not site["infer"].get("is_auxiliary")


def latent_sites_of(model: LatentVariableModel) -> list[LatentSite]:
    """The codes of a model, those of two black images."""
    shapes = model.shapes
    with frozen(model) as device:
        x = torch.zeros(2, *shapes.image_shape, device=device)
        y = torch.zeros(2, dtype=torch.int64, device=device) if shapes.num_classes else None
        guide_trace = poutine.trace(model.guide).get_trace(x, y)
        model_trace = poutine.trace(poutine.replay(model.model, trace=guide_trace)).get_trace(x, y)
    return latent_sites(guide_trace, model_trace)


def check_densities(objective: Objective, model: LatentVariableModel) -> None:
    """Refuse a bound that weighs codes by their densities for a model whose codes have none."""
    model.posterior.need_density(
        f"the objective {type(objective).__name__} needs a posterior with a density, and "
        f"{name_of(model.posterior)} is a point: use TraceELBO, or a VAE"
    )


def check_order(objective: Objective, sites: list[LatentSite]) -> None:
    """Refuse a closed form of a KL that would be of two distributions that do not belong together."""
    for site in sites:
        if not site.in_order and has_kl(site.q, site.p):
            raise ValueError(
                f"the objective {type(objective).__name__} takes the KL of {site.name!r} in closed form, and there is "
                f"none where the model draws codes before it that the guide draws after it: use TraceELBO, or draw "
                f"them in the same order"
            )


def check_particles(particles: int, name: str = "particles") -> None:
    """Refuse a number of codes below one."""
    if particles < 1:
        raise ValueError(f"{name} must be at least 1, got {particles}")


def family_name(d: Distribution) -> str:
    """What a distribution is called, without the wrapper that makes its dimensions one event."""
    return family_name(d.base_dist) if isinstance(d, Independent) else type(d).__name__
