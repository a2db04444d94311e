"""A posterior of two layers."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import TwoLayers
from pyrovae.networks import dense
from pyrovae.posteriors.base import _Headed
from pyrovae.shapes import Shapes, bottom_dim, check_count


class Hierarchical(_Headed):
    """Two layers in one code z = (top, bottom): q(top | x) q(bottom | top, x), both diagonal Normals.

    The order, from the top down, is that of the prior `Hierarchical`. The mean of the bottom layer is an average over
    256 fixed points.

    References:
        C. K. Sønderby et al., Ladder Variational Autoencoders (2016), arXiv:1602.02282, for inference from the top
        down; this has no ladder, as the two layers share no parameters with the prior.

    Args:
        shapes: Sizes of the model; latent_dim counts both layers.
        encoder: Module from images and labels to features, (B, encoder.out_features).
        top_dim: Dimensions of the top layer, the first ones of the code.
        hidden: Units of the hidden layers from the top layer and the image to the bottom one; none for a linear map.
        context: Number of features of the image that the bottom layer gets.

    Raises:
        ValueError: If a layer would have no dimension, context is below 1, or a number of units is not positive.
    """

    def __init__(
        self,
        shapes: Shapes,
        encoder: nn.Module,
        top_dim: int = 1,
        hidden: Sequence[int] = (64,),
        context: int = 32,
    ) -> None:
        check_count("context", context, "the bottom layer must see the image")
        below = bottom_dim(shapes, top_dim)
        super().__init__(encoder, 2 * top_dim + context)
        self.bottom_dim, self.sizes = below, [top_dim, top_dim, context]
        self.given_top = dense(top_dim + context, hidden, 2 * below)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        loc, log_scale, context = self.outputs(x, y).split(self.sizes, -1)

        def bottom(top: Tensor) -> dist.TorchDistribution:
            shape = torch.broadcast_shapes(top.shape[:-1], context.shape[:-1])
            both = torch.cat([top.expand(*shape, -1), context.expand(*shape, -1)], -1)
            below, log_below = self.given_top(both).chunk(2, -1)
            return dist.Normal(below, log_below.exp()).to_event(1)

        return TwoLayers(dist.Normal(loc, log_scale.exp()).to_event(1), bottom, self.bottom_dim)
