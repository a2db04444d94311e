"""Images decoded on a grid over a two-dimensional latent space."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from pyrovae.checks import Count, Place, Seed, checked
from pyrovae.latent.codes import one_dimensional
from pyrovae.latent.generate import check_labels, decode
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

STANDARD = "quantiles of N(0, 1)"
DRAWS = 10_000
"""Draws that estimate the quantiles of a prior without closed forms."""


@dataclass(frozen=True)
class Manifold:
    """Images decoded from a grid over a two-dimensional code.

    Attributes:
        images: Mean of p(x | z), (rows, columns, C, H, W). As on a plot, z[0] increases from the first column to the
            last and z[1] from the last row to the first.
        coordinates: Code of each image, (rows, columns, 2).
        label: The class that the images were decoded with, or None.
        spacing: Position of the codes along each dimension, in words.
    """

    images: np.ndarray
    coordinates: np.ndarray
    label: int | None
    spacing: str = STANDARD


@checked
def decode_manifold(
    model: LatentVariableModel, size: Count = 20, *, label: Place | None = None, seed: Seed = 0
) -> Manifold:
    """Decode a grid whose lines split each dimension of the prior into parts of equal probability.

    The coordinates are the prior's quantiles at (i + 1/2) / size in each dimension. If the dimensions are independent,
    every image represents the same prior mass. Angles are evenly spaced around the circle under any prior.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, figure 4.

    Args:
        model: A model with a two-dimensional code.
        size: Images along each side.
        label: The class to decode with, for a conditional model.
        seed: Seed of the draws, for priors whose quantiles have no closed form.

    Raises:
        ValueError: If the code is not two-dimensional, or a label is missing or unknown.
    """
    if model.shapes.latent_dim != 2:
        raise ValueError(f"the manifold needs a code of two dimensions, this model has {model.shapes.latent_dim}")
    check_memory({f"a grid of {size:,} x {size:,} codes": 24 * size**2}, "choose a smaller size")
    y = None if label is None else torch.tensor([label])
    check_labels(model, y)
    with frozen(model, seed) as device:
        shares = (torch.arange(size) + 0.5) / size
        if model.prior.periodic:
            across, spacing = math.pi * (2 * shares - 1).unsqueeze(1).expand(size, 2), "even steps around the circle"
        else:
            across, spacing = _quantiles(model.prior(None if y is None else y.to(device)), shares)
    first, second = across.unbind(1)
    grid = torch.stack(torch.meshgrid(second.flip(0), first, indexing="ij")[::-1], -1)
    images = decode(model, grid.reshape(-1, 2), None if y is None else y.expand(size * size))
    return Manifold(images.unflatten(0, (size, size)).numpy(), grid.numpy(), label, spacing)


def _quantiles(prior: Distribution, shares: Tensor) -> tuple[Tensor, str]:
    """Quantiles of each dimension of a prior with batch_shape () or (1,), (shares, 2), and their source in words."""
    one = one_dimensional(prior)
    if isinstance(one, Normal) and bool((one.loc == 0).all() and (one.scale == 1).all()):
        return torch.special.ndtri(shares).unsqueeze(1).expand(-1, 2), STANDARD
    try:
        if one is not None:
            each = shares.to(one.mean.device).reshape(-1, *[1] * len(one.batch_shape))
            return one.icdf(each).reshape(-1, 2).cpu(), "quantiles of the prior"
    except NotImplementedError:
        pass
    draws = prior.sample(torch.Size([DRAWS])).reshape(DRAWS, 2).cpu()
    return draws.quantile(shares, dim=0), f"quantiles of {DRAWS:,} draws of the prior"
