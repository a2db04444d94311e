"""Posterior predictive checks: images drawn from the model at an image's codes, compared with the image.

References:
    A. Gelman, X.-L. Meng and H. Stern, Posterior predictive assessment of model fitness (1996), Statistica Sinica 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyrovae.checks import Count, Probability, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, to_unit
from pyrovae.inference.draws import PosteriorDraws, thinned
from pyrovae.inference.target import CODES_AT_A_TIME, check_draws_pixels
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import device_of, frozen


@dataclass(frozen=True, eq=False)
class PredictiveCheck:
    """Images drawn from the posterior predictive distribution of each image, compared with the image.

    Attributes:
        source: The method that drew the codes.
        x: The images, (images, C, H, W).
        mean: Mean of E[x | z] over the codes, (images, C, H, W).
        scale: Standard deviation of E[x | z] over the codes, (images, C, H, W): uncertainty due to the code.
        lower: Lower end of the central interval of each pixel, (images, C, H, W).
        upper: Upper end.
        mass: Probability of the intervals. Intervals of binary pixels contain more, since they end at 0 or 1.
        counted: Which pixels count for the coverage, bool, of the images' shape.
        tail: Share of drawn images with a smaller sum of pixels than the image, (images,). Values near 0 or 1 are
            suspicious.
    """

    source: str
    x: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    mass: float
    counted: np.ndarray
    tail: np.ndarray

    @property
    def coverage(self) -> np.ndarray:
        """Share of the counted pixels inside their intervals, (images,)."""
        inside = (self.x >= self.lower) & (self.x <= self.upper) & self.counted
        return inside.sum((1, 2, 3)) / self.counted.sum((1, 2, 3))

    @property
    def width(self) -> np.ndarray:
        """Mean width of the counted intervals, (images,)."""
        return np.where(self.counted, self.upper - self.lower, 0).sum((1, 2, 3)) / self.counted.sum((1, 2, 3))

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        numbers = {name: getattr(self, name).tolist() for name in ("coverage", "width", "tail")}
        return {"source": self.source, "mass": self.mass} | numbers

    def __str__(self) -> str:
        return (
            f"{self.source}: {100 * self.coverage.mean():.1f} % of pixels inside their {self.mass:.0%} intervals, "
            f"{self.width.mean():.3f} wide on average; less ink than the image in "
            f"{', '.join(f'{share:.2f}' for share in self.tail)} of the draws"
        )


@checked
def predictive_check(
    model: LatentVariableModel,
    split: Split,
    posterior: PosteriorDraws,
    *,
    counted: Tensor | None = None,
    mass: Probability = 0.9,
    draws: Count = 500,
    seed: Seed = 0,
) -> PredictiveCheck:
    """Draw images from p(x | z) at draws of the code, and locate the image among them.

    Args:
        model: A model whose likelihood is a density.
        split: The images of the draws.
        posterior: Draws of their codes.
        counted: Which pixels count for the coverage, bool (C, H, W) or (N, C, H, W); all by default.
        mass: Probability of the intervals.
        draws: Images drawn for each image, at most as many as there are codes.
        seed: Seed of the pixels.

    Raises:
        ValueError: If the likelihood is not a density, the number of images differs, or the mass is no probability.
    """
    codes = _checked(model, split, thinned(posterior, draws), mass)
    drawn = images_at(model, split.labels, codes, seed)
    expected = expected_images(model, split.labels, codes)
    x = to_unit(split.images).numpy()
    lower, upper = np.quantile(drawn, [(1 - mass) / 2, (1 + mass) / 2], axis=0)
    return PredictiveCheck(
        source=posterior.source,
        x=x,
        mean=expected.mean(0),
        scale=expected.std(0),
        lower=lower,
        upper=upper,
        mass=mass,
        counted=np.broadcast_to(True if counted is None else counted.cpu().numpy(), x.shape),
        tail=_tail(drawn.sum((2, 3, 4)), x.sum((1, 2, 3))),
    )


def _checked(model: LatentVariableModel, split: Split, codes: np.ndarray, mass: float) -> np.ndarray:
    """The codes, (draws, images, latent_dim), unless there is no check of the model or the arguments."""
    check_draws_pixels(model)
    if codes.shape[1] != len(split) or not 0 < mass < 1:
        raise ValueError(
            f"a predictive check needs draws of the same images and a mass between 0 and 1, got draws of "
            f"{codes.shape[1]} for {len(split)} images, and {mass}"
        )
    if bool(split.images.isnan().any()):
        raise NotApplicable("a predictive check is of whole images, and values of these are missing")
    return codes


def _tail(drawn: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Share of drawn values, (draws, images), below the observed ones, ties counted half: (images,)."""
    return (drawn < observed).mean(0) + 0.5 * (drawn == observed).mean(0)


def images_at(model: LatentVariableModel, labels: Tensor, codes: np.ndarray, seed: int) -> np.ndarray:
    """One image drawn from p(x | z, y) at each code, (draws, images, C, H, W)."""
    with frozen(model, seed):
        return np.concatenate([p.sample().numpy(force=True) for p in _likelihoods(model, labels, codes)])


def expected_images(model: LatentVariableModel, labels: Tensor, codes: np.ndarray) -> np.ndarray:
    """The mean of p(x | z, y) at each code, (draws, images, C, H, W)."""
    with frozen(model):
        return np.concatenate([p.mean.numpy(force=True) for p in _likelihoods(model, labels, codes)])


def _likelihoods(model: LatentVariableModel, labels: Tensor, codes: np.ndarray) -> Iterator[Distribution]:
    device = device_of(model)
    y = labels.to(device)
    for z in torch.as_tensor(codes, device=device).split(max(1, CODES_AT_A_TIME // len(y))):
        yield model.likelihood(z, y)
