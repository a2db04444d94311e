"""Distances of the classes from each other and from the prior, with their errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyrovae.checks import Count, Seed, checked
from pyrovae.estimates import Estimate
from pyrovae.latent.codes import Codes
from pyrovae.latent.gaussians import ClassGaussians, mahalanobis_squared


@dataclass(frozen=True, eq=False)
class ClassComparison:
    """Distances between class Gaussians, in nats unless stated otherwise.

    Attributes:
        classes: Labels, (classes,).
        bhattacharyya: Bhattacharyya distance of each pair, (classes, classes).
        symmetric_kl: KL(a, b) + KL(b, a) of each pair, (classes, classes).
        overlap: Overlap of the two densities, ∫ min(p_a, p_b), of each pair, (classes, classes).
        kl_from_prior: KL of each class's Gaussian from the standard Normal, (classes,).
        aggregate_kl_from_prior: KL of the Gaussian with the moments of all codes together from the standard Normal.
        bayes_accuracy: Share of posterior draws that the Bayes rule of these Gaussians classifies correctly.
        chance: Share of the most frequent class.
        information: Lower bound of the mutual information of code and class: the mean of log p(y | z) - log p(y) by
            these Gaussians over the draws.
    """

    classes: np.ndarray
    bhattacharyya: np.ndarray
    symmetric_kl: np.ndarray
    overlap: np.ndarray
    kl_from_prior: np.ndarray
    aggregate_kl_from_prior: float
    bayes_accuracy: Estimate
    chance: float
    information: Estimate

    def __str__(self) -> str:
        apart = self.symmetric_kl[np.triu_indices(len(self.classes), 1)]
        shared = self.overlap[np.triu_indices(len(self.classes), 1)]
        lines = [
            f"KL of the classes from N(0, I): {self.kl_from_prior.mean():.3f} nats on average, of all codes together "
            f"{self.aggregate_kl_from_prior:.3f}",
            f"Bayes rule of these Gaussians: {self.bayes_accuracy / 0.01:.1f} % correct, "
            f"chance {100 * self.chance:.1f} %",
            f"information between code and class: {self.information:.3f} nats at least",
        ]
        if len(apart):
            lines.insert(
                0,
                f"two classes: symmetric KL {apart.min():.2f} to {apart.max():.2f} nats, overlap "
                f"{shared.min():.3f} to {shared.max():.3f}",
            )
        return "\n".join(lines)


@checked
def compare_classes(codes: Codes, gaussians: ClassGaussians, *, draws: Count = 4000, seed: Seed = 0) -> ClassComparison:
    """Compare the Gaussians of a set of codes with each other and with the standard Normal.

    Args:
        codes: Codes to classify; for an unbiased accuracy, of other images than the Gaussians were estimated from.
        gaussians: The class Gaussians.
        draws: Draws from each Gaussian for the overlaps.
        seed: Seed of these draws.

    Raises:
        ValueError: If no code belongs to one of the classes.
    """
    own = codes.take(np.flatnonzero(np.isin(codes.labels, gaussians.classes)))
    if not len(own):
        raise ValueError("none of the codes is of one of the classes that are compared")
    kl = _of_pairs(gaussian_kl, gaussians)
    standard = np.zeros(codes.latent_dim), np.eye(codes.latent_dim)
    moments = zip(gaussians.means, gaussians.covariances, strict=True)
    accuracy, chance, information = _bayes_rule(own, gaussians)
    return ClassComparison(
        classes=gaussians.classes,
        bhattacharyya=_of_pairs(bhattacharyya, gaussians),
        symmetric_kl=kl + kl.T,
        overlap=_overlaps(gaussians, draws, seed),
        kl_from_prior=np.array([gaussian_kl(mean, covariance, *standard) for mean, covariance in moments]),
        aggregate_kl_from_prior=gaussian_kl(*own.aggregate(), *standard),
        bayes_accuracy=accuracy,
        chance=chance,
        information=information,
    )


def _bayes_rule(codes: Codes, gaussians: ClassGaussians) -> tuple[Estimate, float, Estimate]:
    """Accuracy of the most probable class at the drawn codes, chance, and the information about the class."""
    from scipy.special import log_softmax

    share = gaussians.counts / gaussians.counts.sum()
    posterior = log_softmax(gaussians.log_densities(codes.draws) + np.log(share), axis=1)
    order = np.argsort(gaussians.classes)
    truth = order[np.searchsorted(gaussians.classes, codes.labels, sorter=order)]
    gain = posterior[np.arange(len(truth)), truth] - np.log(share[truth])
    chance = float(np.bincount(truth).max() / len(truth))
    return Estimate.mean_of(posterior.argmax(1) == truth), chance, Estimate.mean_of(gain, "nats")


def _of_pairs(distance: Callable[..., float], gaussians: ClassGaussians) -> np.ndarray:
    """A distance of every ordered pair of the Gaussians, (classes, classes)."""
    moments = list(zip(gaussians.means, gaussians.covariances, strict=True))
    return np.array([[distance(*one, *other) for other in moments] for one in moments])


def gaussian_kl(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """KL(N(mean, covariance), N(other_mean, other)) in nats."""
    trace = np.trace(np.linalg.solve(other, covariance))
    distance = mahalanobis_squared(np.atleast_2d(mean), other_mean, other)[0]
    logs = np.linalg.slogdet(other)[1] - np.linalg.slogdet(covariance)[1]
    return float((trace + distance - len(mean) + logs) / 2)


def bhattacharyya(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """Bhattacharyya distance of two Gaussians, -log ∫ sqrt(p q)."""
    middle = (covariance + other) / 2
    logs = np.linalg.slogdet(middle)[1] - (np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(other)[1]) / 2
    return float(mahalanobis_squared(np.atleast_2d(mean), other_mean, middle)[0] / 8 + logs / 2)


def _overlaps(gaussians: ClassGaussians, draws: int, seed: int) -> np.ndarray:
    """∫ min(p_a, p_b) = E_a[min(1, p_b / p_a)], averaged over draws from a and from b."""
    rng = np.random.default_rng(seed)
    one_way = []
    for a, (mean, covariance) in enumerate(zip(gaussians.means, gaussians.covariances, strict=True)):
        points = rng.multivariate_normal(mean, covariance, size=draws, method="cholesky")
        logs = gaussians.log_densities(points)
        one_way.append(np.exp(np.minimum(0, logs - logs[:, [a]])).mean(0))
    both = np.array(one_way)
    return (both + both.T) / 2


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


@dataclass(frozen=True, eq=False)
class Agreement:
    """Whether two sets of images give the same class Gaussians.

    Attributes:
        classes: Labels, (classes,).
        symmetric_kl: Symmetric KL between the two Gaussians of each class, nats, (classes,).
        mean_z: Largest difference of the components of the means, in standard errors, (classes,).
        covariance_z: Largest difference of the entries of the covariances, in standard errors, (classes,).
        p_value: Probability of a largest difference of this size if both sets come from one population (two-sided
            normal tails with Bonferroni's correction, which is conservative).
    """

    classes: np.ndarray
    symmetric_kl: np.ndarray
    mean_z: np.ndarray
    covariance_z: np.ndarray
    p_value: float

    def __str__(self) -> str:
        verdict = "differ" if self.p_value < 0.01 else "no difference beyond sampling error"
        return (
            f"{verdict}: symmetric KL of a class with itself up to {self.symmetric_kl.max():.4f} nats, largest "
            f"difference {max(self.mean_z.max(), self.covariance_z.max()):.1f} standard errors, p {_p(self.p_value)}"
        )


@checked
def agreement(first: ClassGaussians, second: ClassGaussians) -> Agreement:
    """Compare the Gaussians that two sets of images give, class by class, with their bootstrap errors.

    Raises:
        ValueError: If their classes differ, or they have no standard errors.
    """
    if not np.array_equal(first.classes, second.classes):
        raise ValueError(f"two sets of the same classes can be compared, got {first.classes} and {second.classes}")
    if np.isnan(first.mean_errors).any() or np.isnan(second.mean_errors).any():
        raise ValueError("comparing two sets needs standard errors: estimate both with bootstrap above 0")

    def z(name: str) -> np.ndarray:
        error = np.hypot(getattr(first, f"{name[:-1]}_errors"), getattr(second, f"{name[:-1]}_errors"))
        return np.abs(getattr(first, name) - getattr(second, name)) / error

    from scipy.special import ndtr

    mean_z, covariance_z = z("means"), z("covariances")
    rows = zip(first.means, first.covariances, second.means, second.covariances, strict=True)
    symmetric = [gaussian_kl(m, c, n, d) + gaussian_kl(n, d, m, c) for m, c, n, d in rows]
    dim = first.means.shape[1]
    tests = mean_z.size + len(covariance_z) * dim * (dim + 1) // 2
    largest = max(mean_z.max(), covariance_z.max())
    return Agreement(
        classes=first.classes,
        symmetric_kl=np.array(symmetric),
        mean_z=mean_z.max(1),
        covariance_z=covariance_z.max((1, 2)),
        p_value=float(min(1.0, tests * 2 * ndtr(-largest))),
    )
