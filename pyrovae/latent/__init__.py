"""The latent space: where images are in it, and what its points decode to."""

from pyrovae.latent.codes import Codes, encode
from pyrovae.latent.generate import (
    PriorSamples,
    Reconstructions,
    reconstruct,
    sample_per_class,
    sample_prior,
)
from pyrovae.latent.manifold import Manifold, decode_manifold

__all__ = [
    "Codes",
    "Manifold",
    "PriorSamples",
    "Reconstructions",
    "decode_manifold",
    "encode",
    "reconstruct",
    "sample_per_class",
    "sample_prior",
]
