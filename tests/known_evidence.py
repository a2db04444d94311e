"""A linear-Gaussian model whose evidence is known, with a poor guide."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pyrovae import VAE
from pyrovae.data import Split, to_unit
from pyrovae.data.synthetic import LinearGaussian
from pyrovae.likelihoods import Normal

SHAPE = (1, 2, 3)


class LinearDecoder(nn.Module):
    """A decoder whose evidence is known."""

    def __init__(self, truth: LinearGaussian) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(truth.weight), nn.Parameter(truth.offset)

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return (z @ self.weight.T + self.offset).unflatten(-1, SHAPE)


@dataclass(frozen=True, eq=False)
class Known:
    """A model, the truth, images, and their exact log p(x)."""

    model: VAE
    truth: LinearGaussian
    split: Split
    exact: np.ndarray


def linear_gaussian() -> Known:
    """60 images, some of them far from what the model draws."""
    truth = LinearGaussian.random(SHAPE, 2, scale=0.4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    model = VAE(SHAPE, 2, decoder=LinearDecoder(truth), likelihood=lambda s, d: Normal(s, d, scale=0.4))
    images = torch.randint(0, 256, (60, *SHAPE), dtype=torch.uint8)
    split = Split(images, torch.zeros(60, dtype=torch.int64))
    return Known(model, truth, split, truth.log_evidence(to_unit(images)).numpy())
