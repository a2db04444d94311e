"""Distributions that torch, Pyro and zuko lack, or have without a feature that a part needs."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.distributions.transforms import Transform
from torch.nn.functional import logsigmoid

from pyrovae.shapes import check_count


class MixtureOfVectors(dist.MixtureSameFamily):
    """A mixture whose support is its components' where that is all of space, so that samplers know a way there.

    torch wraps every mixture's support in a constraint of its own, for which `biject_to` has no bijection.
    """

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """Real vectors, or what torch says of a mixture."""
        inside = self._component_distribution.support
        base = getattr(inside, "base_constraint", inside)
        return inside if base is constraints.real or inside is constraints.real_vector else super().support


class OpenInterval(constraints.Constraint):
    """Values above `low` and below `high`, both bounds excluded."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value lies inside."""
        return (value > self.low) & (value < self.high)


class _Lattice(constraints.Constraint):
    """Values k / levels whose whole number k satisfies another constraint."""

    is_discrete = True

    def __init__(self, levels: int, whole: Any) -> None:
        self.levels, self.whole = levels, whole
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is a level."""
        scaled = value * self.levels
        # k / 255 * 255 has an error of about 1e-5 in float32.
        return ((scaled - scaled.round()).abs() < 1e-3) & self.whole.check(scaled.round())


class Levels(dist.TorchDistribution):
    """Values k / levels, where the whole number k has a given distribution, such as grey levels.

    Args:
        base: Distribution of k, with empty event shape.
        levels: What a whole number is divided by: 255 for grey pixels in [0, 1], 1 for counts as they are.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form

    def __init__(self, base: Distribution, levels: int) -> None:
        self.base, self.levels = base, levels
        super().__init__(base.batch_shape, validate_args=False)
        self._validate_args = base._validate_args

    @property
    def support(self) -> constraints.Constraint:
        """The levels."""
        return _Lattice(self.levels, self.base.support)

    @property
    def mean(self) -> Tensor:
        """E[k] / levels."""
        return self.base.mean / self.levels

    @property
    def variance(self) -> Tensor:
        """Var[k] / levels^2."""
        return self.base.variance / self.levels**2

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "Levels":
        """Return the same with another batch shape."""
        return Levels(self.base.expand(batch_shape), self.levels)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw levels."""
        return self.base.sample(sample_shape) / self.levels

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a level."""
        if self._validate_args:
            self._validate_sample(value)
        return self.base.log_prob((value * self.levels).round())


class WholeCategorical(dist.Categorical):
    """A Categorical over the numbers 0, 1, ..., with a mean."""

    @property
    def mean(self) -> Tensor:
        """Sum of k p_k."""
        return (self.probs * self._values).sum(-1)

    @property
    def variance(self) -> Tensor:
        """Sum of k^2 p_k, minus the mean squared."""
        return (self.probs * self._values**2).sum(-1) - self.mean**2

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw numbers, of the probabilities' type."""
        return super().sample(sample_shape).to(self.probs.dtype)

    @property
    def _values(self) -> Tensor:
        return torch.arange(self._num_events, dtype=self.probs.dtype, device=self.probs.device)


class DiscretizedLogistic(dist.TorchDistribution):
    """A logistic variable rounded to the nearest whole number and clipped to 0 ... top.

    P(k) = F((k + 1/2 - loc) / scale) - F((k - 1/2 - loc) / scale) with F the logistic function, and the tails
    added to the first and the last number.

    References:
        T. Salimans et al., PixelCNN++ (2017), arXiv:1701.05517, section 2.1.

    Args:
        loc: Location, in levels.
        scale: Scale, in levels, positive.
        top: The largest number.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012 - torch's own form

    def __init__(self, loc: Tensor, scale: Tensor, top: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.top = top
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """0 to top."""
        return constraints.integer_interval(0, self.top)

    @property
    def mean(self) -> Tensor:
        """Sum of P(K >= k) over k from 1 to top."""
        return self._tail_sum(lambda k: 1.0)

    @property
    def variance(self) -> Tensor:
        """Sum of (2 k - 1) P(K >= k), which is E[K^2], minus the mean squared."""
        return self._tail_sum(lambda k: 2.0 * k - 1.0) - self.mean**2

    def _tail_sum(self, weight: Any) -> Tensor:
        # One level at a time: all 255 at once would be the program's largest tensor.
        total = torch.zeros_like(self.loc)
        for k in range(1, self.top + 1):
            total = total + weight(k) * torch.sigmoid((self.loc - (k - 0.5)) / self.scale)
        return total

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "DiscretizedLogistic":
        """Return the same with another batch shape."""
        new = DiscretizedLogistic(
            self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.top, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw whole numbers."""
        with torch.no_grad():
            u = torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
            return (self.loc + self.scale * torch.logit(u, eps=1e-6)).round().clamp(0, self.top)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a whole number."""
        if self._validate_args:
            self._validate_sample(value)
        width = self.scale.reciprocal()
        above = (value + 0.5 - self.loc) * width
        below = above - width
        # F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)), without cancellation in the tails.
        inside = logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(-width))
        return torch.where(
            value < 0.5, logsigmoid(above), torch.where(value > self.top - 0.5, logsigmoid(-below), inside)
        )


class VonMises(dist.VonMises):
    """torch's von Mises distribution with the support [-pi, pi]."""

    support = constraints.interval(-math.pi, math.pi)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "VonMises":
        """Return the same with another batch shape."""
        return VonMises(self.loc.expand(batch_shape), self.concentration.expand(batch_shape), validate_args=False)


