"""Claim 10: a data set with many labels, which the fifth document proposes, and what more dimensions buy there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.data import ImageSet
from pyrovae.estimates import Estimate
from pyrovae.latent import Codes, class_ellipses, class_gaussians, compare_classes, encode, lda_plane, reconstruct
from pyrovae.plots import new_figure, plot_ellipses
from pyrovae.runs.loading import open_run
from pyrovae.studies.seeds.budgets import MANY_LABELS_DIMS, Budget, many_labels_name, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, every
from pyrovae.studies.seeds.experiments.dimensions import DIMS, Dimensions
from pyrovae.studies.seeds.experiments.dimensions import measure as measure_dimensions
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

MIDDLE = MANY_LABELS_DIMS[1]


@dataclass(frozen=True)
class Labels:
    """Measurements of the classes of a data set with many labels.

    Attributes:
        classes: Number of classes.
        bayes: Accuracy of the Bayes rule of their Gaussians on test codes, by number of latent dimensions.
        chance: Share of the most frequent class.
        squared_error: Of reconstructions of test images, summed over the pixels, by number of latent dimensions.
        gains: Gain in squared error from 10 to 20 dimensions over that from 2 to 10.
        gains_of_digits: The same of the digits.
    """

    classes: int
    bayes: dict[int, Estimate]
    chance: float
    squared_error: dict[int, Estimate]
    gains: Estimate
    gains_of_digits: Estimate


def gains(error: dict[int, Estimate]) -> Estimate:
    """Gain from 10 to 20 dimensions over that from 2 to 10."""
    few, middle, many = (error[d] for d in MANY_LABELS_DIMS)
    return (middle - many) / (few - middle)


def _come_apart(found: Labels) -> Decision:
    few, middle, many = (found.bayes[d] for d in MANY_LABELS_DIMS)
    return Decision(
        ", ".join(f"n = {d}: {value.percent}" for d, value in found.bayes.items()),
        every(above(middle - few, 0), above(many - middle, 0)),
        {f"Bayes accuracy, n = {d}": value for d, value in found.bayes.items()},
    )


CLAIMS: tuple[Statement[Labels], ...] = (
    Statement(
        "10a",
        "fifth document",
        "A data set with many labels (EMNIST, 47 classes, or without it 62 characters of installed fonts) goes "
        "through the same pipeline, its classes apart.",
        "Share of test codes of {found.classes} classes classified correctly by the Bayes rule of their Gaussians",
        "Above ten times chance.",
        lambda found: Decision(
            f"{found.bayes[MIDDLE].percent}; chance {100 * found.chance:.1f} %",
            above(found.bayes[MIDDLE], 10 * found.chance),
            {"Bayes accuracy": found.bayes[MIDDLE]},
        ),
    ),
    Statement(
        "10b",
        "fifth document",
        "With many labels, more latent dimensions have a larger effect than with ten digits: on reconstructions.",
        "Gain in squared error from 10 to 20 dimensions over that from 2 to 10, beside that of the digits",
        "Larger than the digits' by more than two standard errors.",
        lambda found: Decision(
            f"{found.gains}, digits {found.gains_of_digits}",
            above(found.gains - found.gains_of_digits, 0),
            {"many labels": found.gains, "digits": found.gains_of_digits},
            "Squared errors: " + ", ".join(f"n = {d}: {v}" for d, v in found.squared_error.items()) + ".",
        ),
    ),
    Statement(
        "10c",
        "fifth document",
        "With many labels, more latent dimensions have an effect: the classes come further apart.",
        "Share of test codes classified correctly by the Bayes rule of the class Gaussians, by number of dimensions",
        "It rises from 2 to 10 and from 10 to 20 by more than two standard errors.",
        _come_apart,
    ),
)


def missing(study: Study) -> str:
    """The reason why there is nothing to measure, or ""."""
    name = study.budget.many_labels
    if name is None:
        return f"Not part of the budget {study.budget.name}."
    return "" if study.runs.at_hand(name) else "Neither EMNIST's files nor enough fonts are at hand; see --data_dir."


def _many(study: Study) -> ImageSet:
    """The set of many labels, where there is one."""
    assert study.budget.many_labels is not None
    return study.runs.data(study.budget.many_labels)


def encoded(study: Study) -> dict[int, dict[str, Codes]]:
    """Codes of the training and the test images, by number of latent dimensions."""
    runs = {d: open_run(study.folder(many_labels_name(d)), study.runs.data_dir) for d in MANY_LABELS_DIMS}
    return {d: {name: encode(run.model, run.split(name)) for name in ("train", "test")} for d, run in runs.items()}


def _squared_error(study: Study, dim: int) -> Estimate:
    run = open_run(study.folder(many_labels_name(dim)), study.runs.data_dir)
    pairs = reconstruct(run.model, run.split("test"))
    return Estimate.mean_of(np.square(pairs.outputs - pairs.inputs).sum((1, 2, 3)))


def measure(study: Study) -> Labels:
    """Classify the test codes by the Gaussians of the training codes, and compare the reconstructions."""
    codes = study.once(encoded)
    compared = {
        d: compare_classes(found["test"], class_gaussians(found["train"], bootstrap=0), draws=100)
        for d, found in codes.items()
    }
    error = {d: _squared_error(study, d) for d in MANY_LABELS_DIMS}
    digits: Dimensions = study.once(measure_dimensions)
    return Labels(
        classes=_many(study).num_classes,
        bayes={d: found.bayes_accuracy for d, found in compared.items()},
        chance=compared[MIDDLE].chance,
        squared_error=error,
        gains=gains(error),
        gains_of_digits=gains(digits.squared_error),
    )


def draw(study: Study, found: Labels) -> list[Picture]:
    """The ellipses of all classes, and the numbers over the dimensions."""
    test = study.once(encoded)[MIDDLE]["test"]
    plane = lda_plane(test)
    seen = test.project(plane.axes)
    figure, (ax,) = new_figure(9, 7)
    ellipses = class_ellipses(seen, class_gaussians(seen, bootstrap=0), [0.5])
    plot_ellipses(ellipses, _many(study).class_names, ax, names=plane.names)
    ax.set_title(f"{len(np.unique(seen.labels))} classes, the plane that separates them best")
    picture = Picture(
        "many-labels",
        figure,
        f"Ellipses of 50 % of each class of {_many(study).name}, in the plane that separates them best (10-D VAE).",
        f"{found.classes} ellipses in their colours.",
    )
    figure, axes = new_figure(8, 3.2, columns=2)
    draw_values(found.squared_error, axes[0], "squared error, summed over pixels")
    draw_values(found.bayes, axes[1], "accuracy of the Bayes rule")
    for ax in axes:
        ax.set_xlabel("latent dimensions n")
    numbers = Picture(
        "many-labels-numbers",
        figure,
        f"{_many(study).name}: error of reconstructions, and how far the classes are apart, over the dimensions.",
        "Two curves over 2, 10 and 20 dimensions: the error falls, the accuracy rises.",
    )
    return [picture, numbers]


def needs(budget: Budget) -> list[str]:
    """The VAEs of the set of many labels, and those of the digits that they are compared with."""
    if budget.many_labels is None:
        return []
    digits = [name for d in DIMS for name in seeded_names(budget, f"vae-{d}d")]
    return [*map(many_labels_name, MANY_LABELS_DIMS), *digits]


EXPERIMENT = Experiment(10, "Many labels", needs, measure, CLAIMS, draw, missing)
