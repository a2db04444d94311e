"""Class Gaussians, which summarise the codes of each class by mean and covariance, and ellipses of given mass.

The codes of a class are a mixture with one posterior per image. So the covariance of the class is the average posterior
covariance plus the covariance of the posterior means (law of total covariance). Either term alone is too small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pyrovae.checks import Place, Probability, Seed, Share, checked
from pyrovae.latent.codes import Codes

MASSES = (0.5, 0.9)
"""Probabilities inside the ellipses, unless others are asked for: more than two rings a class hide each other."""

Moments = Literal["aggregate", "averaged"]


@dataclass(frozen=True, eq=False)
class ClassGaussians:
    """A Gaussian for each class.

    Attributes:
        estimate: "aggregate": covariance of the aggregate posterior, E[Λ] + Cov[μ]; "averaged": the average posterior
            covariance E[Λ] alone.
        classes: Labels, (classes,).
        counts: Number of images of each, (classes,).
        means: (classes, latent_dim).
        covariances: (classes, latent_dim, latent_dim).
        mean_errors: Standard error of each mean, by bootstrap over images, (classes, latent_dim).
        covariance_errors: The same of each covariance, (classes, latent_dim, latent_dim).
    """

    estimate: Moments
    classes: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    mean_errors: np.ndarray
    covariance_errors: np.ndarray

    def log_densities(self, points: np.ndarray) -> np.ndarray:
        """Log-density of points, (N, latent_dim), under each class's Gaussian, (N, classes)."""
        columns = []
        for mean, covariance in zip(self.means, self.covariances, strict=True):
            norm = np.linalg.slogdet(2 * np.pi * covariance)[1]
            columns.append(-(mahalanobis_squared(points, mean, covariance) + norm) / 2)
        return np.stack(columns, 1)


@dataclass(frozen=True, eq=False)
class Ellipse:
    """The highest-density region of a two-dimensional Gaussian with a given probability.

    Attributes:
        mass: Probability inside.
        centre: (2,).
        half_axes: Lengths of the half axes, longest first, (2,).
        angle: Direction of the longest half axis, radians from the first dimension, in (-π/2, π/2].
        coverage: Share of the class's posterior draws inside the ellipse, or NaN if it was not measured. For a
            Gaussian class it is about `mass`.
    """

    mass: float
    centre: np.ndarray
    half_axes: np.ndarray
    angle: float
    coverage: float = float("nan")

    def outline(self, points: int = 200) -> np.ndarray:
        """Points on the ellipse, (points, 2)."""
        t = np.linspace(0, 2 * np.pi, points)
        u = np.array([np.cos(self.angle), np.sin(self.angle)])
        v = np.array([-u[1], u[0]])
        a, b = self.half_axes
        return self.centre + a * np.cos(t)[:, None] * u + b * np.sin(t)[:, None] * v


@checked
def class_gaussians(
    codes: Codes,
    classes: Sequence[int] | None = None,
    *,
    estimate: Moments = "aggregate",
    shrink: Share = 0.0,
    bootstrap: Place = 200,
    seed: Seed = 0,
) -> ClassGaussians:
    """Estimate a Gaussian for each class from the posteriors of its images.

    Args:
        codes: The codes.
        classes: Labels; by default every label that occurs.
        estimate: The covariance; see `ClassGaussians`.
        shrink: Share, 0 to 1, by which each covariance is shrunk towards the identity times its mean variance.
        bootstrap: Resamplings for the standard errors; 0 leaves them NaN.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If a class has no images, a covariance is singular, or an argument is out of range.
    """
    there = np.unique(codes.labels)
    chosen = there if classes is None else np.asarray(classes)
    for label in np.setdiff1d(chosen, there):
        raise ValueError(f"class {label} has no images here; there are classes {', '.join(map(str, there))}")
    rng = np.random.default_rng(seed)
    rows = []
    for label in chosen:
        own = codes.of_class(label)
        mean, covariance = _moments(own, estimate)
        covariance = _shrunk(covariance, shrink)
        _check_regular(covariance, label, len(own))
        rows.append((len(own), mean, covariance, *_bootstrap(own, estimate, bootstrap, rng)))
    counts, means, covariances, mean_errors, covariance_errors = map(np.stack, zip(*rows, strict=True))
    return ClassGaussians(estimate, chosen, counts, means, covariances, mean_errors, covariance_errors)


@checked
def ellipse(mean: np.ndarray, covariance: np.ndarray, mass: Probability) -> Ellipse:
    """The ellipse of equal density that holds the probability `mass` of a two-dimensional Gaussian.

    Its squared Mahalanobis radius is the χ² quantile with two degrees of freedom, -2 log(1 - mass).

    Args:
        mean: (2,).
        covariance: (2, 2).
        mass: Probability inside, between 0 and 1.

    Raises:
        ValueError: If the mass is not in (0, 1), or the Gaussian is not two-dimensional.
    """
    if np.shape(covariance) != (2, 2):
        raise ValueError(f"an ellipse needs two dimensions, got a covariance of shape {np.shape(covariance)}")
    variances, axes = np.linalg.eigh(covariance)
    half_axes = np.sqrt(variances[::-1] * squared_radius(mass))
    x, y = axes[:, 1]
    angle = float(np.arctan2(y, x))
    # An axis has no sign, so its direction is mapped to (-π/2, π/2].
    if not -np.pi / 2 < angle <= np.pi / 2:
        angle -= np.pi * np.sign(angle)
    return Ellipse(mass, np.asarray(mean), half_axes, angle)


