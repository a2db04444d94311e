"""Claim 10: the fifth document's wish, a data set with many labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import class_ellipses, class_gaussians, compare_classes, encode, lda_plane
from pyrovae.plots import new_figure, plot_ellipses
from pyrovae.runs.loading import open_run
from pyrovae.studies.seeds.budgets import MANY_LABELS, Budget
from pyrovae.studies.seeds.claims import Claim, above, skipped
from pyrovae.studies.seeds.study import Experiment, Picture, Study

RUN = "emnist-10d"
WORDS = (
    "10",
    "fifth document",
    "A data set with many labels (EMNIST, 47 classes) goes through the same pipeline, its classes apart.",
)


@dataclass(frozen=True)
class Labels:
    """What was measured of the classes of a set of many labels.

    Attributes:
        classes: Number of classes.
        bayes: Accuracy of the Bayes rule of their Gaussians on test codes.
        chance: Share of the most frequent class.
    """

    classes: int
    bayes: Estimate
    chance: float


def decide(found: Labels) -> list[Claim]:
    """The claim on many labels."""
    return [
        Claim(
            *WORDS,
            f"Share of test codes of {found.classes} classes classified correctly by the Bayes rule of their Gaussians",
            "Above ten times chance.",
            f"{found.bayes.percent}; chance {100 * found.chance:.1f} %",
            above(found.bayes, 10 * found.chance),
            values={"Bayes accuracy": found.bayes},
        )
    ]


def investigate(study: Study) -> tuple[list[Claim], list[Picture]]:
    """Measure, decide and draw, where the files are at hand."""
    if not study.budget.many_labels:
        return [skipped(WORDS, f"Not part of the budget {study.budget.name}.")], []
    if not study.runs.at_hand(MANY_LABELS):
        return [skipped(WORDS, "Its files are not at hand; see --data_dir.")], []
    run = open_run(study.folder(RUN), study.runs.data_dir)
    few = {name: run.split(name) for name in ("train", "test")}
    codes = {name: encode(run.model, split) for name, split in few.items()}
    compared = compare_classes(codes["test"], class_gaussians(codes["train"], bootstrap=0))
    found = Labels(
        run.data.num_classes, Estimate(compared.bayes_accuracy, compared.bayes_accuracy_error), compared.chance
    )
    plane = lda_plane(codes["test"])
    seen = codes["test"].project(plane.axes)
    figure, (ax,) = new_figure(9, 7)
    ellipses = class_ellipses(seen, class_gaussians(seen, bootstrap=0), [0.5])
    plot_ellipses(ellipses, run.data.class_names, ax, names=plane.names)
    ax.set_title(f"{len(np.unique(seen.labels))} classes, the plane that separates them best")
    picture = Picture(
        "many-labels",
        figure,
        "Ellipses of 50 % of each class of EMNIST, in the plane that separates the classes best (10-D VAE).",
        "Forty-seven ellipses in their colours.",
    )
    return decide(found), [picture]


def needs(budget: Budget) -> list[str]:
    """The VAE of EMNIST."""
    return [RUN] if budget.many_labels else []


EXPERIMENT = Experiment(10, "Many labels", needs, investigate)
