"""Bounds from several codes per image as Pyro estimators: means over images, with pathwise gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.infer import RenyiELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae.engine.shards import whole_batch
from pyrovae.objectives.weighting import Program


class PerImageRenyiELBO(RenyiELBO):
    """Pyro's Rényi bound, divided by the number of images.

    The bound is a sum of logarithms over images, so the result must be scaled. Scaling the sites, as for an ELBO, would
    not be equivalent.
    """

    sums_over_rows = True

    def __init__(self, alpha: float, particles: int) -> None:
        super().__init__(alpha, num_particles=particles, vectorize_particles=True, max_plate_nesting=1)

    def loss(self, model: Program, guide: Program, *args: Any) -> float:
        """Minus the bound."""
        return super().loss(model, guide, *args) / _images(args)

    def loss_and_grads(self, model: Program, guide: Program, *args: Any) -> float:
        """Minus the bound; gradients are stored in `.grad`."""
        return super().loss_and_grads(model, guide, *args) / _images(args)

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The two traces, with unchanged log-densities whose gradients are divided by the number of images."""
        traces = super()._get_trace(model, guide, args, kwargs)
        for site in (site for trace in traces for site in trace.nodes.values() if site["type"] == "sample"):
            share = site["log_prob"] / _images(args)
            site["log_prob"] = share + (site["log_prob"] - share).detach()
        return traces


class PathwiseELBO(PerImageRenyiELBO):
    """The importance-weighted bound with pathwise gradients of the posterior.

    With the normalised weights w_i of the k codes z_i = z(noise_i; phi):

        model:      sum_i w_i d log p(x, z_i) / d theta
        posterior:  sum_i w_i^power d/dz_i [log p(x, z_i) - log q(z_i | x)] dz_i / d phi

    Power 1 is STL and power 2 DReG. The draws are detached from the graph and reconnected by the chain rule, so q may
    be any distribution with differentiable draws.
    """

    def __init__(self, particles: int, power: int) -> None:
        super().__init__(0.0, particles)
        self.power = power

    def loss_and_grads(self, model: Program, guide: Program, *args: Any) -> float:
        """Minus the bound; gradients are stored in `.grad`."""
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, {})
        log_p = _log_prob(model_trace)
        log_w = log_p - _log_prob(guide_trace)
        if log_w.ndim == 1:  # a single particle has no plate
            log_p, log_w = log_p.unsqueeze(0), log_w.unsqueeze(0)
        w = log_w.detach().softmax(0)

        along = (w**self.power * log_w).sum()
        paths = torch.zeros_like(along)
        for site in reversed(list(guide_trace.nodes.values())):
            if _DRAW in site.get("infer", {}):
                # `paths` contains the later codes that depend on this one, so its slope includes them.
                (slope,) = torch.autograd.grad(along + paths, site["value"], retain_graph=True)
                paths = paths + (slope.detach() * site["infer"][_DRAW]).sum()
        surrogate = -((w * log_p).sum() + paths)
        if surrogate.requires_grad:
            surrogate.backward()
        bound = (log_w.detach().logsumexp(0) - math.log(self.num_particles)).mean().item()
        return -bound * (len(args[1]) / _images(args))

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return super()._get_trace(model, _CutDraws()(guide), args, kwargs)


_DRAW = "_pyrovae_draw"


class _CutDraws(Messenger):
    """Detaches each draw of a guide: the program continues with a leaf, and the draw is stored in the site."""

    def _pyro_sample(self, msg: Message) -> None:
        if msg["is_observed"] or msg["done"] or type(msg["fn"]).__name__ == "_Subsample":
            return
        if not msg["fn"].has_rsample:
            raise ValueError(
                f"the gradients stl and dreg go through the draws, and those of {msg['name']!r} "
                f"({type(msg['fn']).__name__}) are not differentiable: use gradient standard"
            )
        draw = msg["fn"](*msg["args"], **msg["kwargs"])
        msg["infer"] = {**msg["infer"], _DRAW: draw}
        msg["value"] = draw.detach().requires_grad_()
        msg["done"] = True


def _log_prob(trace: Any) -> Tensor:
    """The joint log-density of a trace for each particle and image."""
    return sum(site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample")


def _images(args: tuple[Any, ...]) -> int:
    """Number of images in a batch, of which a program has these arguments (beta, x, y)."""
    return whole_batch(len(args[1]))
