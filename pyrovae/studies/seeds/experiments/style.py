"""Claim 11: reconstructions keep the style of their images, rotation above all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent.morphology import measure as morphology
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, bootstrapped, every, over_seeds
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

DIMS = (2, 5, 10)
ROTATION = "slant"
OTHERS = ("thickness", "width", "height")
ONE = 1
Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
HALF = 0.5
"""Share of a style's variance within classes below which it is called lost, above which it is called kept."""


@dataclass(frozen=True)
class Style:
    """Measurements of the style of test images and of their reconstructions.

    Attributes:
        turned: Squared difference of the slants of image and reconstruction, over the variance of the slant within
            classes, by number of latent dimensions. A reconstruction by the class's mean slant has 1.
        turned_ones: The same of the 1s alone, at n = 2.
        shared: Squared correlation within classes of each style of image and of reconstruction, by style and dimension.
    """

    turned: dict[int, Estimate]
    turned_ones: Estimate
    shared: dict[str, dict[int, Estimate]]


def within(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Values, (N,), without the mean of their class."""
    counts = np.bincount(labels)
    return values - (np.bincount(labels, values) / counts.clip(min=1))[labels]


def lost(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference of two measurements of the same images over the first one's variance within classes."""
    return float(np.square(after - before).mean() / np.square(within(before, labels)).mean())


def shared(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> float:
    """Squared correlation of two measurements of the same images within classes."""
    one, other = within(before, labels), within(after, labels)
    return float((one @ other) ** 2 / (one @ one) / (other @ other))


def styles_of(study: Study, name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Styles of the test images and of their reconstructions, and the labels, where all can be measured."""
    before, after = morphology(study.images).to_dict(), morphology(study.reconstructions(name).outputs).to_dict()
    there = np.all([np.isfinite(values) for values in (*before.values(), *after.values())], axis=0)
    cut_before, cut_after = ({key: values[there] for key, values in found.items()} for found in (before, after))
    return cut_before, cut_after, study.split().labels.numpy()[there]


def measure(study: Study) -> Style:
    """Measure the reconstructions of every seed's VAE of each dimension."""
    turned: dict[int, list[Estimate]] = {d: [] for d in DIMS}
    ones: list[Estimate] = []
    common: dict[str, dict[int, list[Estimate]]] = {style: {d: [] for d in DIMS} for style in (ROTATION, *OTHERS)}
    for dim in DIMS:
        for name in study.seeded(f"vae-{dim}d"):
            before, after, labels = styles_of(study, name)
            turned[dim].append(_over_images(lost, before[ROTATION], after[ROTATION], labels))
            for style, rows in common.items():
                rows[dim].append(_over_images(shared, before[style], after[style], labels))
            if dim == DIMS[0]:
                own = labels == ONE
                ones.append(_over_images(lost, before[ROTATION][own], after[ROTATION][own], labels[own]))
    return Style(
        turned={d: over_seeds(values) for d, values in turned.items()},
        turned_ones=over_seeds(ones),
        shared={style: {d: over_seeds(v) for d, v in rows.items()} for style, rows in common.items()},
    )


def _over_images(statistic: Statistic, before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> Estimate:
    return bootstrapped(lambda index: statistic(before[index], after[index], labels[index]), len(labels))


def _keeps_the_rest(found: Style) -> Decision:
    at_two = {style: found.shared[style][DIMS[0]] for style in OTHERS}
    return Decision(
        ", ".join(f"{style}: {value}" for style, value in at_two.items()),
        every(*(above(value, HALF) for value in at_two.values())),
        {f"shared {style}": value for style, value in at_two.items()},
        "At n = 10: " + ", ".join(f"{style}: {found.shared[style][DIMS[-1]]}" for style in OTHERS) + ".",
    )


CLAIMS: tuple[Statement[Style], ...] = (
    Statement(
        "11a",
        "first document",
        "The reconstruction has the rotation of its image, already at n = 2.",
        "Squared difference of the slants of a test image and of its reconstruction, over the slant's variance within "
        "classes; the mean slant of the class would have 1",
        f"Below {HALF} at n = 2.",
        lambda found: Decision(
            ", ".join(f"n = {d}: {v}" for d, v in found.turned.items()),
            below(found.turned[DIMS[0]], HALF),
            {f"turned, n = {d}": v for d, v in found.turned.items()},
        ),
    ),
    Statement(
        "11b",
        "first document",
        "A leaning 1 is reconstructed as a leaning 1, not as an upright one.",
        "The same of the 1s alone, at n = 2",
        f"Below {HALF}.",
        lambda found: Decision(str(found.turned_ones), below(found.turned_ones, HALF), {"turned": found.turned_ones}),
    ),
    Statement(
        "11c",
        "first document",
        "Two dimensions capture the other modes of style: thickness, width and height.",
        "Squared correlation, within classes, of each style of image and reconstruction at n = 2",
        f"Above {HALF} for each.",
        _keeps_the_rest,
    ),
)


def draw(study: Study, found: Style) -> list[Picture]:
    """1s from the most left-leaning to the most right-leaning with their reconstructions, and the numbers."""
    names = {d: study.seeded(f"vae-{d}d")[0] for d in DIMS}
    slant = morphology(study.images).slant
    ones = np.flatnonzero((study.split().labels.numpy() == ONE) & np.isfinite(slant))
    shown = ones[np.argsort(slant[ones])][np.linspace(0, len(ones) - 1, 14).astype(int)]
    figure, (ax,) = new_figure(9, 2.9)
    plot_image_grid(
        study.with_reconstructions(names.values(), shown), ax, row_labels=["input", *(f"n = {d}" for d in names)]
    )
    leaning = Picture(
        "style-ones",
        figure,
        "1s of the test images in the order of their slant, with their reconstructions by VAEs of n latent dimensions.",
        "A row of 1s that lean from left to right, and three rows of reconstructions that lean with them.",
    )
    figure, axes = new_figure(10, 3.4, columns=2)
    draw_values(found.turned, axes[0], "rotation that is lost", line=HALF)
    for style, values in found.shared.items():
        draw_values(values, axes[1], "squared correlation of input and output", name=style)
    axes[1].legend(frameon=False)
    for ax in axes:
        ax.set_xlabel("latent dimensions n")
        ax.set_ylim(bottom=0)
    numbers = Picture(
        "style-numbers",
        figure,
        "What reconstructions keep of the style within a class, over the number of latent dimensions. Left, the "
        "squared difference of the slants over the slant's variance, dashed the threshold.",
        "Left, a falling curve; right, four rising curves of slant, thickness, width and height.",
    )
    return [leaning, numbers]


def needs(budget: Budget) -> list[str]:
    """VAEs of 2, 5 and 10 dimensions, of every seed."""
    return [name for d in DIMS for name in seeded_names(budget, f"vae-{d}d")]


EXPERIMENT = Experiment(11, "What a reconstruction keeps of the style", needs, measure, CLAIMS, draw)
