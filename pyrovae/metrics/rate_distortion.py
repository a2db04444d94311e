"""Rate against distortion of models that were trained with different weights of the KL term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.checks import Seed, checked
from pyrovae.data import Split
from pyrovae.estimates import Estimate, Estimates
from pyrovae.inference.elbo import ACTIVE_VARIANCE, estimate_elbo
from pyrovae.latent import Codes, encode
from pyrovae.models import LatentVariableModel

FOLDS = 10
"""Number of folds of the images. Their scatter gives the standard errors."""


@dataclass(frozen=True, eq=False)
class RateDistortion:
    """Rate, distortion and shape of the codes of several models, one for each weight of the KL term.

    Attributes:
        score: Name of the distortion: "NLL", or "cross-entropy" if the likelihood is not a density.
        images: Number of images.
        betas: Weight of the KL term relative to that of the reconstruction, (models,).
        rates: KL of the posterior from the prior, nats per image, (models,).
        distortions: Minus the expected log-likelihood of an image given its code, nats per image, (models,).
        widths: Standard deviation of a posterior, averaged over images and dimensions, (models,).
        correlations: Absolute correlation of two active dimensions' posterior means, averaged over pairs; NaN if
            fewer than two dimensions are active, (models,).
        active_units: Number of active dimensions, those that depend on the image, (models,).
    """

    score: str
    images: int
    betas: np.ndarray
    rates: Estimates
    distortions: Estimates
    widths: np.ndarray
    correlations: np.ndarray
    active_units: np.ndarray

    def __str__(self) -> str:
        lines = [
            f"{'beta':>8}  {'rate (KL)':>15}  {f'distortion ({self.score})':>26}  {'sum':>8}  width  |corr|  active"
        ]
        for i, beta in enumerate(self.betas):
            rate, distortion = self.rates.at(i), self.distortions.at(i)
            correlation = "     -" if np.isnan(self.correlations[i]) else f"{self.correlations[i]:6.3f}"
            lines.append(
                f"{beta:8.4g}  {rate.value:7.2f} ± {rate.sampling:5.2f}  "
                f"{distortion.value:17.2f} ± {distortion.sampling:6.2f}  "
                f"{rate.value + distortion.value:8.2f}  {self.widths[i]:5.3f}  {correlation}  "
                f"{self.active_units[i]:6.0f}"
            )
        return "\n".join([*lines, f"nats per image, {self.images:,} images"])


@checked
def rate_distortion(
    models: Sequence[LatentVariableModel], betas: Sequence[float], split: Split, *, seed: Seed = 0
) -> RateDistortion:
    """Measure rate and distortion of each model on the same images.

    References:
        A. A. Alemi, B. Poole, I. Fischer, J. V. Dillon, R. A. Saurous and K. Murphy, Fixing a Broken ELBO (2018),
        arXiv:1711.00464.

    Args:
        models: The models.
        betas: Weight of the KL term in the training of each, relative to that of the reconstruction.
        split: Images, uint8 (N, C, H, W), and labels, (N,). For models of binary pixels, binarise it first.
        seed: Seed of the codes.

    Raises:
        ValueError: If the numbers of models and weights differ, there are too few images, or a posterior is a point.
    """
    if len(models) != len(betas) or not models:
        raise ValueError(f"each model needs its own beta, got {len(models)} models and {len(betas)} betas")
    if len(split) < 2 * FOLDS:
        raise ValueError(f"rate and distortion with their errors need at least {2 * FOLDS} images, got {len(split)}")
    for model in models:
        model.posterior.need_density(
            "an autoencoder's code is a point and has no rate: compare models whose posterior has a width"
        )
    rates, distortions = zip(*(_rate_and_distortion(model, split, seed) for model in models), strict=True)
    codes = [encode(model, split, seed=seed) for model in models]
    active = [each.means.var(0) > ACTIVE_VARIANCE for each in codes]
    return RateDistortion(
        score=models[0].likelihood.score,
        images=len(split),
        betas=np.asarray(betas, dtype=float),
        rates=Estimates.stack(rates),
        distortions=Estimates.stack(distortions),
        widths=np.array([_width(each) for each in codes]),
        correlations=np.array(
            [mean_correlation(each.means[:, some]) for each, some in zip(codes, active, strict=True)]
        ),
        active_units=np.array([some.sum() for some in active], dtype=float),
    )


def _rate_and_distortion(model: LatentVariableModel, split: Split, seed: int) -> tuple[Estimate, Estimate]:
    """The two terms of the bound, with errors from the scatter over folds of the images."""
    folds = [split.take(numbers.tolist()) for numbers in np.array_split(np.arange(len(split)), FOLDS)]
    found = [estimate_elbo(model, fold, seed=seed + i) for i, fold in enumerate(folds)]
    sizes = np.array([len(fold) for fold in folds])
    return (
        _over_folds(np.array([f.kl.value for f in found]), sizes),
        _over_folds(np.array([f.reconstruction.value for f in found]), sizes),
    )


def _over_folds(values: np.ndarray, sizes: np.ndarray) -> Estimate:
    """Mean over all images from the means over folds."""
    return Estimate(float(np.average(values, weights=sizes)), float(values.std(ddof=1) / np.sqrt(len(values))))


def _width(codes: Codes) -> float:
    variances = codes.variances if codes.variances.ndim == 2 else codes.variances.diagonal(axis1=1, axis2=2)
    return float(np.sqrt(variances, dtype=np.float64).mean())


def mean_correlation(means: np.ndarray) -> float:
    """Mean absolute correlation of two dimensions of codes, (N, d); NaN if there are fewer than two."""
    dim = means.shape[1]
    return float(np.abs(np.corrcoef(means.T)[np.triu_indices(dim, 1)]).mean()) if dim > 1 else float("nan")
