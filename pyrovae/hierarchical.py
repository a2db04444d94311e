"""HierarchicalVAE: two layers of codes in one code."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from torch import nn

from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.models import DecoderFactory, EncoderFactory, LatentVariableModel, LikelihoodFactory, build_parts
from pyrovae.shapes import ImageShape, Shapes


class HierarchicalVAE(LatentVariableModel):
    """p(top) p(bottom | top) p(x | bottom), with q(top | x) q(bottom | top, x) as its guide.

    The two layers are one code z = (top, bottom), with the prior and the posterior `Hierarchical`. So the programs are
    those of a VAE, and every analysis takes the model: the first top_dim dimensions of a code are the top layer. The
    decoder sees the bottom layer alone.

    References:
        D. J. Rezende, S. Mohamed and D. Wierstra, Stochastic Backpropagation and Approximate Inference in Deep
        Generative Models (2014), arXiv:1401.4082; C. K. Sønderby et al., Ladder Variational Autoencoders (2016),
        arXiv:1602.02282, for inference from the top down.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        latent_dim: Number of dimensions of the code z, both layers together.
        top_dim: Number of those of the top layer.
        hidden: Units of the hidden layers between the layers, of the prior and of the posterior.
        encoder: Network from images to features.
        decoder: Network from bottom layers to numbers for each pixel.
        likelihood: The distribution of an image given its code, p(x | bottom).
        missing: For images in which values are missing, NaN: the likelihood scores what is seen, and the encoder gets
            zeros in their place, or zeros and a mask.

    Raises:
        ValueError: If a size is out of range, or a network cannot take images of this size.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int = 12,
        top_dim: int = 2,
        hidden: Sequence[int] = (64,),
        encoder: EncoderFactory = networks.MLPEncoder,
        decoder: DecoderFactory = networks.MLPDecoder,
        likelihood: LikelihoodFactory = likelihoods.Bernoulli,
        missing: networks.Missing | None = None,
    ) -> None:
        shapes = Shapes(image_shape, latent_dim)
        prior = partial(priors.Hierarchical, top_dim=top_dim, hidden=hidden)
        posterior = partial(posteriors.Hierarchical, top_dim=top_dim, hidden=hidden)
        below = _of_bottom(decoder, top_dim)
        super().__init__(shapes, *build_parts(shapes, encoder, below, prior, likelihood, posterior, missing))
        self.top_dim = top_dim


def _of_bottom(decoder: DecoderFactory, top_dim: int) -> DecoderFactory:
    """The decoder of a code of which it sees the bottom layer."""

    def build(shapes: Shapes, channels: int) -> nn.Module:
        bottom = replace(shapes, latent_dim=shapes.latent_dim - top_dim)
        return networks.FromDimension(decoder(bottom, channels), top_dim)

    return cast(DecoderFactory, build)
