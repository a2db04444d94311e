"""An encoder that is trained on damaged images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pyrovae.networks.base import Encoder
from pyrovae.networks.dense import MLPEncoder
from pyrovae.shapes import Shapes, WrongTypeError, check_choice

Noise = Literal["gaussian", "masking", "salt_and_pepper"]


class Denoising(Encoder):
    """Gives another encoder damaged images while it is trained; the likelihood still scores the clean ones.

    With the model Autoencoder it makes the denoising autoencoder, with a VAE the denoising VAE, whose posterior is
    q(z | damaged x). In evaluation mode, as in all analyses, nothing is damaged.

    References:
        P. Vincent et al., Stacked Denoising Autoencoders (2010), for the three kinds of noise; D. Im et al., Denoising
        Criterion for Variational Auto-Encoding Framework (2017), arXiv:1511.06406, for the VAE.

    Args:
        shapes: Sizes of the model.
        network: The encoder that sees the damaged images.
        noise: gaussian (added), masking (pixels set to 0) or salt_and_pepper (pixels set to 0 or 1).
        level: Standard deviation of gaussian noise; otherwise the share of pixels that are hit.

    Raises:
        ValueError: If there is no such noise, or the level is out of range.
    """

    network: Encoder

    def __init__(
        self,
        shapes: Shapes,
        network: Callable[[Shapes], Encoder] = MLPEncoder,
        noise: Noise = "gaussian",
        level: float = 0.3,
    ) -> None:
        super().__init__()
        check_choice("noise", noise, Noise)
        if not isinstance(level, int | float) or isinstance(level, bool):
            raise WrongTypeError(f"level of the noise must be a number, got {level!r}")
        most = float("inf") if noise == "gaussian" else 1.0
        if not (0 <= level <= most and level < float("inf")):
            must = "at least 0" if noise == "gaussian" else "a share of the pixels, from 0 to 1"
            raise ValueError(f"level of {noise} noise must be {must}, got {level}")
        self.noise, self.level = noise, float(level)
        self.network = network(shapes)
        self.out_features = self.network.out_features

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, (B, C, H, W), to features, (B, out_features)."""
        return self.network(self.damaged(x) if self.training else x, y)

    def damaged(self, x: Tensor) -> Tensor:
        """The images with fresh noise."""
        if self.noise == "gaussian":
            return x + self.level * torch.randn_like(x)
        chance = torch.rand_like(x)
        if self.noise == "masking":
            return torch.where(chance < self.level, 0.0, x)
        white = (chance < self.level / 2).to(x.dtype)
        return torch.where(chance < self.level, white, x)
