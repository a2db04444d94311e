"""Claim 16: undercomplete, denoising, sparse and contractive autoencoders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import mean_codes, traverse
from pyrovae.metrics.codes import code_accuracy
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.studies.seeds.budgets import KIND_DIM, KINDS, NOISE, Budget, kind_name
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, bootstrapped, every
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

PLAIN = "plain"
REMOVED = 0.25
"""Squared error of a reconstruction from a noisy image over that of the noisy image, below which noise is removed."""
TINY = 0.1
"""A number of a code is near zero below this share of the codes' root mean square."""
TREMBLE = 0.1
"""Standard deviation of the noise by which an encoder's sensitivity is measured."""
LABELS = 1000
DISCOVERED = 0.5
"""Accuracy of a linear classifier of codes above which a representation of the digits was discovered."""
SENSITIVE = 1000
"""Images for the measurements with noise."""


@dataclass(frozen=True)
class Kinds:
    """Measurements of autoencoders, by kind.

    Attributes:
        noise_left: Squared error of reconstructions from noisy images, over that of the noisy images.
        near_zero: Share of the numbers of a code that are near zero.
        sensitivity: Distance of the codes of an image with and without little noise, over that of two images' codes.
        accuracy: Accuracy of logistic regression on test codes with few labels.
    """

    noise_left: dict[str, Estimate]
    near_zero: dict[str, Estimate]
    sensitivity: dict[str, Estimate]
    accuracy: dict[str, Estimate]


def near_zero(codes: np.ndarray) -> float:
    """Share of the numbers of codes, (N, d), that are small beside the root mean square of all."""
    return float((np.abs(codes) < TINY * np.sqrt(np.square(codes).mean())).mean())


