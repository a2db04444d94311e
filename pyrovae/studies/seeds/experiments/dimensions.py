"""Claim 1: the effect of more latent dimensions on reconstructions and samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, every, over_seeds
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

DIMS = (2, 5, 10, 20)
AMBIGUOUS_MARGIN = 0.1
"""Minimum difference between the ambiguous shares of samples and of test images."""


@dataclass(frozen=True)
class Dimensions:
    """Measurements of the plain VAE, by number of latent dimensions.

    Attributes:
        squared_error: Of reconstructions of test images, summed over the pixels.
        sharpness: Of the reconstructions, over that of the images themselves.
        kept: Share of reconstructions that the classifier gives the same class as the image.
        ambiguous: Share of samples of whose class the classifier is not confident.
        entropy: Its mean entropy over the samples, nats.
        frechet: Fréchet distance of the samples from the test images.
        ambiguous_test: Share of test images of whose class it is not confident.
    """

    squared_error: dict[int, Estimate]
    sharpness: dict[int, Estimate]
    kept: dict[int, Estimate]
    ambiguous: dict[int, Estimate]
    entropy: dict[int, Estimate]
    frechet: dict[int, Estimate]
    ambiguous_test: Estimate


def sharpness(images: np.ndarray) -> np.ndarray:
    """Edges over ink: sum of the differences of neighbouring pixels over the sum of the pixels, (N,)."""
    images = images.clip(0, 1)
    edges = np.abs(np.diff(images, axis=-1)).sum((1, 2, 3)) + np.abs(np.diff(images, axis=-2)).sum((1, 2, 3))
    return edges / images.sum((1, 2, 3)).clip(min=1e-6)


def measure(study: Study) -> Dimensions:
    """Measure every seed's VAE of each dimension."""

    def over(dim: int, statistic: Callable[[str], Estimate]) -> Estimate:
        return over_seeds([statistic(name) for name in study.seeded(f"vae-{dim}d")])

    def squared_error(name: str) -> Estimate:
        pairs = study.reconstructions(name)
        return Estimate.mean_of(np.square(pairs.outputs - pairs.inputs).sum((1, 2, 3)))

    def sharp(name: str) -> Estimate:
        return Estimate.mean_of(sharpness(study.reconstructions(name).outputs)) / Estimate.mean_of(
            sharpness(study.images)
        )

    def kept(name: str) -> Estimate:
        return Estimate.mean_of(
            predict_classes(study.classifier, study.reconstructions(name).outputs).labels == study.predictions.labels
        )

    return Dimensions(
        squared_error={d: over(d, squared_error) for d in DIMS},
        sharpness={d: over(d, sharp) for d in DIMS},
        kept={d: over(d, kept) for d in DIMS},
        ambiguous={d: over(d, lambda name: Estimate.mean_of(~study.sample_predictions(name).confident)) for d in DIMS},
        entropy={d: over(d, lambda name: Estimate.mean_of(study.sample_predictions(name).entropies)) for d in DIMS},
        frechet={d: over(d, study.frechet) for d in DIMS},
        ambiguous_test=Estimate.mean_of(~study.predictions.confident),
    )


def _improves(found: Dimensions) -> Decision:
    error = found.squared_error
    return Decision(
        ", ".join(f"n = {d}: {v}" for d, v in error.items()),
        every(above(error[2] - error[5], 0), above(error[5] - error[10], 0)),
        {f"squared error, n = {d}": v for d, v in error.items()},
    )


def _levels_off(found: Dimensions) -> Decision:
    error = found.squared_error
    ratio = (error[10] - error[20]) / (error[2] - error[10])
    return Decision(str(ratio), below(ratio, 0.1), {"ratio of gains": ratio})


def _sharpens(found: Dimensions) -> Decision:
    sharp = found.sharpness
    return Decision(
        f"{sharp[2]} at n = 2, {sharp[10]} at n = 10, {sharp[20]} at n = 20",
        above(sharp[10] - sharp[2], 0),
        {f"sharpness, n = {d}": v for d, v in sharp.items()},
    )


def _keeps_the_digit(found: Dimensions) -> Decision:
    kept = found.kept
    return Decision(
        f"{kept[2].percent} at n = 2, {kept[5].percent} at 5, {kept[10].percent} at 10",
        above(kept[2], 0.95),
        {f"kept, n = {d}": v for d, v in kept.items()},
        "The document looked at a small sample.",
    )


