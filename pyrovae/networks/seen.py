"""An encoder of what is seen: zeros stand for values that are missing, and a mask may say which they are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pyrovae.networks.denoising import Denoising

Missing = Literal["zeros", "mask"]


class SeenEncoder(nn.Module):
    """Gives another encoder images without NaN.

    References:
        P.-A. Mattei and J. Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (2019),
        arXiv:1812.02633, for the zeros; M. Collier, A. Nazabal and C. Williams, VAEs in the Presence of Missing Data
        (2020), arXiv:2006.05301, for the mask.

    Args:
        encoder: An encoder of images, (B, C, H, W), or with a mask of (B, 2 C, H, W).
        missing: "zeros", or "mask" for channels behind them that are 1 where a value is seen.

    Raises:
        ValueError: If the encoder would damage the mask.
    """

    def __init__(self, encoder: nn.Module, missing: Missing) -> None:
        super().__init__()
        if missing == "mask" and isinstance(encoder, Denoising):
            raise ValueError("the encoder Denoising would damage the mask too: choose missing='zeros'")
        self.encoder, self.missing = encoder, missing
        self.out_features = encoder.out_features

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, (B, C, H, W), NaN where a value is missing, to features, (B, out_features)."""
        missing = x.isnan()
        filled = torch.where(missing, 0.0, x)
        if self.missing == "mask":
            filled = torch.cat([filled, (~missing).to(x.dtype)], -3)
        return self.encoder(filled, y)
