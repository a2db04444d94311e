"""The latent sites of a model's programs, and the KL of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen


def kl_per_dimension(q: Distribution, p: Distribution) -> Tensor | None:
    """KL of each dimension of the code, (..., B, latent_dim); None if it has no closed form.

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
    """Whether the KL of two distributions has a closed form."""
    try:
        kl_divergence(q, p)
    except NotImplementedError:
        return False
    return True


@dataclass(frozen=True)
class LatentSite:
    """A latent site in the traces of guide and model.

    Attributes:
        name: Name of the site, such as "z".
        q: Its distribution in the guide.
        p: Its distribution in the model, given the guide's draws.
        value: The guide's draw.
        in_order: Whether all codes that the model draws before it are also drawn before it in the guide. Only then is
            p independent of later draws, and KL(q || p) the expectation of log q - log p.
        enumerated: Whether its value is all that there are and not a draw.
    """

    name: str
    q: Distribution
    p: Distribution
    value: Tensor
    in_order: bool
    enumerated: bool = False


def latent_sites(guide_trace: Any, model_trace: Any) -> list[LatentSite]:
    """The latent sites of two traces, the model's replayed with the guide's draws, in the guide's order."""
    names = [name for name, site in guide_trace.nodes.items() if _is_code(site) and name in model_trace.nodes]
    before = [name for name in model_trace.nodes if name in names]
    return [
        LatentSite(
            name,
            guide_trace.nodes[name]["fn"],
            model_trace.nodes[name]["fn"],
            guide_trace.nodes[name]["value"],
            set(before[: before.index(name)]) <= set(names[:i]),
            guide_trace.nodes[name]["infer"].get("_enumerate_dim") is not None,
        )
        for i, name in enumerate(names)
    ]


def _is_code(site: dict[str, Any]) -> bool:
    """Whether a guide's site is a draw, and not the indices of a plate or auxiliary noise."""
    subsample = type(site.get("fn")).__name__ == "_Subsample"
    return site["type"] == "sample" and not subsample and not site["infer"].get("is_auxiliary")


def latent_sites_of(model: LatentVariableModel) -> list[LatentSite]:
    """The latent sites of a model, traced with two black images."""
    shapes = model.shapes
    with frozen(model) as device:
        x = torch.zeros(2, *shapes.image_shape, device=device)
        y = torch.zeros(2, dtype=torch.int64, device=device) if shapes.num_classes else None
        guide_trace = poutine.trace(model.guide).get_trace(x, y)
        model_trace = poutine.trace(poutine.replay(model.model, trace=guide_trace)).get_trace(x, y)
    return latent_sites(guide_trace, model_trace)


def plates_of(model: LatentVariableModel) -> list[str]:
    """Names of the rightmost plates of a model's programs, which hold the images."""
    shapes = model.shapes
    with frozen(model) as device:
        x = torch.zeros(2, *shapes.image_shape, device=device)
        y = torch.zeros(2, dtype=torch.int64, device=device) if shapes.num_classes else None
        traces = [poutine.trace(program).get_trace(x, y) for program in (model.guide, model.model)]
    sites = [site for trace in traces for site in trace.nodes.values() if site["type"] == "sample"]
    return sorted({str(frame.name) for site in sites for frame in site["cond_indep_stack"] if frame.dim == -1})


def family_name(d: Distribution) -> str:
    """Class name of a distribution without `Independent`."""
    return family_name(d.base_dist) if isinstance(d, Independent) else type(d).__name__
