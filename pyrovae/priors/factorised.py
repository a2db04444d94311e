"""Priors whose dimensions are independent."""

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import distributions
from pyrovae.contracts import Prior
from pyrovae.networks import checked_labels, rows_of_labels
from pyrovae.priors.base import by_label
from pyrovae.shapes import Shapes


class StandardNormal(Prior):
    """The standard Normal, p(z) = N(z; 0, I).

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114.

    Args:
        shapes: Sizes of the model.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(shapes.latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(shapes.latent_dim), persistent=False)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior of any label: batch_shape (), event_shape (latent_dim,)."""
        return dist.Normal(self.loc, self.scale).to_event(1)


class Normal(Prior):
    """A Normal with learned location and scale: p(z) = N(z; loc, diag scale^2), or one for each class, p(z | y).

    It starts as the standard Normal. The scale is the exponential of a parameter, so it is positive.

    References:
        K. Sohn, H. Lee and X. Yan, Learning Structured Output Representation using Deep Conditional Generative
        Models, NeurIPS (2015), for a learned p(z | y).

    Args:
        shapes: Sizes of the model.
        per_class: Whether each class has its own location and scale.

    Raises:
        ValueError: If `per_class` is set in a model without labels.
    """

    def __init__(self, shapes: Shapes, per_class: bool = False) -> None:
        super().__init__()
        self.num_classes = by_label(shapes, "a Normal prior") if per_class else 0
        size = (self.num_classes, shapes.latent_dim) if per_class else (shapes.latent_dim,)
        self.loc = nn.Parameter(torch.zeros(size))
        self.log_scale = nn.Parameter(torch.zeros(size))

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior: batch_shape (), or (B,) with one per class; event_shape (latent_dim,)."""
        if not self.num_classes:
            return dist.Normal(self.loc, self.log_scale.exp()).to_event(1)
        y = checked_labels(y, self.num_classes)
        return dist.Normal(rows_of_labels(self.loc, y), rows_of_labels(self.log_scale, y).exp()).to_event(1)


class Laplace(Prior):
    """Independent Laplace variables, p(z) = prod_j exp(-|z_j| / scale) / (2 scale): sparse codes.

    References:
        A. Barello, A. Charles and J. Pillow, Sparse-Coding Variational Auto-Encoders (2018), bioRxiv 399246.

    Args:
        shapes: Sizes of the model.
        scale: Mean distance from zero; 0.7071 gives variance 1.

    Raises:
        ValueError: If the scale is not positive.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, shapes: Shapes, scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"the scale of a Laplace prior must be positive, got {scale}")
        self.register_buffer("loc", torch.zeros(shapes.latent_dim), persistent=False)
        self.register_buffer("scale", torch.full((shapes.latent_dim,), float(scale)), persistent=False)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior of any label: batch_shape (), event_shape (latent_dim,)."""
        return dist.Laplace(self.loc, self.scale).to_event(1)


class StudentT(Prior):
    """Independent Student variables, p(z) = prod_j t(z_j; df, 0, scale): heavy tails, which tolerate outliers.

    References:
        N. Abiri and M. Ohlsson, Variational auto-encoders with Student's t-prior (2019), arXiv:2004.02581.

    Args:
        shapes: Sizes of the model.
        df: Degrees of freedom: 1 is the Cauchy distribution, above 2 the variance is finite, infinity is the Normal.
        scale: Scale.
        learn_df: Whether the degrees of freedom of each dimension are learned, starting from `df`.

    Raises:
        ValueError: If an argument is not positive.
    """

    loc: Tensor
    scale: Tensor
    log_df: Tensor

    def __init__(self, shapes: Shapes, df: float = 5.0, scale: float = 1.0, learn_df: bool = False) -> None:
        super().__init__()
        for name, value in (("df", df), ("scale", scale)):
            if not 0 < value < math.inf:
                raise ValueError(f"the {name} of a Student prior must be positive, got {value}")
        self.register_buffer("loc", torch.zeros(shapes.latent_dim), persistent=False)
        self.register_buffer("scale", torch.full((shapes.latent_dim,), float(scale)), persistent=False)
        log_df = torch.full((shapes.latent_dim,), math.log(df))
        if learn_df:
            self.log_df = nn.Parameter(log_df)
        else:
            self.register_buffer("log_df", log_df, persistent=False)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior of any label: batch_shape (), event_shape (latent_dim,)."""
        return dist.StudentT(self.log_df.exp(), self.loc, self.scale).to_event(1)


class Uniform(Prior):
    """The uniform distribution on a box, p(z) = (high - low)^-latent_dim for low <= z_j <= high.

    Its posterior must stay in the box: `posteriors.Beta` with the same bounds.

    Args:
        shapes: Sizes of the model.
        low: Lower bound of every dimension.
        high: Upper bound of every dimension.

    Raises:
        ValueError: If the bounds are not finite or low is not below high.
    """

    low: Tensor
    high: Tensor

    def __init__(self, shapes: Shapes, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__()
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"the box must have a finite low below a finite high, got low={low}, high={high}")
        self.register_buffer("low", torch.full((shapes.latent_dim,), float(low)), persistent=False)
        self.register_buffer("high", torch.full((shapes.latent_dim,), float(high)), persistent=False)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior of any label: batch_shape (), event_shape (latent_dim,)."""
        return dist.Uniform(self.low, self.high).to_event(1)


class VonMises(Prior):
    """Independent angles, p(z) = prod_j exp(concentration cos z_j) / (2 pi I_0(concentration)), z_j in [-pi, pi].

    The code is a point on a torus. Its posterior must be one of angles too (`posteriors.WrappedNormal`). The decoder
    gets the cosine and sine of each angle, so it is continuous where the circle closes.

    References:
        T. Davidson et al., Hyperspherical Variational Auto-Encoders (2018), arXiv:1804.00891, for one circle;
        D. Rezende et al., Normalizing Flows on Tori and Spheres (2020), arXiv:2002.02428, for the torus.

    Args:
        shapes: Sizes of the model.
        concentration: Concentration of the angles around zero; 0.0001 is practically uniform.

    Raises:
        ValueError: If the concentration is not positive.
    """

    periodic = True
    loc: Tensor
    concentration: Tensor

    def __init__(self, shapes: Shapes, concentration: float = 1.0) -> None:
        super().__init__()
        if not 0 < concentration < math.inf:
            raise ValueError(
                f"the concentration of a von Mises prior must be positive, got {concentration}; 0.0001 is near enough "
                f"to uniform"
            )
        self.register_buffer("loc", torch.zeros(shapes.latent_dim), persistent=False)
        self.register_buffer("concentration", torch.full((shapes.latent_dim,), float(concentration)), persistent=False)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior of any label: batch_shape (), event_shape (latent_dim,)."""
        return distributions.VonMises(self.loc, self.concentration).to_event(1)
