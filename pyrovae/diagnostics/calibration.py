"""Calibration of the guide by simulation: does the true code of an image lie in q(z | x) as one draw among others?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import Count, Probability, Seed, checked
from pyrovae.inference.target import CODES_AT_A_TIME, check_draws_pixels, check_has_posterior
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel, labels_in_turn
from pyrovae.runtime import frozen

SIMULATIONS = 4000
"""Sets of uniform ranks from which the width of the bands is found."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of true codes among draws of the guide, and bands that uniform ranks stay inside of.

    Attributes:
        quantities: What is ranked: each dimension of the code, and the log-likelihood of the image.
        ranks: How many of the draws lie below the truth, (images, quantities), from 0 to `draws`.
        draws: Draws of the guide for each image.
        mass: Probability that uniform ranks of all quantities stay inside the bands everywhere.
        lower: The band's lower end, (draws,), as a share of the images below each threshold 1 ... draws.
        upper: Its upper end.
    """

    quantities: tuple[str, ...]
    ranks: np.ndarray
    draws: int
    mass: float
    lower: np.ndarray
    upper: np.ndarray

    @property
    def levels(self) -> np.ndarray:
        """Probability of a uniform rank below each threshold, (draws,)."""
        return np.arange(1, self.draws + 1) / (self.draws + 1)

    @property
    def shares(self) -> np.ndarray:
        """Share of the images whose rank is below each threshold, (quantities, draws)."""
        return (self.ranks.T[:, :, None] < np.arange(1, self.draws + 1)).mean(1)

    @property
    def inside(self) -> np.ndarray:
        """Whether each quantity stays inside the band everywhere, (quantities,)."""
        slack = 1e-9
        away = np.maximum(self.lower - self.shares, self.shares - self.upper)
        return np.asarray(away.max(1) <= slack)

    @property
    def passed(self) -> bool:
        """Whether every quantity does."""
        return bool(self.inside.all())

    def coverage(self, mass: float) -> np.ndarray:
        """Share of true values inside the guide's central interval of a given mass, (quantities,)."""
        return (np.abs(self._positions - 0.5) <= mass / 2).mean(0)

    @property
    def _positions(self) -> np.ndarray:
        """Ranks as places in (0, 1)."""
        return (self.ranks + 0.5) / (self.draws + 1)

    def verdicts(self) -> list[str]:
        """What is wrong with each quantity, a line each."""
        return [self._verdict(k) for k in range(len(self.quantities))]

    def _verdict(self, k: int) -> str:
        name, covered = self.quantities[k], f"the central 90 % of q holds {100 * self.coverage(0.9)[k]:.1f} %"
        if self.inside[k]:
            return f"{name}: calibrated, {covered}"
        places, n = self._positions[:, k], len(self.ranks)
        size = self.draws + 1
        variance = (size**2 - 1) / (12 * size**2)  # of a uniform place; that of its square is 0.8 times its square
        shift = (places.mean() - 0.5) / np.sqrt(variance / n)
        width = (np.square(places - 0.5).mean() / variance - 1) / np.sqrt(0.8 / n)
        if name.startswith("log"):
            fit = "better" if shift > 0 else "worse"
            return (
                f"{name}: off, true codes explain their image {fit} than those of q do ({shift:+.0f} standard errors)"
            )
        if abs(width) < 3 and abs(shift) < 3:
            return f"{name}: q has another shape than the posterior, {covered}"
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
            "coverage": {str(mass): self.coverage(mass).tolist() for mass in (0.5, 0.9)},
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

    If q is the posterior, the rank of z among the z_i is uniform on 0 ... L, in each dimension, and so is that of
    log p(x | z), which notices a guide that has forgotten the image and returns the prior. The band around the ranks'
    distribution function holds uniform ranks everywhere at once, and those of all quantities, with probability `mass`.

    References:
        S. Talts et al., Validating Bayesian Inference Algorithms with Simulation-Based Calibration (2018),
        arXiv:1804.06788; T. Säilynoja, P.-C. Bürkner and A. Vehtari, Graphical test for discrete uniformity (2022),
        Statistics and Computing 32, for the bands; M. Modrák et al., Simulation-Based Calibration Checking for Bayesian
        Computation: The Choice of Test Quantities Shapes Sensitivity (2023), Bayesian Analysis, for the likelihood.

    Args:
        model: A model whose guide and likelihood are densities.
        images: Number of images to draw.
        draws: Draws of the guide for each, L.
        labels: Classes of a conditional model's images, (images,); by default all in equal parts.
        mass: Probability that a calibrated guide passes.
        seed: Seed of everything drawn.

    Raises:
        ValueError: If the model has no posterior or no images to draw, or an argument is out of its range.
    """
    check_has_posterior(model)
    check_draws_pixels(model)
    if images < 20 or draws < 9 or not 0 < mass < 1:
        raise ValueError(
            f"calibration needs at least 20 images, 9 draws and a mass between 0 and 1, "
            f"got {images}, {draws} and {mass}"
        )
    if labels is not None and len(labels) != images:
        raise ValueError(f"calibration needs a label for each of its {images} images, got {len(labels)}")
    bands, counts = 24 * SIMULATIONS * (draws + 1), 8 * images * (model.shapes.latent_dim + 1)
    check_memory({f"ranks of {images:,} images": counts, f"bands of {draws:,} draws": bands}, "choose fewer of them")
    ranks = []
    with frozen(model, seed) as device:
        classes = labels_in_turn(model, images, device) if labels is None else labels.to(device)
        for index in torch.arange(images, device=device).split(max(1, CODES_AT_A_TIME // draws)):
            y = None if classes is None else classes[index]
            z = model.prior(y).expand([len(index)]).sample()
            x = model.likelihood(z, y).sample()
            codes = model.posterior(x, y).sample(torch.Size([draws]))
            fit, fits = (model.likelihood(each, y).log_prob(x) for each in (z, codes))
            ranks.append(torch.cat([(codes < z).sum(0), (fits < fit).sum(0)[:, None]], 1).cpu())
    found = torch.cat(ranks).numpy()
    names = (*(f"z[{j}]" for j in range(found.shape[1] - 1)), "log p(x|z)")
    return Calibration(names, found, draws, mass, *_band(images, draws, (1 - mass) / len(names), seed))


def _band(images: int, draws: int, error: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the band of shares that uniform ranks leave anywhere with probability `error`, (draws,) twice."""
    from scipy.stats import binom  # with the module it would cost every training a second

    levels = np.arange(1, draws + 1) / (draws + 1)
    counts = np.random.default_rng(seed).multinomial(images, np.full(draws + 1, 1 / (draws + 1)), SIMULATIONS)
    below = np.cumsum(counts, 1)[:, :-1]
    tails = np.minimum(binom.cdf(below, images, levels), binom.sf(below - 1, images, levels)).min(1)
    gamma = np.quantile(tails, error)
    return binom.ppf(gamma, images, levels) / images, binom.isf(gamma, images, levels) / images
