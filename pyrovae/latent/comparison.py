"""How different are the classes, from each other and from the prior? Numbers with their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.checks import Count, Seed, checked
from pyrovae.latent.codes import Codes
from pyrovae.latent.gaussians import ClassGaussians, mahalanobis_squared


@dataclass(frozen=True, eq=False)
class ClassComparison:
    """How far apart class Gaussians are; everything in nats unless it says otherwise.

    Attributes:
        classes: Labels, (classes,).
        bhattacharyya: Bhattacharyya distance of each pair, (classes, classes).
        symmetric_kl: KL(a, b) + KL(b, a) of each pair, (classes, classes).
        overlap: Probability mass that two Gaussians share, ∫ min(p_a, p_b), of each pair, (classes, classes).
        kl_from_prior: KL of each class's Gaussian from the standard Normal, (classes,).
        aggregate_kl_from_prior: KL of the Gaussian with the moments of all codes together from the standard Normal.
        bayes_accuracy: Share of draws from posteriors that the Bayes rule of these Gaussians gives the right class.
        bayes_accuracy_error: Its standard error.
        chance: Accuracy of always naming the most frequent class.
        information: Mutual information of code and class by these Gaussians, log p(y | z) - log p(y) over the draws:
            a lower bound of the true one.
        information_error: Its standard error.
    """

    classes: np.ndarray
    bhattacharyya: np.ndarray
    symmetric_kl: np.ndarray
    overlap: np.ndarray
    kl_from_prior: np.ndarray
    aggregate_kl_from_prior: float
    bayes_accuracy: float
    bayes_accuracy_error: float
    chance: float
    information: float
    information_error: float

    def __str__(self) -> str:
        apart = self.symmetric_kl[np.triu_indices(len(self.classes), 1)]
        shared = self.overlap[np.triu_indices(len(self.classes), 1)]
        lines = [
            f"KL of the classes from N(0, I): {self.kl_from_prior.mean():.3f} nats on average, of all codes together "
            f"{self.aggregate_kl_from_prior:.3f}",
            f"Bayes rule of these Gaussians: {100 * self.bayes_accuracy:.1f} ± {100 * self.bayes_accuracy_error:.1f} % "
            f"right, chance {100 * self.chance:.1f} %",
            f"information between code and class: {self.information:.3f} ± {self.information_error:.3f} nats at least",
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
        codes: Codes to classify; those of other images than the Gaussians come from give an honest accuracy.
        gaussians: The class Gaussians.
        draws: Draws from each Gaussian for the overlaps.
        seed: Seed of these draws.

    Raises:
        ValueError: If no code is of one of the classes.
    """
    own = codes.take(np.flatnonzero(np.isin(codes.labels, gaussians.classes)))
    if not len(own):
        raise ValueError("none of the codes is of one of the classes that are compared")
    from scipy.special import logsumexp

    means, covariances = gaussians.means, gaussians.covariances
    pairs = range(len(means))
    kl = np.array([[gaussian_kl(means[a], covariances[a], means[b], covariances[b]) for b in pairs] for a in pairs])
    distance = np.array(
        [[bhattacharyya(means[a], covariances[a], means[b], covariances[b]) for b in pairs] for a in pairs]
    )
    standard = np.zeros(codes.latent_dim), np.eye(codes.latent_dim)

    share = gaussians.counts / gaussians.counts.sum()
    joint = gaussians.log_densities(own.draws) + np.log(share)
    order = np.argsort(gaussians.classes)
    truth = order[np.searchsorted(gaussians.classes, own.labels, sorter=order)]
    posterior = joint - logsumexp(joint, 1, keepdims=True)
    right = joint.argmax(1) == truth
    gain = np.take_along_axis(posterior, truth[:, None], 1)[:, 0] - np.log(share[truth])
    return ClassComparison(
        classes=gaussians.classes,
        bhattacharyya=distance,
        symmetric_kl=kl + kl.T,
        overlap=_overlaps(gaussians, draws, seed),
        kl_from_prior=np.array([gaussian_kl(means[a], covariances[a], *standard) for a in pairs]),
        aggregate_kl_from_prior=gaussian_kl(*own.aggregate(), *standard),
        bayes_accuracy=float(right.mean()),
        bayes_accuracy_error=_standard_error(right),
        chance=float(np.bincount(truth).max() / len(truth)),
        information=float(gain.mean()),
        information_error=_standard_error(gain),
    )


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
    """∫ min(p_a, p_b) = E_a[min(1, p_b / p_a)], averaged over the two ways to draw."""
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


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


@dataclass(frozen=True, eq=False)
class Agreement:
    """Whether two sets of images give the same class Gaussians.

    Attributes:
        classes: Labels, (classes,).
        symmetric_kl: Between the two Gaussians of each class, nats, (classes,).
        mean_z: Largest difference of a mean's components, in standard errors, (classes,).
        covariance_z: The same of a covariance's entries, (classes,).
        p_value: Probability that the largest difference of all would be as large if the sets were of one population
            (two-sided normal tails with Bonferroni's bound, so rather too large than too small).
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
        ValueError: If they are not of the same classes, or have no standard errors.
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
