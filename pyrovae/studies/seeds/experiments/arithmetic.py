"""Claim 8: adding attribute vectors to codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import AttributeEffect, AttributeVector, attribute_effect, attribute_vector, extremes, move_along
from pyrovae.latent.morphology import measure as morphology
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_effect, plot_moved
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, every
from pyrovae.studies.seeds.study import Experiment, Picture, Study

ATTRIBUTES = ("slant", "thickness")
ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0)
MOVED = 0.5
"""Minimum change of an attribute by one vector, in standard deviations."""
LITTLE = 0.5
"""Maximum change of every other attribute relative to that of the attribute, both in standard deviations."""
KEPT = 0.9
"""Minimum share of images that keep their class."""
IMAGES = 5000


def vector_of(study: Study, name: str, attribute: str) -> AttributeVector:
    """Mean code of the training images above the median of an attribute minus those below, within classes."""
    values = morphology(study.split("train").images.numpy() / 255).to_dict()[attribute]
    return attribute_vector(study.codes(name, "train"), *extremes(values), name=attribute, within_classes=True)


def measure(study: Study) -> Mapping[str, AttributeEffect]:
    """Move test images along the vector of each attribute."""
    name = study.seeded("vae-10d")[0]
    codes = study.codes(name)
    few = codes.take(np.linspace(0, len(codes) - 1, min(IMAGES, len(codes))).astype(int))
    return {
        attribute: attribute_effect(
            study.model(name),
            few,
            vector_of(study, name, attribute),
            ALPHAS,
            classifier=lambda images: predict_classes(study.classifier, images).labels,
        )
        for attribute in ATTRIBUTES
    }


def own_shift(found: AttributeEffect) -> Estimate:
    """Half the change of the attribute from alpha = -1 to 1, in standard deviations."""
    return _shift(found, found.attributes.index(found.name))


def _shift(found: AttributeEffect, row: int) -> Estimate:
    return (found.standardised.at(row, -1) - found.standardised.at(row, 0)) / 2


def largest_other(found: AttributeEffect) -> tuple[str, Estimate]:
    """The other attribute with the largest change over the same range, and the change in standard deviations."""
    others = {name: _shift(found, row) for row, name in enumerate(found.attributes) if name != found.name}
    name, shift = max(others.items(), key=lambda item: abs(item[1].value))
    return name, Estimate(abs(shift.value), shift.error)


def _moves(found: AttributeEffect) -> Decision:
    own = own_shift(found)
    remark = "The document's attribute is the smile of CelebA's faces; digits have measured ones."
    return Decision(str(own), above(own, MOVED), {"change": own}, remark)


def _moves_alone(found: AttributeEffect) -> Decision:
    own, (other, shift) = own_shift(found), largest_other(found)
    ratio = shift / Estimate(abs(own.value), own.error)
    kept = (found.kept.at(0) + found.kept.at(-1)) / 2
    return Decision(
        f"{ratio} ({other}); {kept.percent}",
        every(below(ratio, LITTLE), above(kept, KEPT)),
        {"ratio": ratio, "kept": kept},
    )


def claims_on(attribute: str, letters: str) -> tuple[Statement[Mapping[str, AttributeEffect]], ...]:
    """The two claims on an attribute."""
    return (
        Statement(
            f"8{letters[0]}",
            "third document",
            f"Adding multiples of the vector of an attribute moves the attribute: {attribute}.",
            f"Change of the measured {attribute} by one vector, in standard deviations over images",
            f"Above {MOVED}.",
            lambda found: _moves(found[attribute]),
        ),
        Statement(
            f"8{letters[1]}",
            "third document",
            f"Only the relevant feature changes: {attribute}.",
            "Largest change of another measured attribute over that of the attribute, in standard deviations; "
            "share of pictures that keep their class",
            f"The first below {LITTLE}, the second above {100 * KEPT:.0f} %.",
            lambda found: _moves_alone(found[attribute]),
        ),
    )


CLAIMS = (*claims_on("slant", "ab"), *claims_on("thickness", "cd"))


def draw(study: Study, found: Mapping[str, AttributeEffect]) -> list[Picture]:
    """Rows of moved images, and the measured effects."""
    name = study.seeded("vae-10d")[0]
    codes = study.codes(name)
    few = codes.take(np.array([np.flatnonzero(codes.labels == k)[0] for k in (0, 2, 4, 7, 9)]))
    alphas = tuple(np.linspace(-2, 2, 9))
    figure, axes = new_figure(12, 4.3, columns=len(found))
    for ax, attribute in zip(axes, found, strict=True):
        plot_moved(move_along(study.model(name), few, vector_of(study, name, attribute).vector, alphas), alphas, ax)
        ax.set_xlabel(f"α, in units of the vector of {attribute}")
    moved = Picture(
        "arithmetic",
        figure,
        "Test images with α times the vector of slant and of thickness added to their codes (10-D VAE).",
        "Rows of digits that lean further, and that grow thicker, from left to right.",
    )
    pictures = [moved]
    for attribute, measured in found.items():
        figure, axes = new_figure(13, 4.2, columns=3)
        plot_effect(measured, axes)
        pictures.append(
            Picture(
                f"arithmetic-{attribute}",
                figure,
                f"What the vector of {attribute} moves, measured on {measured.images:,} pictures.",
                "Measured attributes over α, how far the encoder sees the way, and the share that keeps its class.",
            )
        )
    return pictures


def needs(budget: Budget) -> list[str]:
    """The 10-D VAE of the first document."""
    return seeded_names(budget, "vae-10d")[:1]


EXPERIMENT = Experiment(8, "Arithmetic with codes", needs, measure, CLAIMS, draw)
