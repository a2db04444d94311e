"""A prior of two layers."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.contracts import Prior
from pyrovae.distributions import TwoLayers
from pyrovae.networks import dense
from pyrovae.shapes import Shapes, bottom_dim


class Hierarchical(Prior):
    """Two layers in one code z = (top, bottom): p(top) = N(0, I), p(bottom | top) = N(loc(top), diag scale(top)^2).

    Location and scale are networks. The mean of the bottom layer is an average over 256 fixed points.

    References:
        D. J. Rezende, S. Mohamed and D. Wierstra, Stochastic Backpropagation and Approximate Inference in Deep
        Generative Models (2014), arXiv:1401.4082.

    Args:
        shapes: Sizes of the model; latent_dim counts both layers.
        top_dim: Dimensions of the top layer, the first ones of the code.
        hidden: Units of the hidden layers between the two; none for a linear map.

    Raises:
        ValueError: If a layer would have no dimension, or a number of units is not positive.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, shapes: Shapes, top_dim: int = 1, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        self.bottom_dim = bottom_dim(shapes, top_dim)
        self.given_top = dense(top_dim, hidden, 2 * self.bottom_dim)
        self.register_buffer("loc", torch.zeros(top_dim), persistent=False)
        self.register_buffer("scale", torch.ones(top_dim), persistent=False)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior, whatever the label: batch_shape (), event_shape (latent_dim,)."""
        return TwoLayers(dist.Normal(self.loc, self.scale).to_event(1), self._bottom, self.bottom_dim)

    def _bottom(self, top: Tensor) -> dist.TorchDistribution:
        loc, log_scale = self.given_top(top).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)