def squared_radius(mass: float) -> float:
    """Squared Mahalanobis radius within which a two-dimensional Gaussian has the probability `mass`.

    Raises:
        ValueError: If the mass is not in (0, 1).
    """
    if not 0 < mass < 1:
        raise ValueError(f"the mass of an ellipse must be a probability between 0 and 1, got {mass}")
    return -2 * float(np.log1p(-mass))


@checked
def class_ellipses(
    codes: Codes, gaussians: ClassGaussians, masses: Sequence[float] = MASSES
) -> dict[int, list[Ellipse]]:
    """Nested ellipses of each class of a two-dimensional code, with their measured coverage.

    Args:
        codes: Two-dimensional codes; project codes of more dimensions first.
        gaussians: The Gaussians of these codes' classes.
        masses: Probabilities inside the ellipses.

    Returns:
        The ellipses by class, in the order of the masses.

    Raises:
        ValueError: If the code is not two-dimensional, or a mass is not in (0, 1).
    """
    found: dict[int, list[Ellipse]] = {}
    for label, mean, covariance in zip(gaussians.classes, gaussians.means, gaussians.covariances, strict=True):
        squared = mahalanobis_squared(codes.of_class(label).draws, mean, covariance)
        found[int(label)] = [
            _covered(ellipse(mean, covariance, mass), squared <= squared_radius(mass)) for mass in masses
        ]
    return found


def coverage_table(ellipses: Mapping[int, Sequence[Ellipse]], codes: Codes, class_names: Sequence[str]) -> str:
    """A line for each class: its number of images and the coverage of each ellipse.

    Args:
        ellipses: The ellipses of each class, by label.
        codes: The codes of the ellipses.
        class_names: Name of each class.
    """
    width = max(5, *(len(class_names[label]) for label in ellipses))
    heads = [f"inside {one.mass:g}" for one in next(iter(ellipses.values()))]
    lines = [f"{'class':{width}}  images  {'  '.join(heads)}"]
    for label, nested in ellipses.items():
        shares = "  ".join(f"{one.coverage:{len(head)}.3f}" for one, head in zip(nested, heads, strict=True))
        lines.append(f"{class_names[label]:{width}}  {(codes.labels == label).sum():6}  {shares}")
    return "\n".join(lines)


def mahalanobis_squared(points: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance of points, (N, d), from a Gaussian, (N,)."""
    half = np.linalg.solve(np.linalg.cholesky(covariance), (points - mean).T)
    return np.square(half).sum(0)


def _covered(ellipse: Ellipse, inside: np.ndarray) -> Ellipse:
    return Ellipse(ellipse.mass, ellipse.centre, ellipse.half_axes, ellipse.angle, float(inside.mean()))


def _moments(codes: Codes, estimate: Moments) -> tuple[np.ndarray, np.ndarray]:
    mean, covariance = codes.aggregate()
    return mean, covariance if estimate == "aggregate" else codes.mean_covariance()


def _shrunk(covariance: np.ndarray, share: float) -> np.ndarray:
    if not share:
        return covariance
    from sklearn.covariance import shrunk_covariance  # imported here: it takes a second

    return shrunk_covariance(covariance, share)


def _check_regular(covariance: np.ndarray, label: int, images: int) -> None:
    variances = np.linalg.eigvalsh(covariance)
    if variances[0] <= 1e-10 * max(variances[-1], 1e-300):
        raise ValueError(
            f"the covariance of class {label} is singular: it has {images} images in {len(covariance)} dimensions and "
            f"posteriors without width; use more images, or shrink it towards a sphere (shrink=0.1)"
        )


def _bootstrap(
    codes: Codes, estimate: Moments, resamplings: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors of mean and covariance: their standard deviations over resampled images.

    Resampling is done by weights, the number of times that each image is drawn, so no image is copied.
    """
    n, dim = codes.means.shape
    if not resamplings:
        return np.full(dim, np.nan), np.full((dim, dim), np.nan)
    means = codes.means.astype(np.float64)
    rows, columns = np.triu_indices(dim)
    second = means[:, rows] * means[:, columns] if estimate == "aggregate" else np.zeros((n, len(rows)))
    variances = codes.variances.astype(np.float64)
    if variances.ndim == 3:
        second = second + variances[:, rows, columns]
    else:
        second[:, rows == columns] += variances
    weights = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamplings)]) / n
    mean_draws, second_draws = weights @ means, weights @ second
    if estimate == "aggregate":
        second_draws = second_draws - mean_draws[:, rows] * mean_draws[:, columns]
    errors = np.zeros((dim, dim))
    errors[rows, columns] = errors[columns, rows] = second_draws.std(0, ddof=1)
    return mean_draws.std(0, ddof=1), errors
