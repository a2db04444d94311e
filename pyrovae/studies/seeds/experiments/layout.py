"""Claim 2: the layout of the classes in the plane of a plain VAE."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import (
    MASSES,
    Codes,
    class_ellipses,
    class_gaussians,
    compare_classes,
    decode_manifold,
    ellipse,
)
from pyrovae.latent.comparison import agreement, gaussian_kl
from pyrovae.latent.gaussians import Moments
from pyrovae.plots import Axes, new_figure, plot_codes, plot_ellipses, plot_manifold
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, bootstrapped, every, over_seeds
from pyrovae.studies.seeds.study import Experiment, Picture, Study

NEAR = 0.1
"""KL from N(0, I), nats, below which a Gaussian is called near it."""
SHARED = 0.1
"""Overlap above which two classes are called overlapping."""
LEVEL, SMALL = 0.01, 0.1
SAME = f"No difference but that of samples of one population (p above {LEVEL}), or a small one (ratio below {SMALL})."


@dataclass(frozen=True)
class Layout:
    """Measurements of the classes in a plane.

    Attributes:
        bayes: Share of test codes whose class the Bayes rule of the class Gaussians classifies correctly.
        chance: Share of the most frequent class.
        overlapping: Share of the pairs of classes that overlap.
        aggregate_kl: KL of the Gaussian of all codes from N(0, I), nats.
        nearest_kl: The same of the class that is nearest to N(0, I).
        mean_kl: The same, averaged over the classes.
        halves: Largest symmetric KL of a class between two halves of the test images, over the median between two
            classes.
        halves_p: Smallest p-value of the seeds that the two halves are of one population.
        train_test: The same ratio between train and test images.
        train_test_p: The same p-value.
        coverage: Share of a class's posterior mass inside of its ellipse of 90 %, averaged over classes.
        averaged_coverage: The same of the ellipses of averaged means and variances.
    """

    bayes: Estimate
    chance: float
    overlapping: Estimate
    aggregate_kl: Estimate
    nearest_kl: Estimate
    mean_kl: Estimate
    halves: Estimate
    halves_p: float
    train_test: Estimate
    train_test_p: float
    coverage: Estimate
    averaged_coverage: Estimate


def kl_from_prior(codes: Codes) -> float:
    """KL of the Gaussian with the moments of the codes' aggregate posterior from N(0, I), nats."""
    return gaussian_kl(*codes.aggregate(), np.zeros(codes.latent_dim), np.eye(codes.latent_dim))


def kl_of_classes(codes: Codes) -> list[Estimate]:
    """The same of each class, with bootstrap errors."""
    found = []
    for label in np.unique(codes.labels):
        own = codes.of_class(label)
        found.append(bootstrapped(partial(_kl_of_some, own), len(own)))
    return found


def _kl_of_some(codes: Codes, index: np.ndarray) -> float:
    return kl_from_prior(codes.take(index))


def coverage(codes: Codes, estimate: Moments) -> Estimate:
    """Mean coverage of the classes' ellipses of 90 %, its error the scatter over classes."""
    found = class_ellipses(codes, class_gaussians(codes, estimate=estimate, bootstrap=0), [0.9])
    inside = np.array([nested[0].coverage for nested in found.values()])
    return Estimate(float(inside.mean()), float(inside.std(ddof=1) / np.sqrt(len(inside))))


def same_picture(one: Codes, other: Codes, between: float) -> tuple[Estimate, float]:
    """Largest symmetric KL of a class between two sets, in units of `between`, and the p-value of no difference."""
    found = agreement(class_gaussians(one), class_gaussians(other))
    return Estimate(float(found.symmetric_kl.max()) / between), found.p_value


def measure(study: Study) -> Layout:
    """Measure every seed's plane."""
    rows = [measure_one(study, name) for name in study.seeded("vae-2d")]
    merged: dict[str, Any] = {}
    for field in fields(Layout):
        values = [getattr(row, field.name) for row in rows]
        merged[field.name] = over_seeds(values) if isinstance(values[0], Estimate) else _smallest(field.name, values)
    return Layout(**merged)


def _smallest(name: str, values: list[float]) -> float:
    """The smallest over seeds, by Bonferroni's bound where they are p-values."""
    return min(1.0, len(values) * min(values)) if name.endswith("_p") else min(values)


def measure_one(study: Study, name: str) -> Layout:
    """Measure one plane."""
    test, train = study.codes(name), study.codes(name, "train")
    gaussians = class_gaussians(train)
    compared = compare_classes(test, gaussians)
    pairs = np.triu_indices(len(gaussians.classes), 1)
    between = float(np.median(compared.symmetric_kl[pairs]))
    classes = kl_of_classes(test)
    even, odd = (test.take(np.arange(start, len(test), 2)) for start in (0, 1))
    halves, halves_p = same_picture(even, odd, between)
    across, across_p = same_picture(train, test, between)
    return Layout(
        bayes=compared.bayes_accuracy,
        chance=compared.chance,
        overlapping=Estimate(float((compared.overlap[pairs] > SHARED).mean())),
        aggregate_kl=bootstrapped(partial(_kl_of_some, test), len(test)),
        nearest_kl=min(classes, key=lambda value: value.value),
        mean_kl=Estimate(float(np.mean([value.value for value in classes]))),
        halves=halves,
        halves_p=halves_p,
        train_test=across,
        train_test_p=across_p,
        coverage=coverage(test, "aggregate"),
        averaged_coverage=coverage(test, "averaged"),
    )


def _same(ratio: Estimate, p: float) -> Decision:
    """Whether two sets of images give the same class Gaussians."""
    verdict = "holds" if p > LEVEL else below(ratio, SMALL)
    return Decision(f"{ratio}; p = {p:.2g}", verdict, {"ratio": ratio})


