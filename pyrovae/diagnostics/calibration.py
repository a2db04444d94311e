"""Simulation-based calibration of the guide: are true codes distributed like draws from q(z | x)?

References:
    S. Talts et al., Validating Bayesian Inference Algorithms with Simulation-Based Calibration (2018),
    arXiv:1804.06788; T. Säilynoja, P.-C. Bürkner and A. Vehtari, Graphical test for discrete uniformity (2022),
    Statistics and Computing 32, for the bands; M. Modrák et al., Simulation-Based Calibration Checking for Bayesian
    Computation: The Choice of Test Quantities Shapes Sensitivity (2023), Bayesian Analysis, for the likelihood.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, eq, lt

from pyrovae.checks import Count, Probability, Seed, checked
from pyrovae.estimates import Estimates
from pyrovae.inference.target import CODES_AT_A_TIME, check_draws_pixels, check_has_posterior
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel, labels_in_turn
from pyrovae.runtime import frozen

SIMULATIONS = 4000
"""Simulated sets of uniform ranks that set the width of the bands."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of true codes among draws of the guide, and simultaneous bands for uniform ranks.

    Attributes:
        quantities: Names of what is ranked: each dimension of the code, and the log-likelihood of the image.
        ranks: Number of draws below the true value, (images, quantities), from 0 to `draws`; among draws equal to it
            its place is random.
        draws: Draws of the guide for each image.
        mass: Probability that uniform ranks of all quantities stay inside the bands at every threshold.
        lower: Lower end of the band, (draws,): share of the images with a rank below each threshold 1 ... draws.
        upper: Upper end of the band.
    """

    quantities: tuple[str, ...]
    ranks: np.ndarray
    draws: int
    mass: float
    lower: np.ndarray
    upper: np.ndarray

    @property
    def levels(self) -> np.ndarray:
        """Probability that a uniform rank is below each threshold, (draws,)."""
        return np.arange(1, self.draws + 1) / (self.draws + 1)

    @property
    def shares(self) -> np.ndarray:
        """Share of the images whose rank is below each threshold, (quantities, draws)."""
        return (self.ranks.T[:, :, None] < np.arange(1, self.draws + 1)).mean(1)

    @property
    def outside(self) -> np.ndarray:
        """Where the share of each quantity is outside of its band, (quantities, draws)."""
        slack = 1e-9
        return (self.shares < self.lower - slack) | (self.shares > self.upper + slack)

    @property
    def inside(self) -> np.ndarray:
        """Whether each quantity stays inside the band everywhere, (quantities,)."""
        return np.asarray(~self.outside.any(1))

    @property
    def passed(self) -> bool:
        """Whether every quantity does."""
        return bool(self.inside.all())

    def coverage(self, mass: float) -> Estimates:
        """Share of true values inside the guide's central interval of a given mass, (quantities,)."""
        return Estimates.mean_of(np.abs(self._positions - 0.5) <= mass / 2, 0)

    @property
    def _positions(self) -> np.ndarray:
        """Ranks scaled to (0, 1)."""
        return (self.ranks + 0.5) / (self.draws + 1)

    def verdicts(self) -> list[str]:
        """The result of each quantity, a line each."""
        return [self._verdict(k) for k in range(len(self.quantities))]

    def _verdict(self, k: int) -> str:
        name, covered = self.quantities[k], f"the central 90 % of q holds {self.coverage(0.9).at(k).percent}"
        if self.inside[k]:
            return f"{name}: calibrated, {covered}"
        places, n = self._positions[:, k], len(self.ranks)
        size = self.draws + 1
        variance = (size**2 - 1) / (
            12 * size**2
        )  # of a uniform position; its square has 0.8 times the squared variance
        shift = (places.mean() - 0.5) / np.sqrt(variance / n)
        width = (np.square(places - 0.5).mean() / variance - 1) / np.sqrt(0.8 / n)
        if name.startswith("log"):
            fit = "better" if shift > 0 else "worse"
            return (
                f"{name}: off, true codes explain their image {fit} than those of q do ({shift:+.0f} standard errors)"
            )
        if abs(width) < 3 and abs(shift) < 3:
            at = self.levels[self.outside[k]]
            where = (
                f"at the rank {at[0]:.2g}" if len(at) == 1 else f"at {len(at)} ranks from {at[0]:.2g} to {at[-1]:.2g}"
            )
            return f"{name}: outside of its band {where}: q has another shape than the posterior there, {covered}"
        if abs(shift) > abs(width):
            side = "below" if shift > 0 else "above"
            return f"{name}: q lies {side} the true codes ({shift:+.0f} standard errors), {covered}"
        return f"{name}: q is too {'narrow' if width > 0 else 'wide'} ({width:+.0f} standard errors), {covered}"

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        found = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items() if k != "ranks"}
        return found | {
            "images": len(self.ranks),
            "shares": self.shares.tolist(),
            "inside": self.inside.tolist(),
            "coverage": {str(mass): self.coverage(mass).value.tolist() for mass in (0.5, 0.9)},
            "verdicts": self.verdicts(),
        }

    def __str__(self) -> str:
        verdict = "calibrated" if self.passed else "not calibrated"
        head = f"the guide is {verdict} on {len(self.ranks):,} images of the model ({self.mass:.0%} bands)"
        return "\n".join([head, *(f"  {line}" for line in self.verdicts())])


