"""Claim 3: the digits around the mean of a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import ClassGaussians, class_gaussians, compare_classes, grid_around, traverse
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_codes, plot_traversal
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, every, over_seeds
from pyrovae.studies.seeds.experiments.layout import draw_classes
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

DIGIT = 9
STEP = 0.5
"""Distance of neighbours on the grid, in units of the code."""
RINGS = 4
CLOSE = 0.05
"""Distance of neighbours on the small grid at a class mean, which reaches half a step far."""
ITS_NEIGHBOURS = (4, 7)
"""Neighbours of the 9 in the first document's plane that resemble a 9."""


@dataclass(frozen=True)
class Neighbours:
    """Measurements on grids around class means.

    Attributes:
        same: Share of the pictures that are still of the digit, by the ring of the grid around the mean of its class.
        at_mean: Share of the pictures of the digit less than half a step from the mean of its class, of each class.
        two_steps: The same on the second ring.
        predicted: Share of the pictures off the centre that the classifier gives the class that has the largest density
            there by the ellipses' Gaussians, of the pictures that are no more of the digit.
        shuffled: The same with the predictions shuffled among these pictures.
        nearest: The classes by their Bhattacharyya distance from the digit's, nearest first, averaged over seeds.
        around_all: `predicted` of the grids around all classes' means.
    """

    same: dict[int, Estimate]
    at_mean: dict[int, Estimate]
    two_steps: dict[int, Estimate]
    predicted: Estimate
    shuffled: Estimate
    nearest: tuple[int, ...]
    around_all: Estimate


def most_likely(gaussians: ClassGaussians, codes: np.ndarray) -> np.ndarray:
    """The class with the largest density times share at each code, (N,)."""
    return gaussians.classes[np.argmax(gaussians.log_densities(codes) + np.log(gaussians.counts), 1)]


