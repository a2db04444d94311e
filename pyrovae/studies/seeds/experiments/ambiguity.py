"""Claim 12: whether samples are ambiguous because their codes fall between classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from pyrovae.estimates import Estimate
from pyrovae.latent import class_gaussians, traverse
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, bootstrapped, every, over_seeds
from pyrovae.studies.seeds.experiments.dimensions import AMBIGUOUS_MARGIN
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

DIMS = (2, 5, 10)
TELLS = 0.7
"""Area under the ROC curve above which the doubt at a code tells ambiguous from clear pictures; chance is 0.5."""
ALONE = 0.1
"""Maximum doubt at a code for one class to be called alone there."""
FIFTHS = 5


@dataclass(frozen=True, eq=False)
class Samples:
    """Draws from the prior, decoded.

    Attributes:
        images: The pictures, (N, C, H, W).
        doubt: 1 - max_k p(k | z) by the class Gaussians at each code, (N,): how much of other classes lies there.
        rarity: Minus the log-density of all codes there, (N,).
        ambiguous: Whether the classifier is not 90 % sure of the picture, (N,).
    """

    images: np.ndarray
    doubt: np.ndarray
    rarity: np.ndarray
    ambiguous: np.ndarray


@dataclass(frozen=True)
class Ambiguity:
    """Measurements on these draws, by number of latent dimensions.

    Attributes:
        tells: Area under the ROC curve of the doubt for ambiguous pictures.
        rare: The same of the rarity, the other explanation.
        alone: Share of ambiguous pictures where one class is alone.
        between: The same elsewhere.
        fifths: Share of ambiguous pictures by fifths of the doubt, of the first dimension.
        real: Share of ambiguous test images.
    """

    tells: dict[int, Estimate]
    rare: dict[int, Estimate]
    alone: dict[int, Estimate]
    between: dict[int, Estimate]
    fifths: dict[int, Estimate]
    real: Estimate


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive case has the larger score, ties counted half; NaN without both kinds."""
    if positive.all() or not positive.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score  # imported here: it takes a second

    return float(roc_auc_score(positive, score))


def draw_samples(study: Study, name: str) -> Samples:
    """As many draws from N(0, I) as there are test images, decoded and classified."""
    model = study.model(name)
    gaussians = class_gaussians(study.codes(name, "train"), bootstrap=0)
    codes = np.random.default_rng(0).standard_normal((len(study.split()), model.shapes.latent_dim))
    images = traverse(model, codes[None]).images[0]
    joint = gaussians.log_densities(codes) + np.log(gaussians.counts / gaussians.counts.sum())
    everything = logsumexp(joint, axis=1)
    doubt = -np.expm1(joint.max(1) - everything)
    return Samples(images, doubt, -everything, ~predict_classes(study.classifier, images).confident)


def measure(study: Study) -> Ambiguity:
    """Measure the draws of every seed's VAE of each dimension."""
    samples = {d: [draw_samples(study, name) for name in study.seeded(f"vae-{d}d")] for d in DIMS}

    def told(by: str) -> dict[int, Estimate]:
        return {d: over_seeds([_told(s, by) for s in some]) for d, some in samples.items()}

    def share(alone: bool) -> dict[int, Estimate]:
        return {
            d: over_seeds([Estimate.mean_of(s.ambiguous[(s.doubt < ALONE) == alone]) for s in some])
            for d, some in samples.items()
        }

    first = samples[DIMS[0]]
    order = [np.array_split(np.argsort(s.doubt), FIFTHS) for s in first]
    return Ambiguity(
        tells=told("doubt"),
        rare=told("rarity"),
        alone=share(True),
        between=share(False),
        fifths={
            k + 1: over_seeds([Estimate.mean_of(s.ambiguous[o[k]]) for s, o in zip(first, order, strict=True)])
            for k in range(FIFTHS)
        },
        real=Estimate.mean_of(~study.predictions.confident),
    )


def _told(samples: Samples, by: str) -> Estimate:
    score = getattr(samples, by)
    return bootstrapped(lambda index: auc(score[index], samples.ambiguous[index]), len(score))


def _told_by_doubt(found: Ambiguity, dims: tuple[int, ...]) -> Decision:
    rare = ", ".join(f"n = {d}: {found.rare[d]}" for d in dims)
    return Decision(
        ", ".join(f"n = {d}: {found.tells[d]}" for d in dims),
        every(*(above(found.tells[d], TELLS) for d in dims)),
        {f"area, n = {d}": found.tells[d] for d in dims},
        f"By how rare codes are there, the other explanation: {rare}.",
    )


def _clear_alone(found: Ambiguity) -> Decision:
    alone, between = found.alone[DIMS[0]], found.between[DIMS[0]]
    beyond = alone - found.real
    return Decision(
        f"{alone.percent}, elsewhere {between.percent}; test images {found.real.percent}",
        below(beyond, AMBIGUOUS_MARGIN),
        {"beyond test images": beyond, "elsewhere": between},
    )


AREA = (
    "Area under the ROC curve by which the doubt of the class Gaussians at a sample's code tells the samples that the "
    "classifier is not 90 % sure of"
)

CLAIMS: tuple[Statement[Ambiguity], ...] = (
    Statement(
        "12a",
        "first document",
        "Samples are ambiguous because their codes are equally close to several classes, in the plane.",
        AREA,
        f"Above {TELLS} at n = 2; chance is 0.5.",
        lambda found: _told_by_doubt(found, DIMS[:1]),
    ),
    Statement(
        "12b",
        "first document",
        "The same explains the ambiguous samples of more dimensions.",
        AREA,
        f"Above {TELLS} at n = 5 and n = 10.",
        lambda found: _told_by_doubt(found, DIMS[1:]),
    ),
    Statement(
        "12c",
        "first document",
        "Where a class is alone, samples are clear.",
        "Share of ambiguous samples where the doubt is below a tenth, at n = 2",
        f"Less than {100 * AMBIGUOUS_MARGIN:.0f} points above that of test images.",
        _clear_alone,
    ),
)


def draw(study: Study, found: Ambiguity) -> list[Picture]:
    """Samples in the order of the doubt at their codes, and the share of ambiguous ones."""
    samples = draw_samples(study, study.seeded("vae-2d")[0])
    rng = np.random.default_rng(0)
    groups = np.array_split(np.argsort(samples.doubt), FIFTHS)
    rows = np.stack([samples.images[rng.choice(group, 14, replace=False)] for group in groups])
    figure, axes = new_figure(12, 3.4, columns=2)
    plot_image_grid(rows, axes[0], row_labels=[f"fifth {k + 1}" for k in range(FIFTHS)])
    axes[0].set_title("samples by the doubt at their codes")
    draw_values(found.fifths, axes[1], "share of ambiguous samples", line=found.real.value)
    axes[1].set_xlabel("fifths of the samples, by doubt")
    axes[1].set_ylim(bottom=0)
    return [
        Picture(
            "ambiguity",
            figure,
            "Samples of the 2-D VAE, ordered by how much of other classes lies at their codes, least first; the share "
            "of which the classifier is not 90 % sure; dashed: test images.",
            "Left, five rows of samples; right, the share of ambiguous ones in each fifth.",
        )
    ]


def needs(budget: Budget) -> list[str]:
    """VAEs of 2, 5 and 10 dimensions, of every seed."""
    return [name for d in DIMS for name in seeded_names(budget, f"vae-{d}d")]


EXPERIMENT = Experiment(12, "Why samples are ambiguous", needs, measure, CLAIMS, draw)
