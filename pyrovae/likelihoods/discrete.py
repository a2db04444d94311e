"""Likelihoods of whole numbers: grey levels x * 255, or counts. All are probabilities, so they are comparable."""

from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae.contracts import Likelihood
from pyrovae.distributions import DiscretizedLogistic as DiscretizedLogisticDistribution
from pyrovae.distributions import Levels, WholeCategorical
from pyrovae.likelihoods.base import DecoderFactory
from pyrovae.shapes import Shapes, check_count


def _check_levels(levels: int) -> int:
    check_count("levels", levels, "255 for 8-bit pixels in [0, 1]")
    return levels


def _mean(outputs: Tensor, levels: int) -> Tensor:
    """A positive mean count from a real number."""
    return levels * softplus(outputs) + 1e-6


class Categorical(Likelihood):
    """Grey levels k = x * levels with free probabilities, p(x | z) = prod_i softmax(logits_i(z))[k_i].

    References:
        A. van den Oord, N. Kalchbrenner and K. Kavukcuoglu, Pixel Recurrent Neural Networks (2016),
        arXiv:1601.06759.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        levels: The highest level: 255 for 8-bit pixels.

    Raises:
        ValueError: If levels is below 1.
    """

    pixels: ClassVar[str] = "pixels that are whole multiples of 1 / levels, from 0 to 1"

    def __init__(self, shapes: Shapes, decoder: DecoderFactory, levels: int = 255) -> None:
        super().__init__()
        self.levels = _check_levels(levels)
        self.decoder = decoder((levels + 1) * shapes.image_shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        logits = self.decoder(z, y).unflatten(-3, (self.levels + 1, -1)).movedim(-4, -1)
        return Levels(WholeCategorical(logits=logits), self.levels).to_event(3)


class DiscretizedLogistic(Likelihood):
    """Grey levels k = x * levels from a mixture of logistic variables, rounded and clipped.

    p(x | z) = prod_i sum_j weight_ij [F((k_i + 1/2 - loc_ij) / scale_ij) - F((k_i - 1/2 - loc_ij) / scale_ij)] with F
    the logistic function, weights, locations and scales functions of the code, and the tails in the end levels.

    References:
        T. Salimans et al., PixelCNN++ (2017), arXiv:1701.05517, section 2.1; D. P. Kingma et al., Improving
        Variational Inference with Inverse Autoregressive Flow (2016), arXiv:1606.04934, for one component.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        components: Number of mixture components per pixel.
        levels: The highest level: 255 for 8-bit pixels.

    Raises:
        ValueError: If components or levels is below 1.
    """

    pixels: ClassVar[str] = "pixels that are whole multiples of 1 / levels, from 0 to 1"
    offsets: Tensor

    def __init__(self, shapes: Shapes, decoder: DecoderFactory, components: int = 5, levels: int = 255) -> None:
        super().__init__()
        check_count("components", components)
        self.levels, self.components = _check_levels(levels), components
        self.channels = shapes.image_shape[0]
        numbers = 2 if components == 1 else 3 * components  # one component needs no weight
        self.decoder = decoder(numbers * shapes.image_shape[0])
        # The components start at different locations over the range of levels.
        self.register_buffer("offsets", torch.linspace(0, 1, components + 2)[1:-1], persistent=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        outputs = self.decoder(z, y).unflatten(-3, (-1, self.components, self.channels)).movedim(-4, -1)
        *logits, loc, scale = outputs.unbind(-5)
        loc = self.levels * (self.offsets + 0.5 * loc)
        # Initially a fifth of the range; the lower bound keeps one level from having all probability.
        scale = self.levels * (0.2 * softplus(scale) + 1e-4)
        if not logits:
            single = DiscretizedLogisticDistribution(loc.squeeze(-1), scale.squeeze(-1), self.levels)
            return Levels(single, self.levels).to_event(3)
        components = DiscretizedLogisticDistribution(loc, scale, self.levels)
        return Levels(dist.MixtureSameFamily(dist.Categorical(logits=logits[0]), components), self.levels).to_event(3)


class Poisson(Likelihood):
    """Counts k = x * levels, p(x | z) = prod_i rate_i(z)^k_i exp(-rate_i(z)) / k_i!.

    The rate is levels * softplus of the decoder's output, so it grows at most linearly. It applies to any non-negative
    whole numbers: with levels = 1 the array contains the counts.

    References:
        C. H. Grønbech et al., scVAE: variational auto-encoders for single-cell gene expression data (2020),
        Bioinformatics 36.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        levels: Counts in a pixel of value 1: 255 for 8-bit pixels, 1 for arrays of counts.

    Raises:
        ValueError: If levels is below 1.
    """

    pixels: ClassVar[str] = "counts: whole multiples of 1 / levels, from 0"

    def __init__(self, shapes: Shapes, decoder: DecoderFactory, levels: int = 255) -> None:
        super().__init__()
        self.levels = _check_levels(levels)
        self.decoder = decoder(shapes.image_shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Counts given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        return Levels(dist.Poisson(_mean(self.decoder(z, y), self.levels)), self.levels).to_event(3)


class NegativeBinomial(Likelihood):
    """Overdispersed counts k = x * levels: mean m_i(z), variance m_i + m_i^2 / r_i.

    p(x | z) = prod_i Gamma(k + r) / (k! Gamma(r)) (r / (r + m))^r (m / (r + m))^k, with a learned r for each pixel. The
    mean is levels * softplus of the decoder's output.

    References:
        R. Lopez et al., Deep generative modeling for single-cell transcriptomics (2018), Nature Methods 15.

    Args:
        shapes: Sizes of the model.
        decoder: Function from a number of channels to a decoder.
        levels: Counts in a pixel of value 1: 255 for 8-bit pixels, 1 for arrays of counts.

    Raises:
        ValueError: If levels is below 1.
    """

    pixels: ClassVar[str] = "counts: whole multiples of 1 / levels, from 0"

    def __init__(self, shapes: Shapes, decoder: DecoderFactory, levels: int = 255) -> None:
        super().__init__()
        self.levels = _check_levels(levels)
        self.decoder = decoder(shapes.image_shape[0])
        self.log_r = nn.Parameter(torch.zeros(shapes.image_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Counts given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""
        logits = _mean(self.decoder(z, y), self.levels).log() - self.log_r
        return Levels(dist.NegativeBinomial(self.log_r.exp(), logits=logits), self.levels).to_event(3)