CLAIMS: tuple[Statement[Layout], ...] = (
    Statement(
        "2a",
        "first document",
        "VAE: each digit has its own place in the plane, even though several overlap.",
        "Share of test codes classified correctly by the Bayes rule of the class Gaussians",
        "Above one half.",
        lambda found: Decision(
            f"{found.bayes.percent}; chance {100 * found.chance:.1f} %",
            above(found.bayes, 0.5),
            {"Bayes accuracy": found.bayes},
        ),
    ),
    Statement(
        "2b",
        "first, second document",
        "Overlaps are local: a class meets its neighbours, not all others.",
        f"Share of the pairs of classes that share more than {100 * SHARED:.0f} % of their mass",
        "Below one third.",
        lambda found: Decision(
            found.overlapping.percent, below(found.overlapping, 1 / 3), {"overlapping pairs": found.overlapping}
        ),
    ),
    Statement(
        "2c",
        "first document",
        "All codes together are near N(0, I), and no class is.",
        "KL from N(0, I) of the Gaussian of all codes, and of the class that is nearest to it, nats",
        f"The first is below {NEAR}, the second above.",
        lambda found: Decision(
            f"{found.aggregate_kl} of all, {found.nearest_kl} of the nearest class; {found.mean_kl} on average",
            every(below(found.aggregate_kl, NEAR), above(found.nearest_kl, NEAR)),
            {"all codes": found.aggregate_kl, "nearest class": found.nearest_kl},
        ),
    ),
    Statement(
        "2d",
        "first document",
        "Two sets of digits give the same picture.",
        "Largest symmetric KL of a class between two halves of the test images, over the median between classes",
        SAME,
        lambda found: _same(found.halves, found.halves_p),
    ),
    Statement(
        "2e",
        "first document",
        "The test images paint the same picture as the training images.",
        "The same between training and test images",
        SAME,
        lambda found: _same(found.train_test, found.train_test_p),
    ),
    Statement(
        "2f",
        "first document",
        "Averaging the encoder's means and variances per class gives the class's distribution.",
        "Share of the class's posterior mass inside of the ellipse of 90 % that this average gives",
        "Between 80 and 100 %.",
        lambda found: Decision(
            f"{found.averaged_coverage.percent}; with the scatter of the means, {found.coverage.percent}",
            above(found.averaged_coverage, 0.8),
            {"averaged": found.averaged_coverage, "aggregate": found.coverage},
            "The average leaves out how far the images of a class lie apart: their aggregate posterior's covariance is "
            "the average covariance plus the covariance of the means.",
        ),
    ),
)


def draw_classes(study: Study, codes: Codes, ax: Axes, title: str, estimate: Moments = "aggregate") -> None:
    """Draw the ellipses of the classes in a plane, and the prior's."""
    found = class_ellipses(codes, class_gaussians(codes, estimate=estimate, bootstrap=0))
    prior = [ellipse(np.zeros(2), np.eye(2), mass) for mass in MASSES]
    plot_ellipses(found, study.data.class_names, ax, prior=prior)
    ax.set_title(title)


def draw(study: Study, found: Layout) -> list[Picture]:
    """The plane, the ellipses by both estimates, and those of other sets of images."""
    name = study.seeded("vae-2d")[0]
    test, train = study.codes(name), study.codes(name, "train")
    return [_plane(study, name, test), _both_estimates(study, test), _four_sets(study, test, train)]


def _plane(study: Study, name: str, test: Codes) -> Picture:
    figure, (left, right) = new_figure(13, 5.6, columns=2)
    plot_codes(test, study.data.class_names, left)
    left.set_title(f"posterior means of {len(test):,} test images")
    plot_manifold(decode_manifold(study.model(name)), right)
    right.set_title("the decoded plane")
    return Picture(
        "plane",
        figure,
        "The plane of a 2-D VAE: the posterior means of test images by class, and what its points decode to, at "
        "quantiles of the prior.",
        "Left, a scatter of codes in ten colours, each class in its own region. Right, a grid of decoded digits that "
        "turn smoothly into each other.",
    )


def _both_estimates(study: Study, test: Codes) -> Picture:
    figure, axes = new_figure(13, 5.6, columns=2)
    draw_classes(study, test, axes[0], "averaged means and variances, as the first document draws it", "averaged")
    draw_classes(study, test, axes[1], "aggregate posterior of each class")
    return Picture(
        "ellipses",
        figure,
        "Ellipses of equal probability, 50 and 90 %, of each class of the VAE (test images); dashed: the prior. The "
        "left ones leave out how far the images of a class lie apart.",
        "Ellipses of ten classes, each with its own centre; those of the aggregate posterior are much larger and "
        "overlap their neighbours.",
    )


def _four_sets(study: Study, test: Codes, train: Codes) -> Picture:
    figure, axes = new_figure(13, 10.6, columns=2, rows=2)
    sets = {
        "half of the training images": train.take(np.arange(0, len(train), 2)),
        "the other half": train.take(np.arange(1, len(train), 2)),
        "training images": train,
        "test images": test,
    }
    for ax, (title, codes) in zip(axes, sets.items(), strict=True):
        draw_classes(study, codes, ax, f"{len(codes):,} {title}" if title[0] != "t" or "images" in title else title)
    return Picture(
        "ellipses-of-sets",
        figure,
        "The same ellipses from two halves of the training images, from all of them, and from the test images.",
        "Four nearly equal pictures of the ellipses of ten classes.",
    )


def needs(budget: Budget) -> list[str]:
    """The 2-D VAE of every seed."""
    return seeded_names(budget, "vae-2d")


EXPERIMENT = Experiment(2, "Where the classes lie", needs, measure, CLAIMS, draw)
