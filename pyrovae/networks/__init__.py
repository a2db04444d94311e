"""Encoder and decoder networks, built from the shapes of the model that they serve.

An encoder maps images x, (B, C, H, W), and labels y, (B,), to features, (B, out_features), from which a
posterior part computes its parameters. A decoder maps codes z, (..., B, latent_dim), and labels y to
`channels` numbers for each pixel, (..., B, channels, H, W), from which a likelihood part computes its own.
A label enters one-hot: beside the pixels in an encoder, beside the code in a decoder. Any module that maps
the same shapes will do in their place.
"""

from pyrovae.networks.base import (
    Activation,
    Decoder,
    Encoder,
    FromDimension,
    OnTorus,
    checked_labels,
    described,
    one_hot_labels,
    rows_of_labels,
)
from pyrovae.networks.convolutional import ConvDecoder, ConvEncoder, FourLayerConvDecoder, FourLayerConvEncoder
from pyrovae.networks.denoising import Denoising, Noise
from pyrovae.networks.dense import (
    GatedMLPDecoder,
    GatedMLPEncoder,
    MLPDecoder,
    MLPEncoder,
    ResidualMLPDecoder,
    ResidualMLPEncoder,
    dense,
)
from pyrovae.networks.seen import Missing, SeenEncoder

__all__ = [
    "Activation",
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Denoising",
    "Encoder",
    "FourLayerConvDecoder",
    "FourLayerConvEncoder",
    "FromDimension",
    "GatedMLPDecoder",
    "GatedMLPEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "Missing",
    "Noise",
    "OnTorus",
    "ResidualMLPDecoder",
    "ResidualMLPEncoder",
    "SeenEncoder",
    "checked_labels",
    "dense",
    "described",
    "one_hot_labels",
    "rows_of_labels",
]
