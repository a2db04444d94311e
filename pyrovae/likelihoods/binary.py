"""Likelihoods of black or white pixels."""

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.contracts import Likelihood
from pyrovae.likelihoods.base import DecoderFactory
from pyrovae.shapes import Shapes


class Bernoulli(Likelihood):
    """Independent black or white pixels, p(x | z) = prod_i Bernoulli(x_i; sigmoid(logits_i(z))).

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix C.1.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
    """

    pixels: ClassVar[str] = "pixels that are 0 or 1"
    cure: ClassVar[str] = (
        "binarise them (--pixels dynamic), score grey ones by a density (--model.likelihood ContinuousBernoulli), or "
        "by a cross-entropy that is no likelihood (--model.likelihood CrossEntropy)"
    )

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
