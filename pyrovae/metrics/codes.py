"""Accuracy of classifiers of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.checks import Count, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.estimates import Estimate
from pyrovae.latent import Codes

LABELS = (100, 600, 1000)
"""Default numbers of labelled images."""


@dataclass(frozen=True)
class CodeAccuracy:
    """Accuracy of classifiers of posterior means on test images.

    Attributes:
        neighbours: Accuracy of the k nearest neighbours, by number of labelled images.
        linear: Accuracy of logistic regression, by number of labelled images.
        k: Number of neighbours.
    """

    neighbours: dict[int, Estimate]
    linear: dict[int, Estimate]
    k: int


@checked
def code_accuracy(
    train: Codes, test: Codes, labels: Sequence[int] = LABELS, *, k: Count = 5, repeats: Count = 5, seed: Seed = 0
) -> CodeAccuracy:
    """Classify test images by their posterior means, given a few labelled training images.

    The error covers the draw of the labelled images and of the test images.

    Args:
        train: Codes of training images.
        test: Codes of test images.
        labels: Numbers of labelled training images. Numbers above the number of training images are left out.
        k: Number of neighbours.
        repeats: Draws of the labelled images.
        seed: Seed of these draws.

    Raises:
        ValueError: If there are fewer training images than the smallest number of labels.
    """
    labels = [n for n in labels if n <= len(train)]
    if not labels:
        raise NotApplicable(f"there are only {len(train)} training images, fewer than any number of labels asked for")
    rng = np.random.default_rng(seed)
    neighbours, linear = {}, {}
    for n in labels:
        draws = (train.take(rng.choice(len(train), n, replace=False)) for _ in range(repeats))
        near, straight = zip(*(_accuracies(some, test, k) for some in draws), strict=True)
        neighbours[n], linear[n] = _mean_share(near, len(test)), _mean_share(straight, len(test))
    return CodeAccuracy(neighbours, linear, k)


def _accuracies(train: Codes, test: Codes, k: int) -> tuple[float, float]:
    """Accuracy of k nearest neighbours and of logistic regression."""
    # Imported here: scikit-learn takes a second, which a training need not wait for.
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    nearest = KNeighborsClassifier(k).fit(train.means, train.labels)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train.means, train.labels)
    return nearest.score(test.means, test.labels), linear.score(test.means, test.labels)


def _mean_share(shares: Sequence[float], images: int) -> Estimate:
    """Mean over draws of the labelled images. Its error combines their scatter and that of the test images."""
    mean = float(np.mean(shares))
    scatter = np.std(shares, ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else 0.0
    return Estimate(mean, float(np.hypot(scatter, Estimate.share(mean, images).sampling)))