class WrappedNormal(dist.TorchDistribution):
    """A Normal wrapped around the circle, q(z) = sum_k N(z + 2 pi k; loc, scale^2), z in [-pi, pi).

    Seven windings, k = -3 ... 3: for |loc| and scale of at most pi, what they leave out is below 1e-8 of the mass.
    The draw is the wrapped draw of a Normal, so that gradients pass through it; the libraries' von Mises is drawn by
    rejection, through which they do not.

    Args:
        loc: Direction, in [-pi, pi].
        scale: Standard deviation before wrapping, above 0, at most pi.
    """

    has_rsample = True
    arg_constraints = {  # noqa: RUF012 - torch's own form
        "loc": constraints.interval(-math.pi, math.pi),
        "scale": constraints.interval(0.0, math.pi),
    }
    support = constraints.interval(-math.pi, math.pi)

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The circular mean, a direction."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, 1 - exp(-scale^2 / 2)."""
        return -torch.expm1(-0.5 * self.scale**2)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "WrappedNormal":
        """Return the same with another batch shape."""
        new = WrappedNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw angles, differentiably."""
        shape = self._extended_shape(sample_shape)
        z = self.loc + self.scale * torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        wrapped = z - 2 * math.pi * torch.floor((z.detach() + math.pi) / (2 * math.pi))
        return wrapped.clamp(-math.pi, math.pi)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of an angle."""
        if self._validate_args:
            self._validate_sample(value)
        turns = 2 * math.pi * torch.arange(-3, 4, dtype=self.loc.dtype, device=self.loc.device)
        unwrapped = (value.unsqueeze(-1) + turns - self.loc.unsqueeze(-1)) / self.scale.unsqueeze(-1)
        normal = -0.5 * unwrapped**2 - self.scale.log().unsqueeze(-1) - 0.5 * math.log(2 * math.pi)
        return normal.logsumexp(-1)