def some_images(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Some test images, (N, C, H, W), and their labels."""
    chosen = np.linspace(0, len(study.images) - 1, min(SENSITIVE, len(study.images))).astype(int)
    return study.images[chosen], study.split().labels.numpy()[chosen]


def noisy(images: np.ndarray, level: float) -> np.ndarray:
    """Images with Gaussian noise."""
    return (images + level * np.random.default_rng(0).standard_normal(images.shape)).astype(np.float32)


def cleaned(study: Study, name: str, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Reconstructions of an array of images."""
    model = study.model(name)
    return traverse(model, mean_codes(model, images, labels)[None]).images[0]


def _noise_left(study: Study, name: str) -> Estimate:
    images, labels = some_images(study)
    damaged = noisy(images, NOISE)
    outputs = cleaned(study, name, damaged, labels)
    before, after = (np.square(some - images).sum((1, 2, 3)) for some in (damaged, outputs))
    return Estimate.mean_of(after / before.mean())


def _sensitivity(study: Study, name: str) -> Estimate:
    images, labels = some_images(study)
    model = study.model(name)
    still, moved = (mean_codes(model, some, labels) for some in (images, noisy(images, TREMBLE)))
    apart = np.sqrt(2 * np.square(still - still.mean(0)).sum(1).mean())
    return Estimate.mean_of(np.linalg.norm(moved - still, axis=1) / apart)


def _near_zero(study: Study, name: str) -> Estimate:
    means = study.codes(name).means.astype(np.float64)
    return bootstrapped(lambda index: near_zero(means[index]), len(means))


def _accuracy(study: Study, name: str) -> Estimate:
    train, test = study.codes(name, "train"), study.codes(name)
    return code_accuracy(train, test, [min(LABELS, len(train))], repeats=2).linear[min(LABELS, len(train))]


def measure(study: Study) -> Kinds:
    """Measure every kind."""
    names = {kind: kind_name(kind) for kind in KINDS}
    return Kinds(
        noise_left={kind: _noise_left(study, name) for kind, name in names.items()},
        near_zero={kind: _near_zero(study, name) for kind, name in names.items()},
        sensitivity={kind: _sensitivity(study, name) for kind, name in names.items()},
        accuracy={kind: _accuracy(study, name) for kind, name in names.items()},
    )


def _all(values: dict[str, Estimate]) -> str:
    return ", ".join(f"{kind}: {value.percent}" for kind, value in values.items())


def _denoises(found: Kinds) -> Decision:
    own, plain = found.noise_left["denoising"], found.noise_left[PLAIN]
    return Decision(
        f"{own.percent}, plain {plain.percent}",
        every(below(own, REMOVED), above(plain - own, 0)),
        {"denoising": own, PLAIN: plain},
    )


def _sparse(found: Kinds) -> Decision:
    difference = found.near_zero["sparse"] - found.near_zero[PLAIN]
    return Decision(_all(found.near_zero), above(difference, 0), {"sparse − plain": difference})


def _contracts(found: Kinds) -> Decision:
    difference = found.sensitivity[PLAIN] - found.sensitivity["contractive"]
    return Decision(_all(found.sensitivity), above(difference, 0), {"plain − contractive": difference})


def _discovers(found: Kinds) -> Decision:
    verdict = every(*(above(value, DISCOVERED) for value in found.accuracy.values()))
    return Decision(_all(found.accuracy), verdict, dict(found.accuracy))


CLAIMS: tuple[Statement[Kinds], ...] = (
    Statement(
        "16a",
        "second, fifth document",
        "A denoising autoencoder removes noise from images.",
        f"Squared error of reconstructions from images with Gaussian noise of standard deviation {NOISE:g}, over that "
        f"of the noisy images themselves; beside the plain autoencoder ({KIND_DIM} dimensions)",
        f"Below {100 * REMOVED:.0f} %, and below the plain one's by more than two standard errors.",
        _denoises,
    ),
    Statement(
        "16b",
        "second document",
        "A sparse autoencoder has codes most of whose numbers are near zero, more than a plain one.",
        f"Share of the numbers of test codes below {100 * TINY:.0f} % of their root mean square",
        "Larger than the plain one's by more than two standard errors.",
        _sparse,
    ),
    Statement(
        "16c",
        "second document",
        "The encoder of a contractive autoencoder is less sensitive to its input than that of a plain one.",
        f"Distance of an image's codes with and without Gaussian noise of {TREMBLE:g}, over that of two images' codes",
        "Smaller than the plain one's by more than two standard errors.",
        _contracts,
    ),
    Statement(
        "16d",
        "second document",
        "Undercomplete, sparse, denoising and contractive autoencoders all discover a latent representation.",
        f"Accuracy of logistic regression on test codes with {LABELS} labels",
        f"Above {100 * DISCOVERED:.0f} % for each.",
        _discovers,
    ),
)


def draw(study: Study, found: Kinds) -> list[Picture]:
    """Noisy images and what each kind makes of them, and the numbers."""
    images, labels = some_images(study)
    shown = np.linspace(0, len(images) - 1, 12).astype(int)
    damaged = noisy(images, NOISE)[shown]
    rows = [images[shown], damaged, *(cleaned(study, kind_name(kind), damaged, labels[shown]) for kind in KINDS)]
    figure, (ax,) = new_figure(8.5, 4.2)
    plot_image_grid(np.stack(rows), ax, row_labels=["image", "with noise", *KINDS])
    pictures = Picture(
        "kinds",
        figure,
        f"Test images, with Gaussian noise of {NOISE:g}, and the reconstructions from the noisy ones by autoencoders "
        f"of {KIND_DIM} dimensions.",
        "A row of digits, a row of noisy ones, and four rows of reconstructions of which the denoising ones are clean.",
    )
    figure, axes = new_figure(12, 3.2, columns=3)
    draw_values(found.noise_left, axes[0], "noise that is left")
    draw_values(found.near_zero, axes[1], "numbers near zero")
    draw_values(found.sensitivity, axes[2], "sensitivity of the encoder")
    for ax in axes:
        ax.set_ylim(bottom=0)
        ax.tick_params(axis="x", labelsize=8)
        for line in ax.lines:
            line.set_linestyle("")
    numbers = Picture(
        "kinds-numbers",
        figure,
        "What sets the kinds of autoencoders apart, with one standard error over images.",
        "Three panels of four points each: noise left, numbers near zero, sensitivity.",
    )
    return [pictures, numbers]


def needs(budget: Budget) -> list[str]:
    """Every kind of autoencoder."""
    return [kind_name(kind) for kind in KINDS]


EXPERIMENT = Experiment(16, "Kinds of autoencoders", needs, measure, CLAIMS, draw)
