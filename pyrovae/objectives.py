"""What SVI minimises: which bound, and how its two terms are weighted.

A model's programs stay the joint distribution that they are; an objective wraps them with a Pyro handler that
weights their sites, so that evaluation sees the true ELBO whatever the training's weights were.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.infer.util import torch_item
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

Program = Callable[..., None]


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


# -- the ELBO and its weights --------------------------------------------------------------------------------------


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
        if not 0 < self.reconstruction_weight < math.inf:
            raise ValueError(f"reconstruction_weight must be positive, got {self.reconstruction_weight}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be a share of all steps, from 0 to 1, got {self.warmup}")
        if self.schedule not in ("linear", "sigmoid", "cyclical"):
            raise ValueError(f"schedule must be linear, sigmoid or cyclical, got {self.schedule!r}")
        if self.cycles < 1:
            raise ValueError(f"cycles must be at least 1, got {self.cycles}")
        _check_particles(self.particles)

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
        reconstruction_weight: Weight of the reconstruction term.
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
        reconstruction_weight: Weight of the reconstruction term.
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
        """Which pairs of distributions have no closed form."""
        missing = [f"{_name(q)} to {_name(p)}" for q, p in _latent_pairs(model) if not _has_kl(q, p)]
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
        arXiv:1606.04934, section 4 and appendix C.8.

    Args:
        beta: Weight of the KL term; 0 leaves the reconstruction alone.
        reconstruction_weight: Weight of the reconstruction term.
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
        _check_densities(self, model)
        for q, p in _latent_pairs(model):
            if self.per == "dimension" and kl_per_dimension(q, p) is None:
                raise ValueError(
                    f"free bits for each dimension need its KL in closed form, and there is none from {_name(q)} to "
                    f"{_name(p)}: give the allowance to the whole code (--objective.per code)"
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


# -- bounds from several codes at once -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ImportanceWeighted(Objective):
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
        particles: Codes drawn for each image and step, k.
        gradient: How the posterior's gradient is estimated: standard, stl or dreg.

    Raises:
        ValueError: If an argument is out of its range.
    """

    additive: ClassVar[bool] = False
    particles: int = 5
    gradient: Literal["standard", "stl", "dreg"] = "standard"

    def __post_init__(self) -> None:
        _check_particles(self.particles)
        if self.gradient not in ("standard", "stl", "dreg"):
            raise ValueError(f"gradient must be standard, stl or dreg, got {self.gradient!r}")

    def beta_at(self, progress: float) -> float:
        """Always 1: a weight inside of the logarithm would be no bound of anything."""
        return 1.0

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound, as a mean over images."""
        if self.gradient == "standard":
            return _PerImageRenyiELBO(0.0, self.particles)
        return _PathwiseELBO(self.particles, power=1 if self.gradient == "stl" else 2)

    def weighted(self, program: Program) -> Program:
        """The program itself, since the bound is no sum of weighted terms."""
        return _unweighted(program)

    def notice(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        _check_densities(self, model)
        return None


@dataclass(frozen=True)
class Renyi(Objective):
    """Rényi's bound, 1 / (1 - alpha) log 1/k sum_i (p(x, z_i) / q(z_i | x))^(1 - alpha), from k codes z_i ~ q.

    It goes from the importance-weighted bound (alpha = 0), which covers the posterior's mass, through the ELBO
    (alpha -> 1), which seeks its mode, to ever more of that.

    References:
        Y. Li and R. E. Turner, Rényi Divergence Variational Inference (2016), arXiv:1602.02311.

    Args:
        alpha: Order of the divergence, at least 0 and not 1.
        particles: Codes drawn for each image and step, k.

    Raises:
        ValueError: If an argument is out of its range.
    """

    additive: ClassVar[bool] = False
    alpha: float = 0.5
    particles: int = 5

    def __post_init__(self) -> None:
        _check_particles(self.particles)
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be at least 0, got {self.alpha}: below there is no lower bound")
        if self.alpha == 1:
            raise ValueError("alpha must not be 1: that limit is the ELBO, use TraceELBO")

    def beta_at(self, progress: float) -> float:
        """Always 1: a weight inside of the logarithm would be no bound of anything."""
        return 1.0

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound, as a mean over images."""
        return _PerImageRenyiELBO(self.alpha, self.particles)

    def weighted(self, program: Program) -> Program:
        """The program itself, since the bound is no sum of weighted terms."""
        return _unweighted(program)

    def notice(self, model: LatentVariableModel) -> str | None:
        """Nothing, or a refusal."""
        _check_densities(self, model)
        return None


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


def _unweighted(program: Program) -> Program:
    def unweighted_program(beta: Tensor, x: Tensor, y: Tensor | None = None) -> None:
        program(x, y)

    return unweighted_program


# -- what a model's programs hold ----------------------------------------------------------------------------------


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


def _has_kl(q: Distribution, p: Distribution) -> bool:
    try:
        kl_divergence(q, p)
    except NotImplementedError:
        return False
    return True


def _latent_pairs(model: LatentVariableModel) -> Iterator[tuple[Distribution, Distribution]]:
    """Posterior and prior of each latent site, of two black images."""
    shapes = model.shapes
    with frozen(model) as device:
        x = torch.zeros(2, *shapes.image_shape, device=device)
        y = torch.zeros(2, dtype=torch.int64, device=device) if shapes.num_classes else None
        guide_trace = poutine.trace(model.guide).get_trace(x, y)
        model_trace = poutine.trace(poutine.replay(model.model, trace=guide_trace)).get_trace(x, y)
    for name, site in guide_trace.nodes.items():
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample" and name in model_trace.nodes:
            yield site["fn"], model_trace.nodes[name]["fn"]


def _check_densities(objective: Objective, model: LatentVariableModel) -> None:
    if not getattr(model.posterior, "has_density", True):
        raise ValueError(
            f"the objective {type(objective).__name__} needs a posterior with a density, and "
            f"{type(model.posterior).__name__} is a point: use TraceELBO, or a VAE"
        )


def _check_particles(particles: int) -> None:
    if particles < 1:
        raise ValueError(f"particles must be at least 1, got {particles}")


def _name(d: Distribution) -> str:
    return _name(d.base_dist) if isinstance(d, Independent) else type(d).__name__


__all__ = [
    "FreeBits",
    "ImportanceWeighted",
    "Objective",
    "Renyi",
    "SiteWeights",
    "TraceELBO",
    "TraceMeanField",
    "kl_per_dimension",
]