class DiagNormalMixture(dist.MixtureSameFamily):
    """A mixture of diagonal Normals whose draws are differentiable, the weights included.

    A draw from one of the components is given the gradient dz_j = -dF_j / p_j, dimension by dimension, where F_j is the
    distribution function of z_j given those before it and p_j its density: the implicit derivative of F_j(z_j) = u.
    Pyro's MixtureOfDiagNormals has pathwise derivatives as well, but in Pyro 1.9 those of its logits are off by a
    third.

    References:
        A. Graves, Stochastic Backpropagation through Mixture Density Distributions (2016), arXiv:1607.05690;
        M. Figurnov, S. Mohamed and A. Mnih, Implicit Reparameterization Gradients (2018), arXiv:1805.08498.
    """

    has_rsample = True
    support = constraints.real_vector

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw differentiably."""
        z = self.sample(torch.Size(sample_shape))
        normal = self.component_distribution.base_dist
        log_weights = self.mixture_distribution.logits  # of the components, given the dimensions so far
        tiny = torch.finfo(z.dtype).tiny
        draws: list[Tensor] = []
        for value, loc, scale in zip(z.unbind(-1), normal.loc.unbind(-1), normal.scale.unbind(-1), strict=True):
            weights = log_weights.softmax(-1)
            away = (value.unsqueeze(-1) - loc) / scale
            below = (weights * torch.special.ndtr(away)).sum(-1)
            density = (weights * torch.exp(-0.5 * away**2) / scale).sum(-1) / math.sqrt(2 * math.pi)
            draws.append(value - (below - below.detach()) / density.detach().clamp(min=tiny))
            away = (draws[-1].unsqueeze(-1) - loc) / scale
            log_weights = log_weights - 0.5 * away**2 - scale.log()
        return torch.stack(draws, -1)


class Flow(ZukoToPyro):
    """A zuko flow in Pyro (`pyro.contrib.zuko`), with the support, draws and moments that Pyro's adapter lacks."""

    support = constraints.real_vector

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "Flow":
        """Return the same with another batch shape."""
        return Flow(self.dist.expand(torch.Size(batch_shape)))

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw differentiably."""
        return self.dist.rsample(torch.Size(sample_shape))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    @property
    def mean(self) -> Tensor:
        """The mean by quasi-Monte-Carlo over 256 fixed points: deterministic, with an error of about 0.01 scales."""
        return self._points().mean(0)

    @property
    def variance(self) -> Tensor:
        """The variance over the same points."""
        return self._points().var(0)

    def at(self, normal: Tensor) -> Tensor:
        """Where points of a standard Normal, (points, dimensions), go: (points, *batch_shape, dimensions)."""
        base = self.dist.base
        normal = normal.reshape(len(normal), *[1] * len(base.batch_shape), -1)
        return self.dist.transform.inv(base.mean + base.stddev * normal)

    def _points(self) -> Tensor:
        base = self.dist.base
        return self.at(normal_points(base.event_shape[0]).to(base.mean))


class TwoLayers(dist.TorchDistribution):
    """Two vectors one after the other, the second of them drawn given the first: p(top) p(bottom | top).

    Args:
        top: Distribution of the first vector, batch_shape (...,), event_shape (top_dim,), a Normal of independent
            dimensions.
        given: Makes the distribution of the second, event_shape (bottom_dim,), of first vectors (..., top_dim).
        bottom_dim: Size of the second vector.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, top: dist.TorchDistribution, given: Callable[[Tensor], Distribution], bottom_dim: int) -> None:
        self.top, self.given, self.bottom_dim = top, given, bottom_dim
        size = torch.Size([top.event_shape[0] + bottom_dim])
        super().__init__(top.batch_shape, size, validate_args=False)
        self._validate_args = top._validate_args

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "TwoLayers":
        """Return the same with another batch shape."""
        return TwoLayers(self.top.expand(batch_shape), self.given, self.bottom_dim)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw differentiably."""
        top = self.top.rsample(sample_shape)
        return torch.cat([top, self.given(top).rsample()], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of both."""
        if self._validate_args:
            self._validate_sample(value)
        top, bottom = value.split([value.shape[-1] - self.bottom_dim, self.bottom_dim], -1)
        return self.top.log_prob(top) + self.given(top).log_prob(bottom)

    @property
    def mean(self) -> Tensor:
        """The mean; that of the second vector by quasi-Monte-Carlo over 256 fixed points of the first."""
        return torch.cat([self.top.mean, self._bottom().mean.mean(0)], -1)

    @property
    def variance(self) -> Tensor:
        """The variance, over the same points."""
        bottom = self._bottom()
        return torch.cat([self.top.variance, bottom.variance.mean(0) + bottom.mean.var(0, correction=0)], -1)

    def _bottom(self) -> Distribution:
        mean, scale = self.top.mean, self.top.variance.sqrt()
        points = normal_points(mean.shape[-1]).to(mean)
        return self.given(mean + scale * points.reshape(len(points), *[1] * (mean.ndim - 1), -1))


def normal_points(dimensions: int) -> Tensor:
    """256 points by which the mean of a function of standard Normal variables is estimated, (256, dimensions)."""
    uniform = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=0).draw(128)
    half = torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6))
    return torch.cat([half, -half]).float()


def zuko() -> Any:
    """The package zuko, imported when a flow is built, and without its side effect.

    zuko switches the validation of every torch distribution off when it is imported; grey pixels under a Bernoulli
    would then pass unseen.
    """
    validate = Distribution._validate_args
    with warnings.catch_warnings():
        import zuko as package
        import zuko.flows
    Distribution.set_default_validate_args(validate)
    return package


def flow(transform: Transform, base: Distribution) -> Flow:
    """The distribution of values that a transform maps to a base distribution."""
    return Flow(zuko().distributions.NormalizingFlow(transform, base))


def flow_transform(
    features: int,
    context: int,
    *,
    transforms: int,
    hidden: Sequence[int],
    coupling: bool = False,
    spline: bool = False,
    fast_draws: bool = False,
) -> nn.Module:
    """Zuko's transform from values to the base: a module from a context to a transform.

    Args:
        features: Dimensions of a value.
        context: Dimensions of the context; 0 for none.
        transforms: How many transforms follow each other, the order of the dimensions turned round each time.
        hidden: Units of the hidden layers of each transform's network.
        coupling: Whether half of the dimensions depend on the other half, so that draws and densities take two passes
            each; otherwise each depends on those before it, and one of the two takes as many passes as dimensions.
        spline: Whether one dimension is carried by a rational-quadratic spline of 8 bins on [-5, 5], instead of a
            scale and a shift.
        fast_draws: Whether it is the draw, instead of the density, that takes one pass.

    Raises:
        ValueError: If there are no transforms.
    """
    check_count("transforms", transforms, "a flow of none is its base")
    package = zuko()
    settings: dict[str, Any] = {"hidden_features": tuple(hidden), "passes": 2 if coupling else None}
    if spline:
        settings |= {"univariate": package.transforms.MonotonicRQSTransform, "shapes": [(8,), (8,), (7,)]}
    order = torch.arange(features)
    layers = [
        package.flows.MaskedAutoregressiveTransform(
            features, context, order=order.flip(0) if i % 2 else order, **settings
        )
        for i in range(transforms)
    ]
    return package.lazy.LazyComposedTransform(*[layer.inv if fast_draws else layer for layer in layers])