def _samples_are_ambiguous(found: Dimensions) -> Decision:
    ambiguous, test = found.ambiguous, found.ambiguous_test
    return Decision(
        ", ".join(f"n = {d}: {ambiguous[d].percent}" for d in DIMS) + f"; test images: {test.percent}",
        every(*(above(ambiguous[d] - test, AMBIGUOUS_MARGIN) for d in (2, 5, 10))),
        {f"ambiguous, n = {d}": v for d, v in ambiguous.items()},
        "Entropy of its answers, nats: " + ", ".join(f"n = {d}: {found.entropy[d]}" for d in DIMS),
    )


CLAIMS: tuple[Statement[Dimensions], ...] = (
    Statement(
        "1a",
        "first, fifth document",
        "Reconstructions improve from n = 2 to 5 to 10.",
        "Squared error of test reconstructions, summed over pixels",
        "It falls from 2 to 5 and from 5 to 10 by more than two standard errors.",
        _improves,
    ),
    Statement(
        "1b",
        "fifth document",
        "There is not much of a difference between n = 10 and n = 20.",
        "Gain in squared error from 10 to 20 over that from 2 to 10",
        "Below a tenth.",
        _levels_off,
    ),
    Statement(
        "1c",
        "first, fifth document",
        "More dimensions make sharper images.",
        "Edges over ink of reconstructions, over that of the images themselves",
        "It rises from n = 2 to n = 10 by more than two standard errors.",
        _sharpens,
    ),
    Statement(
        "1d",
        "first document",
        "Even with n = 2 the reconstruction is of the same digit as the input.",
        "Share of test images whose reconstruction the classifier gives the same class as the image",
        "Above 95 %.",
        _keeps_the_digit,
    ),
    Statement(
        "1e",
        "first document",
        "Samples from the prior are ambiguous, whatever the number of dimensions.",
        "Share of samples that the classifier is not 90 % sure of, beyond that of test images",
        f"Above {100 * AMBIGUOUS_MARGIN:.0f} points at n = 2, 5 and 10 alike.",
        _samples_are_ambiguous,
    ),
)


def draw(study: Study, found: Dimensions) -> list[Picture]:
    """Reconstructions and samples of every dimension, and the numbers."""
    names = {d: study.seeded(f"vae-{d}d")[0] for d in DIMS}
    shown = np.linspace(0, len(study.images) - 1, 12).astype(int)
    figure, (ax,) = new_figure(8, 3.4)
    plot_image_grid(
        study.with_reconstructions(names.values(), shown), ax, row_labels=["input", *(f"n = {d}" for d in DIMS)]
    )
    pairs = Picture(
        "reconstructions",
        figure,
        "Test images and their reconstructions by VAEs of n latent dimensions.",
        "A row of digits and four rows of reconstructions, sharper as the latent dimensions grow from 2 to 20.",
    )
    figure, axes = new_figure(9.5, 9.8, columns=2, rows=2)
    for ax, (dim, name) in zip(axes, names.items(), strict=True):
        plot_image_grid(study.samples(name)[:100].reshape(10, 10, *study.images.shape[1:]), ax)
        ax.set_title(f"n = {dim}")
    samples = Picture(
        "samples",
        figure,
        "Samples of the same VAEs: codes from N(0, I), decoded.",
        "Four panels of a hundred samples each, from VAEs of 2, 5, 10 and 20 latent dimensions.",
    )
    figure, axes = new_figure(10, 3.2, columns=3)
    draw_values(found.squared_error, axes[0], "squared error, summed over pixels")
    draw_values(found.sharpness, axes[1], "sharpness over the images' own")
    draw_values(found.ambiguous, axes[2], "share of ambiguous samples", line=found.ambiguous_test.value)
    for ax in axes:
        ax.set_xlabel("latent dimensions n")
    numbers = Picture(
        "dimensions",
        figure,
        "Reconstruction error, sharpness of reconstructions and ambiguous samples over the number of latent "
        "dimensions, with one standard error; dashed: test images.",
        "Three curves over 2, 5, 10 and 20 dimensions: squared error falls, sharpness rises, and the share of "
        "ambiguous samples against that of test images.",
    )
    return [pairs, samples, numbers]


def needs(budget: Budget) -> list[str]:
    """VAEs of every dimension and seed."""
    return [name for d in DIMS for name in seeded_names(budget, f"vae-{d}d")]


EXPERIMENT = Experiment(1, "What more latent dimensions buy", needs, measure, CLAIMS, draw)
