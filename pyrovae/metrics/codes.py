"""How well codes tell classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.checks import Count, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.estimates import Estimate
from pyrovae.latent import Codes

LABELS = (100, 600, 1000)
"""Numbers of labelled images for the accuracy of codes."""


@dataclass(frozen=True)
class CodeAccuracy:
    """Accuracy of classifiers of posterior means on test images, each with its standard error.

    Attributes:
        neighbours: Of the k nearest neighbours, by number of labelled images.
        linear: Of logistic regression, by number of labelled images.
        k: Number of neighbours.
    """

    neighbours: dict[int, Estimate]
    linear: dict[int, Estimate]
    k: int


@checked
def code_accuracy(
    train: Codes, test: Codes, labels: Sequence[int] = LABELS, *, k: Count = 5, repeats: Count = 5, seed: Seed = 0
) -> CodeAccuracy:
    """Classify test images by their posterior means, from a few labelled training images.

    The error is that of the mean over draws of the labelled images, and of the test images as a sample.

    Args:
        train: Codes of training images.
        test: Codes of test images.
        labels: Numbers of labelled training images; those that there are not are left out.
        k: Neighbours that vote.
        repeats: Draws of the labelled images.
        seed: Seed of these draws.

    Raises:
        ValueError: If there are fewer training images than the smallest number of labels.
    """
    # Not with the module: scikit-learn takes a second that a training has no need of.
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = [n for n in labels if n <= len(train)]
    if not labels:
        raise NotApplicable(f"there are only {len(train)} training images, fewer than any number of labels asked for")
    rng = np.random.default_rng(seed)
    found: dict[str, dict[int, Estimate]] = {"neighbours": {}, "linear": {}}
    for n in labels:
        rights: dict[str, list[float]] = {"neighbours": [], "linear": []}
        for _ in range(repeats):
            some = train.take(rng.choice(len(train), n, replace=False))
            nearest = KNeighborsClassifier(k).fit(some.means, some.labels)
            linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(some.means, some.labels)
            rights["neighbours"].append(nearest.score(test.means, test.labels))
            rights["linear"].append(linear.score(test.means, test.labels))
        for name, values in rights.items():
            mean = float(np.mean(values))
            scatter = np.std(values, ddof=1) / np.sqrt(repeats) if repeats > 1 else 0.0
            found[name][n] = Estimate(mean, float(np.hypot(scatter, Estimate.share(mean, len(test)).sampling)))
    return CodeAccuracy(found["neighbours"], found["linear"], k)