def around(study: Study, name: str, digit: int, step: float = STEP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ring, classifier's class and predicted class of each picture on the grid around a class mean, each (N,)."""
    gaussians = class_gaussians(study.codes(name, "train"), bootstrap=0)
    size = 2 * RINGS + 1
    codes = grid_around(gaussians.means[digit], rows=size, columns=size, step=step)
    pictures = traverse(study.model(name), codes).images.reshape(-1, *study.images.shape[1:])
    row, column = np.indices((size, size)).reshape(2, -1) - RINGS
    return (
        np.maximum(abs(row), abs(column)),
        predict_classes(study.classifier, pictures).labels,
        most_likely(gaussians, codes.reshape(-1, 2)),
    )


def measure(study: Study) -> Neighbours:
    """Measure the grids of every seed's VAE."""
    names = study.seeded("vae-2d")
    rng = np.random.default_rng(0)
    same: dict[int, list[Estimate]] = {ring: [] for ring in range(RINGS + 1)}
    at_mean: dict[int, list[Estimate]] = {digit: [] for digit in range(study.data.num_classes)}
    two_steps: dict[int, list[Estimate]] = {digit: [] for digit in range(study.data.num_classes)}
    predicted, shuffled, everywhere, distances = [], [], [], []
    for name in names:
        ring, seen, expected = around(study, name, DIGIT)
        for r in same:
            same[r].append(Estimate(float((seen[ring == r] == DIGIT).mean())))
        other = seen != DIGIT
        hits = seen[other] == expected[other]
        predicted.append(Estimate.mean_of(hits) if other.sum() > 1 else Estimate(float("nan")))
        mixed = [np.mean(seen[other] == rng.permutation(expected[other])) for _ in range(200)]
        shuffled.append(Estimate(float(np.mean(mixed)), float(np.std(mixed))))
        grids = [around(study, name, digit) for digit in range(study.data.num_classes)]
        off = [(s[s != d], e[s != d]) for d, (_, s, e) in enumerate(grids)]
        for digit, (rings, labels, _) in enumerate(grids):
            close = around(study, name, digit, CLOSE)[1]
            at_mean[digit].append(Estimate(float((close == digit).mean())))
            two_steps[digit].append(Estimate(float((labels[rings == 2] == digit).mean())))
        everywhere.append(Estimate.mean_of(np.concatenate([s == e for s, e in off])))
        compared = compare_classes(study.codes(name), class_gaussians(study.codes(name, "train"), bootstrap=0))
        distances.append(compared.bhattacharyya[DIGIT])
    order = np.argsort(np.mean(distances, 0))
    return Neighbours(
        same={ring: over_seeds(values) for ring, values in same.items()},
        at_mean={digit: over_seeds(values) for digit, values in at_mean.items()},
        two_steps={digit: over_seeds(values) for digit, values in two_steps.items()},
        predicted=over_seeds(predicted),
        shuffled=over_seeds(shuffled),
        nearest=tuple(int(k) for k in order if k != DIGIT),
        around_all=over_seeds(everywhere),
    )


def _nearest(found: Neighbours) -> Decision:
    places = [found.nearest.index(digit) + 1 for digit in ITS_NEIGHBOURS]
    return Decision(
        "nearest first: " + ", ".join(map(str, found.nearest)),
        "holds" if max(places) <= 3 else "does not hold",
        remark="Where each lies is another with every training: a plane can be turned and mirrored.",
    )


def _begins_to_turn(found: Neighbours) -> Decision:
    """Averages over classes, whose scatter is the error: one picture at one mean cannot decide."""
    at_mean, two_steps = (
        Estimate.mean_of(np.array([value.value for value in values.values()]))
        for values in (found.at_mean, found.two_steps)
    )
    rings = ", ".join(f"ring {ring}: {value.percent}" for ring, value in found.same.items())
    return Decision(
        f"{at_mean.percent} at the mean, {two_steps.percent} two steps away; of the 9 {found.at_mean[DIGIT].percent} "
        f"and {found.two_steps[DIGIT].percent}",
        every(above(at_mean, 0.5), below(two_steps, 0.75), above(at_mean - two_steps, 0)),
        {"at the mean": at_mean, "two steps away": two_steps},
        f"9s on the rings around their mean: {rings}. The document does not say how long its steps are.",
    )


CLAIMS: tuple[Statement[Neighbours], ...] = (
    Statement(
        "3a",
        "first document",
        "From the mean of a digit (the document arbitrarily chose the 9), two steps away it begins to turn into its "
        "neighbours.",
        f"Share of pictures of the digit less than half a step from the mean of its class, and on the second ring of a "
        f"grid of step {STEP}, averaged over the classes",
        "More than half at the mean; less than there, and less than three quarters, two steps away.",
        _begins_to_turn,
    ),
    Statement(
        "3b",
        "first document",
        "It turns into those neighbours that the ellipses predict.",
        "Share of the pictures that are no 9s whose class is the one of the largest density by the class Gaussians",
        "Above one half, and above that of shuffled predictions.",
        lambda found: Decision(
            f"{found.predicted.percent}, shuffled {found.shuffled.percent}; around all classes "
            f"{found.around_all.percent}",
            every(above(found.predicted, 0.5), above(found.predicted - found.shuffled, 0)),
            {"predicted": found.predicted, "shuffled": found.shuffled, "all classes": found.around_all},
        ),
    ),
    Statement(
        "3c",
        "first document",
        "The 9's neighbours are the 7 and the 4 (and 8, 1 and 3).",
        "Order of the classes by their Bhattacharyya distance from the 9s",
        "4 and 7 are among the nearest three.",
        _nearest,
    ),
)


def draw(study: Study, found: Neighbours) -> list[Picture]:
    """The grid around the mean of the 9s, the plane around it, and the share of 9s by ring."""
    name = study.seeded("vae-2d")[0]
    codes = study.codes(name, "train")
    mean = class_gaussians(codes, bootstrap=0).means[DIGIT]
    size = 2 * RINGS + 1
    figure, (ax,) = new_figure(7.5, 7.6)
    plot_traversal(traverse(study.model(name), grid_around(mean, rows=size, columns=size, step=STEP)), ax)
    around_nine = Picture(
        "around-nine",
        figure,
        f"A grid of step {STEP} around the mean of the 9s, with its coordinates on the axes.",
        "A nine by nine grid of decoded digits, a 9 in the middle and its neighbours towards the edges.",
    )
    figure, axes = new_figure(13, 5.6, columns=2)
    reach = STEP * RINGS
    plot_codes(study.codes(name), study.data.class_names, axes[0])
    axes[0].set_title("test codes around the mean of the 9s")
    draw_classes(study, study.codes(name), axes[1], "the ellipses there")
    for ax in axes:
        ax.set_adjustable("box")
        ax.set(xlim=(mean[0] - reach, mean[0] + reach), ylim=(mean[1] - reach, mean[1] + reach))
        for text in ax.texts:
            text.set_clip_on(True)
    close = Picture(
        "near-nine",
        figure,
        "The part of the plane that this grid covers: test codes by class, and the classes' ellipses.",
        "Two panels of the neighbourhood of the 9s: scattered codes and ellipses of the classes around.",
    )
    figure, (ax,) = new_figure(5, 3.4)
    draw_values(found.same, ax, "share of 9s")
    ax.set_xlabel(f"ring of the grid, steps of {STEP}")
    fading = Picture(
        "fading-nine",
        figure,
        "Share of 9s on the rings of the grid, over seeds.",
        "A curve that falls from one at the mean of the 9s towards the outer rings.",
    )
    return [around_nine, close, fading]


def needs(budget: Budget) -> list[str]:
    """The 2-D VAE of every seed."""
    return seeded_names(budget, "vae-2d")


EXPERIMENT = Experiment(3, "Out of the place of the 9s", needs, measure, CLAIMS, draw)
