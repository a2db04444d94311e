"""Bounds from several codes at once: importance-weighted and Rényi, with pathwise gradients."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pyro.infer import RenyiELBO
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae.models import LatentVariableModel
from pyrovae.objectives.base import (
    Objective,
    Program,
    check_densities,
    check_particles,
)


class _SeveralCodes(Objective):
    """A bound that takes the logarithm of a mean over codes, and so has no terms to weight."""

    additive: ClassVar[bool] = False

    def beta_at(self, progress: float) -> float:
        """Always 1: a weight inside of the logarithm would be no bound of anything."""
        return 1.0

    def weighted(self, program: Program) -> Program:
        """The program itself, since the bound is no sum of weighted terms."""

        def unweighted_program(beta: Tensor, x: Tensor, y: Tensor | None = None) -> None:
            program(x, y)

        return unweighted_program

    def notice(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        check_densities(self, model)
        return None


@dataclass(frozen=True)
class ImportanceWeighted(_SeveralCodes):
    """The bound log 1/k sum_i p(x, z_i) / q(z_i | x), z_1 ... z_k ~ q: tighter the more codes, log p(x) in the end.

    The more codes, the noisier the gradient of the posterior becomes against its size. The gradients stl and dreg
    leave out (or cancel) the part with mean zero, the score of the posterior: stl is quiet and biased for k > 1, dreg
    is unbiased.

    References:
        Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519; T.
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better (2018), arXiv:1802.04537; G. Roeder,
        Y. Wu and D. Duvenaud, Sticking the Landing (2017), arXiv:1703.09194; G. Tucker et al., Doubly
        Reparameterized Gradient Estimators (2019), arXiv:1810.04152.

    Args:
        k: Codes drawn for each image and step.
        gradient: How the posterior's gradient is estimated: standard, stl or dreg.

    Raises:
        ValueError: If an argument is out of its range.
    """

    k: int = 5
    gradient: Literal["standard", "stl", "dreg"] = "standard"

    def __post_init__(self) -> None:
        check_particles(self.k, "k")
        if self.gradient not in ("standard", "stl", "dreg"):
            raise ValueError(f"gradient must be standard, stl or dreg, got {self.gradient!r}")

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound, as a mean over images."""
        if self.gradient == "standard":
            return _PerImageRenyiELBO(0.0, self.k)
        return _PathwiseELBO(self.k, power=1 if self.gradient == "stl" else 2)


@dataclass(frozen=True)
class Renyi(_SeveralCodes):
    """Rényi's bound, 1 / (1 - alpha) log 1/k sum_i (p(x, z_i) / q(z_i | x))^(1 - alpha), from k codes z_i ~ q.

    It goes from the importance-weighted bound (alpha = 0), which covers the posterior's mass, through the ELBO
    (alpha -> 1), which seeks its mode, to ever more of that.

    References:
        Y. Li and R. E. Turner, Rényi Divergence Variational Inference (2016), arXiv:1602.02311.

    Args:
        alpha: Order of the divergence, at least 0 and not 1.
        k: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of its range.
    """

    alpha: float = 0.5
    k: int = 5

    def __post_init__(self) -> None:
        check_particles(self.k, "k")
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be at least 0, got {self.alpha}: below there is no lower bound")
        if self.alpha == 1:
            raise ValueError("alpha must not be 1: that limit is the ELBO, use TraceELBO")

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound, as a mean over images."""
        return _PerImageRenyiELBO(self.alpha, self.k)


class _PerImageRenyiELBO(RenyiELBO):
    """Pyro's Rényi bound, divided by the number of images.

    The images' own logarithms are taken before they are added up, so the sites of the programs cannot be scaled
    instead, as those of an ELBO can.
    """

    def __init__(self, alpha: float, particles: int) -> None:
        super().__init__(alpha, num_particles=particles, vectorize_particles=True, max_plate_nesting=1)

    def loss(self, model: Program, guide: Program, *args: Any) -> float:
        """Minus the bound."""
        return super().loss(model, guide, *args) / _images(args)

    def loss_and_grads(self, model: Program, guide: Program, *args: Any) -> float:
        """Minus the bound; its gradients are left in `.grad`."""
        return super().loss_and_grads(model, guide, *args) / _images(args)

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The two traces, with log-densities that are as they were but whose gradients are divided."""
        traces = super()._get_trace(model, guide, args, kwargs)
        for site in (site for trace in traces for site in trace.nodes.values() if site["type"] == "sample"):
            share = site["log_prob"] / _images(args)
            site["log_prob"] = share + (site["log_prob"] - share).detach()
        return traces


class _PathwiseELBO(_PerImageRenyiELBO):
    """The importance-weighted bound, the posterior trained through its draws alone.

    With the normalised weights w_i of the k codes z_i = z(noise_i; phi):

        model:      sum_i w_i d log p(x, z_i) / d theta
        posterior:  sum_i w_i^power d/dz_i [log p(x, z_i) - log q(z_i | x)] dz_i / d phi

    Power 1 is STL and power 2 DReG. The draws are cut out of the graph and put back by the chain rule, so it does not
    matter which distribution q is; only its draws must be differentiable.
    """

    def __init__(self, particles: int, power: int) -> None:
        super().__init__(0.0, particles)
        self.power = power

    def loss_and_grads(self, model: Program, guide: Program, *args: Any) -> float:
        """Minus the bound; its gradients are left in `.grad`."""
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, {})
        log_p = _log_prob(model_trace)
        log_w = log_p - _log_prob(guide_trace)
        if log_w.ndim == 1:  # one particle has no plate of its own
            log_p, log_w = log_p.unsqueeze(0), log_w.unsqueeze(0)
        w = log_w.detach().softmax(0)

        along = (w**self.power * log_w).sum()
        paths = torch.zeros_like(along)
        for site in reversed(list(guide_trace.nodes.values())):
            if _DRAW in site.get("infer", {}):
                # Later codes that were drawn from this one are in `paths`, and so in its slope.
                (slope,) = torch.autograd.grad(along + paths, site["value"], retain_graph=True)
                paths = paths + (slope.detach() * site["infer"][_DRAW]).sum()
        surrogate = -((w * log_p).sum() + paths)
        if surrogate.requires_grad:
            surrogate.backward()
        return -(log_w.detach().logsumexp(0) - math.log(self.num_particles)).mean().item()

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return super()._get_trace(model, _CutDraws()(guide), args, kwargs)


_DRAW = "_pyrovae_draw"


class _CutDraws(Messenger):
    """Takes each draw of a guide out of the graph: what follows sees a leaf, and the draw is kept beside it."""

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
    """Number of images in the arguments (beta, x, y) of a program."""
    return len(args[1])
