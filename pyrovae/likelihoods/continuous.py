"""Likelihoods of grey pixels as real numbers: densities, whose logarithms may well be positive."""

import math
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from pyrovae.contracts import Likelihood
from pyrovae.distributions import OpenInterval
from pyrovae.likelihoods.base import DecoderFactory
from pyrovae.shapes import Shapes

Noise = Literal["fixed", "learned", "per_pixel", "decoder"]


class _LocationScale(Likelihood):
    """A family of a location, which is the decoder's output, and a scale, which is one of four things.

    A learned scale is min_scale + softplus(parameter) and starts at `scale`.
    """

    family: ClassVar[type]
    pixels: ClassVar[str] = "any real pixels"

    def __init__(
        self,
        shapes: Shapes,
        decoder: DecoderFactory,
        scale: float = 1.0,
        noise: Noise = "fixed",
        min_scale: float = 1 / 255,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not 0 < scale < math.inf:
            raise ValueError(f"the scale of a {name} likelihood must be positive, got {scale}")
        if not min_scale > 0:
            raise ValueError(f"the min_scale of a {name} likelihood must be positive, got {min_scale}")
        if noise != "fixed" and scale <= min_scale:
            raise ValueError(f"a learned scale must start above min_scale, got scale={scale}, min_scale={min_scale}")
        channels = shapes.image_shape[0]
        self.decoder = decoder(2 * channels if noise == "decoder" else channels)
        self.noise, self.min_scale = noise, min_scale
        if noise == "fixed":
            self.register_buffer("scale", torch.tensor(float(scale)), persistent=False)
            return
        above = scale - min_scale
        start = torch.tensor(above + math.log(-math.expm1(-above)))  # softplus of it is `above`, however large
        if noise == "decoder":
            self.register_buffer("start", start, persistent=False)
        else:
            size = shapes.image_shape if noise == "per_pixel" else ()
            self.raw_scale = nn.Parameter(start.expand(size).clone())

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        outputs = self.decoder(z, y)
        if self.noise == "fixed":
            return self.family(outputs, self.scale).to_event(3)
        if self.noise == "decoder":
            outputs, raw = outputs.chunk(2, -3)
            raw = raw + self.start
        else:
            raw = self.raw_scale
        return self.family(outputs, self.min_scale + softplus(raw)).to_event(3)


class Normal(_LocationScale):
    """Pixels with independent Gaussian noise, p(x | z) = N(x; loc(z), diag scale^2).

    With a fixed scale s the loss is the summed squared error over 2 s^2, plus a constant: a VAE with this likelihood
    and weight 1 on the KL term has the optimum of "squared error + beta KL" with beta = 2 s^2, and s = sqrt(beta / 2)
    is the scale that a beta stands for. A learned scale finds that weight itself.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix C.2; O. Rybkin,
        K. Daniilidis and S. Levine, Simple and Effective VAE Training with Calibrated Decoders (2021),
        arXiv:2006.13202, for the learned scale.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        scale: Standard deviation of the noise, in units of the pixel range; the initial value of a learned one.
        noise: Kind of scale: fixed, learned (one for all pixels), per_pixel (a learned one for each) or decoder (a
            function of the code).
        min_scale: Smallest learned scale, without which the density of a pixel that is always black is unbounded. One
            grey level by default, since the data are rounded to grey levels.

    Raises:
        ValueError: If a scale is not positive, or a learned one starts below `min_scale`.
    """

    family: ClassVar[type] = dist.Normal


class Laplace(_LocationScale):
    """Pixels with independent Laplace noise, p(x | z) = prod_i exp(-|x_i - loc_i(z)| / scale) / (2 scale).

    With a fixed scale the loss is the summed absolute error over the scale, which blurs edges less than squared error.

    References:
        A. B. L. Larsen et al., Autoencoding beyond pixels using a learned similarity metric (2016), arXiv:1512.09300,
        on the weakness of squared error; the density is Laplace's, 1774.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        scale: Mean absolute deviation of the noise, in units of the pixel range; the initial value of a learned one.
        noise: Kind of scale: fixed, learned (one for all pixels), per_pixel (a learned one for each) or decoder (a
            function of the code).
        min_scale: Smallest learned scale, one grey level by default.

    Raises:
        ValueError: If a scale is not positive, or a learned one starts below `min_scale`.
    """

    family: ClassVar[type] = dist.Laplace


class StableContinuousBernoulli(dist.ContinuousBernoulli):
    """torch's continuous Bernoulli in terms of its logits l, which is accurate near l = 0 and faster."""

    def log_prob(self, value: Tensor) -> Tensor:
        """The cross-entropy's log-probability plus log C, C = l / tanh(l / 2)."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = torch.broadcast_tensors(self.logits, value)
        small = logits.abs() < 0.3
        square = logits.square()
        series = 2 + square * (1 / 6 - square * (1 / 360 - square / 15120))
        apart = torch.where(small, 0.3, logits)
        constant = torch.where(small, series, apart / torch.tanh(0.5 * apart))
        return constant.log() - binary_cross_entropy_with_logits(logits, value, reduction="none")

    def icdf(self, value: Tensor) -> Tensor:
        """X with F(x) = value: log(1 + value (e^l - 1)) / l with logits l; l > 0 is the mirror image of -l."""
        up = self.logits > 0
        low = -self.logits.abs().clamp(min=1e-6)
        x = torch.log1p(torch.where(up, 1 - value, value) * torch.expm1(low)) / low
        return torch.where(up, 1 - x, x)


class ContinuousBernoulli(Likelihood):
    """Grey pixels in [0, 1], p(x | z) = prod_i C(p_i) p_i^x_i (1 - p_i)^(1 - x_i), p = sigmoid(logits(z)).

    The cross-entropy with the normalising constant C(p) = 2 artanh(1 - 2 p) / (1 - 2 p).

    References:
        G. Loaiza-Ganem and J. Cunningham, The continuous Bernoulli (2019), arXiv:1907.06845.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
    """

    pixels: ClassVar[str] = "pixels between 0 and 1"

    def __init__(self, shapes: Shapes, decoder: DecoderFactory) -> None:
        super().__init__()
        self.decoder = decoder(shapes.image_shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        # Near 1/2 torch's moments use a series; in torch's default range the closed form loses half of its digits.
        return StableContinuousBernoulli(logits=self.decoder(z, y), lims=(0.45, 0.55)).to_event(3)


class OpenAffineBeta(dist.AffineBeta):
    """A Beta on (loc, loc + scale) whose support excludes both ends, where its density is 0 or infinite."""

    def __init__(
        self, concentration1: Tensor, concentration0: Tensor, loc: Tensor, scale: Tensor, validate_args: Any = None
    ) -> None:
        super().__init__(concentration1, concentration0, loc, scale, validate_args)
        # The base class interleaves them in one tensor, which compiled code cannot load as vectors.
        self._concentrations = concentration1, concentration0

    def log_prob(self, value: Tensor) -> Tensor:
        """The library's, computed directly instead of by a two-component Dirichlet, which takes twice as long."""
        if self._validate_args:
            self._validate_sample(value)
        a, b = (concentration.expand(self.batch_shape) for concentration in self._concentrations)
        u = (value - self.low) / self.scale
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        return (a - 1) * u.log() + (b - 1) * torch.log1p(-u) - log_beta - self.scale.log()

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The open interval."""
        return OpenInterval(self.low, self.high)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "OpenAffineBeta":
        """Return the same with another batch shape."""
        new = self._get_checked_instance(OpenAffineBeta, _instance)
        new._concentrations = self._concentrations
        return super().expand(batch_shape, new)


class Beta(Likelihood):
    """Grey pixels strictly between 0 and 1, p(x | z) = prod_i Beta(x_i; a_i(z), b_i(z)).

    The density is zero or infinite at 0 and 1, which are frequent in scanned images. Such pixels are refused, unless a
    margin extends the support to (-margin, 1 + margin).

    References:
        M. Smithson and J. Verkuilen, A better lemon squeezer? (2006), Psychological Methods 11, for the margin, there
        applied to the data.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        margin: Extension of the support beyond 0 and 1, in units of the pixel range, such as 0.01.

    Raises:
        ValueError: If the margin is negative.
    """

    pixels: ClassVar[str] = "pixels above 0 and below 1"
    cure: ClassVar[str] = (
        "give the Beta a margin in which they lie (--model.likelihood.margin 0.01), or choose a density that takes "
        "them (--model.likelihood ContinuousBernoulli)"
    )
    low: Tensor
    width: Tensor

    def __init__(self, shapes: Shapes, decoder: DecoderFactory, margin: float = 0.0) -> None:
        super().__init__()
        if not 0 <= margin < math.inf:
            raise ValueError(f"the margin of a Beta likelihood must be at least 0, got {margin}")
        self.decoder = decoder(2 * shapes.image_shape[0])
        self.register_buffer("low", torch.tensor(-float(margin)), persistent=False)
        self.register_buffer("width", torch.tensor(1 + 2 * float(margin)), persistent=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        a, b = (1e-3 + softplus(self.decoder(z, y))).chunk(2, -3)
        return OpenAffineBeta(a, b, self.low, self.width).to_event(3)
