"""Claim 17: directions of the plane that mean a class, such as "four-ness"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import Codes, traverse
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, bootstrapped, every, over_seeds
from pyrovae.studies.seeds.experiments.ambiguity import auc
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

NAMED = (4, 1)
"""The document's two: "four-ness" and "one-ness"."""
SEPARATES = 0.9
"""Area under the ROC curve above which the place along a direction tells a class from all others."""
STEP = 2.0
"""How far codes are moved along a direction, in standard deviations of the prior."""
MOST = 0.5
DRAWS = 1000


@dataclass(frozen=True)
class Directions:
    """Measurements on the direction of each class.

    Attributes:
        areas: Area under the ROC curve by which the place of a test code along the direction tells the class.
        before: Share of draws from the prior that decode to the class.
        after: The same after they were moved along the direction.
    """

    areas: dict[int, Estimate]
    before: dict[int, Estimate]
    after: dict[int, Estimate]


def direction(codes: Codes, label: int) -> np.ndarray:
    """The unit vector along which logistic regression tells a class from all others, (latent_dim,)."""
    from sklearn.linear_model import LogisticRegression  # imported here: it takes a second

    weights = LogisticRegression(class_weight="balanced").fit(codes.means, codes.labels == label).coef_[0]
    return weights / np.linalg.norm(weights)


def _area(study: Study, name: str, label: int) -> Estimate:
    test = study.codes(name)
    places, own = test.means @ direction(study.codes(name, "train"), label), test.labels == label
    return bootstrapped(lambda index: auc(places[index], own[index]), len(places))


def _shares(study: Study, name: str, label: int) -> tuple[Estimate, Estimate]:
    """Share of draws that decode to the class, before and after the step."""
    draws = np.random.default_rng(label).standard_normal((DRAWS, 2))
    moved = draws + STEP * direction(study.codes(name, "train"), label)
    pictures = traverse(study.model(name), np.stack([draws, moved])).images
    seen = [predict_classes(study.classifier, row).labels == label for row in pictures]
    return Estimate.mean_of(seen[0]), Estimate.mean_of(seen[1])


def measure(study: Study) -> Directions:
    """Measure the direction of each class in every seed's plane."""
    names, labels = study.seeded("vae-2d"), range(study.data.num_classes)
    shares = {k: [_shares(study, name, k) for name in names] for k in labels}
    return Directions(
        areas={k: over_seeds([_area(study, name, k) for name in names]) for k in labels},
        before={k: over_seeds([before for before, _ in rows]) for k, rows in shares.items()},
        after={k: over_seeds([after for _, after in rows]) for k, rows in shares.items()},
    )


def _separates(found: Directions, labels: tuple[int, ...]) -> Decision:
    return Decision(
        ", ".join(f"{k}: {found.areas[k]}" for k in labels),
        every(*(above(found.areas[k], SEPARATES) for k in labels)),
        {f"area, {k}": found.areas[k] for k in labels},
    )


def _makes(found: Directions) -> Decision:
    others = [k for k in found.after if k not in NAMED]
    return Decision(
        ", ".join(f"{k}: {found.after[k].percent}, before {found.before[k].percent}" for k in NAMED),
        every(*(above(found.after[k], MOST) for k in NAMED)),
        {f"after, {k}": found.after[k] for k in NAMED},
        "The others: " + ", ".join(f"{k}: {found.after[k].percent}" for k in others) + ".",
    )


AREA = (
    "Area under the ROC curve by which the place of test codes along the direction, found on training codes by "
    "logistic regression, tells the class from all others (n = 2)"
)

CLAIMS: tuple[Statement[Directions], ...] = (
    Statement(
        "17a",
        "fifth document",
        "The plane has a direction for four-ness and one for one-ness.",
        AREA,
        f"Above {SEPARATES} for the 4 and for the 1.",
        lambda found: _separates(found, NAMED),
    ),
    Statement(
        "17b",
        "fifth document",
        "And so on: it has a direction for every digit.",
        AREA,
        f"Above {SEPARATES} for every class.",
        lambda found: _separates(found, tuple(found.areas)),
    ),
    Statement(
        "17c",
        "fifth document",
        "Codes that move along the direction of four-ness turn into 4s, and along that of one-ness into 1s.",
        f"Share of draws from the prior that decode to the class after a step of {STEP:g} along its direction",
        f"Above {100 * MOST:.0f} % for both.",
        _makes,
    ),
)


def draw(study: Study, found: Directions) -> list[Picture]:
    """The way along each direction, and the shares before and after."""
    name = study.seeded("vae-2d")[0]
    places = np.linspace(-3, 3, 13)
    classes = list(found.areas)[:10]
    ways = np.stack([places[:, None] * direction(study.codes(name, "train"), k) for k in classes])
    figure, axes = new_figure(12.5, 4.6, columns=2)
    names = [str(study.data.class_names[k]) for k in classes]
    marks = [f"{place:g}" if k % 2 == 0 else "" for k, place in enumerate(places)]
    plot_image_grid(traverse(study.model(name), ways).images, axes[0], row_labels=names, column_labels=marks)
    axes[0].set_title("through the origin along the direction of each class")
    for curve, values in (("before", found.before), ("after the step", found.after)):
        draw_values({study.data.class_names[k]: values[k] for k in classes}, axes[1], "share of the class", name=curve)
    for line in axes[1].lines:
        line.set_linestyle("")
    axes[1].legend(frameon=False)
    axes[1].set(xlabel="class", ylim=(-0.03, 1.03))
    return [
        Picture(
            "directions",
            figure,
            "What the plane decodes to along the direction that tells each class from all others; and the share of "
            f"draws from the prior that decode to the class, before and after a step of {STEP:g} along it.",
            "Ten rows of pictures that turn into their digit towards the right where it lies at the edge of the plane; "
            "and two points for each class.",
        )
    ]


def needs(budget: Budget) -> list[str]:
    """The 2-D VAE of every seed."""
    return seeded_names(budget, "vae-2d")


EXPERIMENT = Experiment(17, "Directions that mean a class", needs, measure, CLAIMS, draw)
