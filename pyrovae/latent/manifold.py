"""The manifold of images that a two-dimensional code spans."""

from dataclasses import dataclass

import numpy as np
import torch

from pyrovae.latent.generate import decode
from pyrovae.models import LatentVariableModel


@dataclass(frozen=True)
class Manifold:
    """Images decoded from a grid over a two-dimensional code.

    Attributes:
        images: Mean of p(x | z), (rows, columns, C, H, W); z[1] rises from the last row to the first, as on a
            plot's axis, and z[0] from the first column to the last.
        coordinates: Code of each image, (rows, columns, 2).
        label: The class that the images were decoded with, or None.
    """

    images: np.ndarray
    coordinates: np.ndarray
    label: int | None


def decode_manifold(model: LatentVariableModel, size: int = 20, *, label: int | None = None) -> Manifold:
    """Decode a grid whose points split the standard Normal into cells of equal probability.

    The coordinates are its quantiles at (i + 1/2) / size, so that the grid shows what the prior would draw, each
    image standing for the same share of it.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, figure 4.

    Args:
        model: A model with a two-dimensional code.
        size: Images along each side.
        label: The class to decode with, for a conditional model.

    Raises:
        ValueError: If the code has not two dimensions, or a label is missing.
    """
    if model.shapes.latent_dim != 2:
        raise ValueError(f"the manifold needs a code of two dimensions, this model has {model.shapes.latent_dim}")
    quantiles = torch.special.ndtri((torch.arange(size) + 0.5) / size)
    grid = torch.stack(torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")[::-1], -1)
    y = None if label is None else torch.full([size * size], label)
    images = decode(model, grid.reshape(-1, 2), y)
    return Manifold(images.unflatten(0, (size, size)).numpy(), grid.numpy(), label)
