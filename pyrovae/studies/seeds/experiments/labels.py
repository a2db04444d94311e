"""Claim 10: a data set with many labels, which the fifth document proposes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.data import ImageSet
from pyrovae.estimates import Estimate
from pyrovae.latent import Codes, class_ellipses, class_gaussians, compare_classes, encode, lda_plane
from pyrovae.plots import new_figure, plot_ellipses
from pyrovae.runs.loading import open_run
from pyrovae.studies.seeds.budgets import Budget
from pyrovae.studies.seeds.claims import Decision, Statement, above
from pyrovae.studies.seeds.study import Experiment, Picture, Study

RUN = "many-labels-10d"


@dataclass(frozen=True)
class Labels:
    """Measurements of the classes of a data set with many labels.

    Attributes:
        classes: Number of classes.
        bayes: Accuracy of the Bayes rule of their Gaussians on test codes.
        chance: Share of the most frequent class.
    """

    classes: int
    bayes: Estimate
    chance: float


CLAIMS: tuple[Statement[Labels], ...] = (
    Statement(
        "10",
        "fifth document",
        "A data set with many labels (EMNIST, 47 classes, or without it 62 characters of installed fonts) goes "
        "through the same pipeline, its classes apart.",
        "Share of test codes of {found.classes} classes classified correctly by the Bayes rule of their Gaussians",
        "Above ten times chance.",
        lambda found: Decision(
            f"{found.bayes.percent}; chance {100 * found.chance:.1f} %",
            above(found.bayes, 10 * found.chance),
            {"Bayes accuracy": found.bayes},
        ),
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


def encoded(study: Study) -> dict[str, Codes]:
    """Codes of the training and the test images."""
    run = open_run(study.folder(RUN), study.runs.data_dir)
    return {name: encode(run.model, run.split(name)) for name in ("train", "test")}


def measure(study: Study) -> Labels:
    """Classify the test codes by the Gaussians of the training codes."""
    codes = study.once(encoded)
    compared = compare_classes(codes["test"], class_gaussians(codes["train"], bootstrap=0))
    return Labels(_many(study).num_classes, compared.bayes_accuracy, compared.chance)


def draw(study: Study, found: Labels) -> list[Picture]:
    """The ellipses of all classes."""
    test = study.once(encoded)["test"]
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
    return [picture]


def needs(budget: Budget) -> list[str]:
    """The VAE of the set of many labels."""
    return [] if budget.many_labels is None else [RUN]


EXPERIMENT = Experiment(10, "Many labels", needs, measure, CLAIMS, draw, missing)
