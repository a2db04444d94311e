"""Likelihoods p(x | z, y): modules whose forward returns a distribution over images.

    likelihood(z, y) -> p(x | z, y)    batch_shape (..., B), event_shape (C, H, W)

Each is built from the model's shapes and a function from a number of channels to a decoder with that many
outputs for each pixel, since the likelihood alone knows how many it needs.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.shapes import Shapes

DecoderFactory = Callable[[int], nn.Module]


class Likelihood(nn.Module):
    """Base of the built-in likelihoods: a module that maps codes and labels to p(x | z, y).

    Attributes:
        score: What the reconstruction term is called in tables and on axes: "NLL" where it is the negative
            logarithm of a probability of the data, another name where it is not.
        pixels: What the likelihood scores, in words, for messages about data that it cannot.
    """

    score: ClassVar[str] = "NLL"
    pixels: ClassVar[str]


class Bernoulli(Likelihood):
    """Independent black or white pixels, p(x | z) = prod_i Bernoulli(x_i; sigmoid(logits_i(z))).

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix C.1.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
    """

    pixels: ClassVar[str] = "pixels that are 0 or 1"

    def __init__(self, shapes: Shapes, decoder: DecoderFactory) -> None:
        super().__init__()
        self.decoder = decoder(shapes.image_shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        return dist.Bernoulli(logits=self.decoder(z, y)).to_event(3)


class GreyBernoulli(dist.Bernoulli):
    """A Bernoulli whose `log_prob` takes any value in [0, 1]: minus the cross-entropy, which is no density."""

    support = constraints.unit_interval

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "GreyBernoulli":
        """Return the same with another batch shape."""
        return super().expand(batch_shape, self._get_checked_instance(GreyBernoulli, _instance))


class CrossEntropy(Likelihood):
    """Grey pixels scored by cross-entropy, sum_i x_i log p_i + (1 - x_i) log(1 - p_i), p = sigmoid(logits(z)).

    This is the loss of most VAE tutorials. It is no density over [0, 1], so nothing that is computed with it is
    a likelihood, and its figures must not be compared with those of binarised pixels.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
    """

    score: ClassVar[str] = "cross-entropy"
    pixels: ClassVar[str] = "pixels between 0 and 1"

    def __init__(self, shapes: Shapes, decoder: DecoderFactory) -> None:
        super().__init__()
        self.decoder = decoder(shapes.image_shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        return GreyBernoulli(logits=self.decoder(z, y)).to_event(3)


class Normal(Likelihood):
    """Pixels with independent Gaussian noise, p(x | z) = N(x; loc(z), scale^2 I).

    With scale s the loss is the summed squared error over 2 s^2, plus a constant: a VAE with this likelihood and
    weight 1 on the KL term has the optimum of "squared error + beta KL" with beta = 2 s^2.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        scale: Standard deviation of the noise, in units of the pixel range.

    Raises:
        ValueError: If the scale is not positive.
    """

    pixels: ClassVar[str] = "any real pixels"
    scale: Tensor

    def __init__(self, shapes: Shapes, decoder: DecoderFactory, scale: float = 1.0) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"the scale of a Normal likelihood must be positive, got {scale}")
        self.decoder = decoder(shapes.image_shape[0])
        self.register_buffer("scale", torch.tensor(float(scale)), persistent=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        return dist.Normal(self.decoder(z, y), self.scale).to_event(3)
