"""Rate against distortion: what the weight of the KL term buys, over several models of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.checks import Seed, checked
from pyrovae.data import Split
from pyrovae.inference.elbo import ACTIVE_VARIANCE, estimate_elbo
from pyrovae.latent import Codes, encode
from pyrovae.models import LatentVariableModel

FOLDS = 10
"""Parts that the images are cut into, whose scatter gives the standard errors."""


@dataclass(frozen=True, eq=False)
class RateDistortion:
    """Rate, distortion and shape of the codes of several models, one for each weight of the KL term.

    Attributes:
        score: What the distortion is: "NLL", or "cross-entropy" where it is no density.
        images: Number of images.
        betas: Weight of the KL term over that of the reconstruction, (models,).
        rates: KL of the posterior from the prior, nats per image, (models,).
        rate_errors: Standard errors, (models,).
        distortions: Minus the expected log-likelihood of an image given its code, nats per image, (models,).
        distortion_errors: Standard errors, (models,).
        widths: Standard deviation of a posterior, averaged over images and dimensions, in units of the code, (models,).
        correlations: Absolute correlation of two dimensions' posterior means, averaged over the pairs of dimensions
            that depend on the image; NaN where fewer than two do, (models,).
        active_units: Number of dimensions that depend on the image, (models,).
    """

    score: str
    images: int
    betas: np.ndarray
    rates: np.ndarray
    rate_errors: np.ndarray
    distortions: np.ndarray
    distortion_errors: np.ndarray
    widths: np.ndarray
    correlations: np.ndarray
    active_units: np.ndarray

    def __str__(self) -> str:
        lines = [
            f"{'beta':>8}  {'rate (KL)':>15}  {f'distortion ({self.score})':>26}  {'sum':>8}  width  |corr|  active"
        ]
        for i, beta in enumerate(self.betas):
            correlation = "     -" if np.isnan(self.correlations[i]) else f"{self.correlations[i]:6.3f}"
            lines.append(
                f"{beta:8.4g}  {self.rates[i]:7.2f} ± {self.rate_errors[i]:5.2f}  "
                f"{self.distortions[i]:17.2f} ± {self.distortion_errors[i]:6.2f}  "
                f"{self.rates[i] + self.distortions[i]:8.2f}  {self.widths[i]:5.3f}  {correlation}  "
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
        betas: Weight of the KL term of each one's training, over that of the reconstruction.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split` where the models
            were trained on binary pixels.
        seed: Seed of the codes.

    Raises:
        ValueError: If there is not one weight for each model, or there are too few images for a standard error, or
            a posterior has no width.
    """
    if len(models) != len(betas) or not models:
        raise ValueError(f"each model needs its own beta, got {len(models)} models and {len(betas)} betas")
    if len(split) < 2 * FOLDS:
        raise ValueError(f"rate and distortion with their errors need at least {2 * FOLDS} images, got {len(split)}")
    for model in models:
        model.posterior.need_density(
            "an autoencoder's code is a point and has no rate: compare models whose posterior has a width"
        )
    folds = [split.take(numbers.tolist()) for numbers in np.array_split(np.arange(len(split)), FOLDS)]
    sizes = np.array([len(fold) for fold in folds])
    rows = []
    for model in models:
        found = [estimate_elbo(model, fold, seed=seed + i) for i, fold in enumerate(folds)]
        codes = encode(model, split, seed=seed)
        active = codes.means.var(0) > ACTIVE_VARIANCE
        rows.append(
            (
                *_mean_and_error(np.array([f.kl.value for f in found]), sizes),
                *_mean_and_error(np.array([f.reconstruction.value for f in found]), sizes),
                _width(codes),
                _correlation(codes.means[:, active]),
                active.sum(),
            )
        )
    score = models[0].likelihood.score
    return RateDistortion(score, len(split), np.asarray(betas, dtype=float), *np.array(rows, dtype=float).T)


def _mean_and_error(values: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Mean over all images of means over folds, and its standard error."""
    return float(np.average(values, weights=sizes)), float(values.std(ddof=1) / np.sqrt(len(values)))


def _width(codes: Codes) -> float:
    variances = codes.variances if codes.variances.ndim == 2 else codes.variances.diagonal(axis1=1, axis2=2)
    return float(np.sqrt(variances, dtype=np.float64).mean())


def _correlation(means: np.ndarray) -> float:
    dim = means.shape[1]
    return float(np.abs(np.corrcoef(means.T)[np.triu_indices(dim, 1)]).mean()) if dim > 1 else float("nan")