@checked
def calibrate(
    model: LatentVariableModel,
    images: Count = 1000,
    draws: Count = 99,
    *,
    labels: Tensor | None = None,
    mass: Probability = 0.95,
    seed: Seed = 0,
) -> Calibration:
    """Rank true codes among the guide's draws: z ~ p(z | y), x ~ p(x | z, y), z_1 ... z_L ~ q(z | x, y).

    If q is the posterior, the rank of z among the z_i is uniform on 0 ... L in each dimension. So is the rank of
    log p(x | z), which detects a guide that ignores the image and returns the prior. The bands contain the empirical
    distribution functions of uniform ranks, at all thresholds and for all quantities, with probability `mass`.

    Args:
        model: A model whose guide and likelihood are densities.
        images: Number of images to draw.
        draws: Draws of the guide per image, L.
        labels: Classes of a conditional model's images, (images,); by default all classes in turn.
        mass: Probability that a calibrated guide passes.
        seed: Seed of all draws.

    Raises:
        ValueError: If the model has no posterior or draws no images, or an argument is out of range.
    """
    _check(model, images, draws, labels, mass)
    bands, size = 24 * SIMULATIONS * (draws + 1), 24 * images * (model.shapes.latent_dim + 1)
    check_memory({f"ranks of {images:,} images": size, f"bands of {draws:,} draws": bands}, "choose fewer of them")
    with frozen(model, seed) as device:
        classes = labels_in_turn(model, images, device) if labels is None else labels.to(device)
        parts = torch.arange(images, device=device).split(max(1, CODES_AT_A_TIME // draws))
        counts = [_counts(model, len(index), None if classes is None else classes[index], draws) for index in parts]
    below, equal = torch.cat(counts, 1).numpy()
    found = below + np.random.default_rng([seed, 1]).integers(0, equal + 1)
    names = (*(f"z[{j}]" for j in range(found.shape[1] - 1)), "log p(x|z)")
    return Calibration(names, found, draws, mass, *_band(images, draws, (1 - mass) / len(names), seed))


def _check(model: LatentVariableModel, images: int, draws: int, labels: Tensor | None, mass: float) -> None:
    """Refuse models and arguments for which there is no calibration."""
    check_has_posterior(model)
    check_draws_pixels(model)
    if images < 20 or draws < 9 or not 0 < mass < 1:
        raise ValueError(
            f"calibration needs at least 20 images, 9 draws and a mass between 0 and 1, "
            f"got {images}, {draws} and {mass}"
        )
    if labels is not None and len(labels) != images:
        raise ValueError(f"calibration needs a label for each of its {images} images, got {len(labels)}")


def _counts(model: LatentVariableModel, images: int, y: Tensor | None, draws: int) -> Tensor:
    """Draw codes and images from the model; count the guide's draws below and equal to it, (2, images, quantities).

    Log p(x | z) is equal for many codes where a decoder makes little of them, as after a collapse.
    """
    z = model.prior(y).expand([images]).sample()
    x = model.likelihood(z, y).sample()
    codes = model.posterior(x, y).sample(torch.Size([draws]))
    fit, fits = (model.likelihood(each, y).log_prob(x) for each in (z, codes))
    found = [torch.cat([compare(codes, z).sum(0), compare(fits, fit).sum(0)[:, None]], 1) for compare in (lt, eq)]
    return torch.stack(found).cpu()


def _band(images: int, draws: int, error: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the band that uniform ranks leave at some threshold with probability `error`, (draws,) twice."""
    from scipy.stats import binom  # imported here: it takes a second, which a training need not wait for

    levels = np.arange(1, draws + 1) / (draws + 1)
    counts = np.random.default_rng(seed).multinomial(images, np.full(draws + 1, 1 / (draws + 1)), SIMULATIONS)
    below = np.cumsum(counts, 1)[:, :-1]
    tails = np.minimum(binom.cdf(below, images, levels), binom.sf(below - 1, images, levels)).min(1)
    gamma = np.quantile(tails, error)
    return binom.ppf(gamma, images, levels) / images, binom.isf(gamma, images, levels) / images
