"""Posteriors q(z | x, y), the guides' part: modules whose forward returns a distribution over codes.

    posterior(x, y) -> q(z | x, y)    batch_shape (B,), event_shape (latent_dim,)

Each is built from the model's shapes and an encoder, whose features it turns into parameters.
"""

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.shapes import Shapes


class Posterior(nn.Module):
    """Base of the built-in posteriors: a module that maps images and labels to q(z | x, y)."""


class DiagonalNormal(Posterior):
    """A Normal with independent dimensions, q(z | x) = N(z; loc(x), diag scale(x)^2).

    The scale is the exponential of the encoder's output, so that it is positive.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix C.2.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
    """

    def __init__(self, shapes: Shapes, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(_out_features(encoder), 2 * shapes.latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        loc, log_scale = self.head(self.encoder(x, y)).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


class Delta(Posterior):
    """A point mass at the encoder's output: the guide of an autoencoder, without width or density.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
    """

    def __init__(self, shapes: Shapes, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(_out_features(encoder), shapes.latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The code of each image: batch_shape (B,), event_shape (latent_dim,)."""
        return dist.Delta(self.head(self.encoder(x, y)), event_dim=1)


def _out_features(encoder: nn.Module) -> int:
    out_features = getattr(encoder, "out_features", None)
    if not isinstance(out_features, int):
        raise ValueError(
            f"an encoder must say how many features it returns in its attribute out_features (a whole number); "
            f"{type(encoder).__name__} has {out_features!r}"
        )
    return out_features
