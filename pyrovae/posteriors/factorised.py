"""Posteriors whose dimensions are independent given the image."""

import math
from abc import abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae.distributions import WrappedNormal as WrappedNormalDistribution
from pyrovae.posteriors.base import NormalFamily, _Headed, precision_growth
from pyrovae.shapes import Shapes


class _LocationScale(_Headed):
    """Independent variables of a location-scale family. The encoder outputs location and log scale."""

    def __init__(self, shapes: Shapes, encoder: nn.Module) -> None:
        super().__init__(encoder, 2 * shapes.latent_dim)

    @abstractmethod
    def family(self, loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
        """The variables with these parameters, (B, latent_dim) each: batch_shape (B, latent_dim)."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        loc, log_scale = self.outputs(x, y).chunk(2, -1)
        return self.family(loc, log_scale.exp()).to_event(1)


class DiagonalNormal(NormalFamily):
    """A Normal with independent dimensions, q(z | x) = N(z; loc(x), diag scale(x)^2).

    The scale is the exponential of the encoder's output, so it is positive.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix C.2.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
    """

    def __init__(self, shapes: Shapes, encoder: nn.Module) -> None:
        super().__init__(encoder, 2 * shapes.latent_dim)

    def of(self, outputs: Tensor) -> dist.TorchDistribution:
        """Independent Normal variables."""
        loc, log_scale = outputs.chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def draws(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Location plus scale times noise."""
        loc, log_scale = outputs.chunk(2, -1)
        return loc + log_scale.exp() * noise

    def ascend(self, outputs: Tensor, slope: Tensor, rate: Tensor) -> Tensor:
        """A step of natural-gradient ascent."""
        loc, log_scale = outputs.chunk(2, -1)
        loc_slope, scale_slope = slope.chunk(2, -1)
        log_scale = log_scale - 0.5 * precision_growth(scale_slope, rate).log()
        return torch.cat([loc + rate * (2 * log_scale).exp() * loc_slope, log_scale], -1)


class Laplace(_LocationScale):
    """Independent Laplace variables, q(z | x) = prod_j Laplace(z_j; loc_j(x), scale_j(x)), to match a Laplace prior.

    References:
        A. Barello, A. Charles and J. Pillow, Sparse-Coding Variational Auto-Encoders (2018), bioRxiv 399246.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
    """

    def family(self, loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
        """Independent Laplace variables."""
        return dist.Laplace(loc, scale)


class StudentT(_LocationScale):
    """Independent Student variables, q(z | x) = prod_j t(z_j; df, loc_j(x), scale_j(x)), to match a Student prior.

    References:
        N. Abiri and M. Ohlsson, Variational auto-encoders with Student's t-prior (2019), arXiv:2004.02581.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
        df: Degrees of freedom, the same for every image; above 2, since otherwise the KL to a Normal prior is infinite.

    Raises:
        ValueError: If df is not above 2.
    """

    df: Tensor

    def __init__(self, shapes: Shapes, encoder: nn.Module, df: float = 5.0) -> None:
        super().__init__(shapes, encoder)
        if not 2 < df < math.inf:
            raise ValueError(f"the df of a Student posterior must be above 2, got {df}: up to it there is no variance")
        self.register_buffer("df", torch.tensor(float(df)), persistent=False)

    def family(self, loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
        """Independent Student variables."""
        return dist.StudentT(self.df, loc, scale)


class Beta(_Headed):
    """Independent Beta variables on a box, q(z | x) = prod_j Beta(z_j; a_j(x), b_j(x)) stretched over [low, high].

    The posterior for a uniform prior on the same box, which is its special case a = b = 1.

    References:
        M. Figurnov, S. Mohamed and A. Mnih, Implicit Reparameterization Gradients (2018), arXiv:1805.08498, for the
        gradients of its draws.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
        low: Lower bound of every dimension.
        high: Upper bound of every dimension.

    Raises:
        ValueError: If the bounds are not finite or low is not below high.
    """

    low: Tensor
    width: Tensor

    def __init__(self, shapes: Shapes, encoder: nn.Module, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__(encoder, 2 * shapes.latent_dim)
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"the box must have a finite low below a finite high, got low={low}, high={high}")
        self.register_buffer("low", torch.tensor(float(low)), persistent=False)
        self.register_buffer("width", torch.tensor(float(high) - float(low)), persistent=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        a, b = (1e-2 + softplus(self.outputs(x, y) + _UNIFORM)).chunk(2, -1)
        return dist.AffineBeta(a, b, self.low, self.width).to_event(1)


_UNIFORM = math.log(math.expm1(1 - 1e-2))
"""The argument for which softplus gives a concentration of 1: initially every posterior is about uniform."""


class WrappedNormal(_Headed):
    """Independent angles, q(z | x) = prod_j sum_k N(z_j + 2 pi k; loc_j(x), scale_j(x)^2), wrapped Normals on a torus.

    The posterior for a prior of angles, `priors.VonMises`. It is close to a von Mises distribution and, unlike the
    libraries' von Mises, has differentiable draws.

    References:
        K. Mardia and P. Jupp, Directional Statistics (2000), section 3.5.7.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
    """

    periodic = True

    def __init__(self, shapes: Shapes, encoder: nn.Module) -> None:
        super().__init__(encoder, 3 * shapes.latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        sine, cosine, scale = self.outputs(x, y).chunk(3, -1)
        # Two numbers for an angle, so that nothing jumps where it passes pi.
        scale = 1e-3 + (math.pi - 2e-3) * torch.sigmoid(scale)
        return WrappedNormalDistribution(torch.atan2(sine, cosine), scale).to_event(1)


class Delta(_Headed):
    """A point mass at the encoder's output: the guide of an autoencoder, without width or density.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
    """

    has_density = False

    def __init__(self, shapes: Shapes, encoder: nn.Module) -> None:
        super().__init__(encoder, shapes.latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The code of each image: batch_shape (B,), event_shape (latent_dim,)."""
        return dist.Delta(self.outputs(x, y), event_dim=1)
