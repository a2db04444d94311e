"""Priors p(z | y): modules whose forward returns a distribution over codes.

    prior(y) -> p(z | y)    batch_shape () or (B,), event_shape (latent_dim,)

A prior that does not look at the label has an empty batch shape, which the images' plate expands.
"""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.shapes import Shapes


class Prior(nn.Module):
    """Base of the built-in priors: a module that maps labels y, (B,) or None, to p(z | y)."""


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
        """The prior, whatever the label: batch_shape (), event_shape (latent_dim,)."""
        return dist.Normal(self.loc, self.scale).to_event(1)


class Unscored(Prior):
    """A prior to draw codes from that adds nothing to the loss: its log-density counts as zero.

    This is what an autoencoder has: no prior term, and N(0, I) where somebody wants samples all the same.

    Args:
        prior: The prior that codes are drawn from.
    """

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The wrapped prior with its log-density masked."""
        return self.prior(y).mask(False)
