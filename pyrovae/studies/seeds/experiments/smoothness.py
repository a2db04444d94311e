"""Claim 13: whether codes that are near each other decode alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import Codes, traverse
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.studies.seeds.budgets import Budget, beta_name, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, every
from pyrovae.studies.seeds.experiments.autoencoder import AUTOENCODER
from pyrovae.studies.seeds.experiments.dimensions import AMBIGUOUS_MARGIN
from pyrovae.studies.seeds.experiments.sweep import Sweep
from pyrovae.studies.seeds.experiments.sweep import measure as measure_sweep
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Lengths of a step, in units of the way from a code to another one drawn at random."""
NEAR = 0.05
"""The step that decides."""
ALIKE = 0.05
"""Squared distance of two pictures, over that of two test images, below which they are called very similar."""
KEPT = 0.95
"""Minimum share of pictures that keep their class for neighbours to be called alike."""
CODES = 1000
UNSEEN = 0.1
"""Share of the points, those farthest from all training codes, that are called unseen."""
PLANE, NETS = "plane", "convolutional nets"


class Both(NamedTuple):
    """A value of an autoencoder and of a VAE with the same nets."""

    autoencoder: Estimate
    vae: Estimate


@dataclass(frozen=True)
class Smoothness:
    """Measurements of autoencoders and VAEs, in the plane and of the convolutional nets.

    Attributes:
        changes: Squared change of the picture by a step, over the squared distance of two test images, by nets and
            length of the step.
        kept: Share of pictures that keep their class at the step `NEAR`, by nets.
        own_draws: Squared distance of the pictures at the mean of an image's posterior and at a draw from it, in the
            plane of the VAE.
        unseen: Share of ambiguous pictures at points of the plane that are far from all training codes, less that at
            the other points.
    """

    changes: Mapping[str, Mapping[float, Both]]
    kept: Mapping[str, Both]
    own_draws: Estimate
    unseen: Both


def typical_distance(images: np.ndarray) -> float:
    """Mean squared distance of two images, summed over the pixels: twice the variance."""
    return float(2 * np.square(images - images.mean(0)).sum((1, 2, 3)).mean())


def steps(codes: Codes, count: int = CODES) -> tuple[np.ndarray, np.ndarray]:
    """Codes, and the ways from them to other codes drawn at random, each (count, latent_dim)."""
    rng = np.random.default_rng(0)
    start = np.linspace(0, len(codes) - 1, min(count, len(codes))).astype(int)
    other = (start + rng.integers(1, len(codes), len(start))) % len(codes)
    return codes.means[start], codes.means[other] - codes.means[start]


def pictures_after(study: Study, name: str) -> dict[float, np.ndarray]:
    """Pictures at codes of test images, and after a step of each length, (N, C, H, W)."""
    start, ways = steps(study.codes(name))
    return {s: traverse(study.model(name), (start + s * ways)[None]).images[0] for s in (0.0, *STEPS)}


def _changes(study: Study, name: str) -> tuple[dict[float, Estimate], Estimate]:
    found = pictures_after(study, name)
    scale = typical_distance(study.images)
    own = predict_classes(study.classifier, found[0.0]).labels
    kept = Estimate.mean_of(predict_classes(study.classifier, found[NEAR]).labels == own)
    return {s: Estimate.mean_of(np.square(found[s] - found[0.0]).sum((1, 2, 3)) / scale) for s in STEPS}, kept


def unseen(study: Study, name: str) -> Estimate:
    """Share of ambiguous pictures far from all training codes, less that elsewhere; draws from the codes' Gaussian."""
    from scipy.spatial import cKDTree

    draws = study.codes(name, "train").draws.astype(np.float64)
    points = np.random.default_rng(0).multivariate_normal(draws.mean(0), np.cov(draws.T), len(study.split()))
    away = cKDTree(draws).query(points)[0]
    unsure = ~predict_classes(study.classifier, traverse(study.model(name), points[None]).images[0]).confident
    far = away > np.quantile(away, 1 - UNSEEN)
    return Estimate.mean_of(unsure[far]) - Estimate.mean_of(unsure[~far])


def own_draws(study: Study, name: str) -> Estimate:
    """Squared distance of the pictures at an image's posterior mean and at a draw, over that of two test images."""
    codes = study.codes(name)
    means, draws = (traverse(study.model(name), z[None]).images[0] for z in (codes.means, codes.draws))
    return Estimate.mean_of(np.square(means - draws).sum((1, 2, 3)) / typical_distance(study.images))


def pairs(study: Study) -> dict[str, tuple[str, str]]:
    """The runs of autoencoder and VAE that have the same nets."""
    sweep: Sweep = study.once(measure_sweep)
    return {PLANE: ("autoencoder-2d", study.seeded("vae-2d")[0]), NETS: (AUTOENCODER, beta_name(sweep.best))}


def measure(study: Study) -> Smoothness:
    """Measure both pairs."""
    names = pairs(study)
    found = {nets: tuple(_changes(study, name) for name in pair) for nets, pair in names.items()}
    return Smoothness(
        changes={nets: {s: Both(*(changes[s] for changes, _ in rows)) for s in STEPS} for nets, rows in found.items()},
        kept={nets: Both(*(kept for _, kept in rows)) for nets, rows in found.items()},
        own_draws=own_draws(study, names[PLANE][1]),
        unseen=Both(*(unseen(study, name) for name in names[PLANE])),
    )


def _alike(found: Smoothness) -> Decision:
    change, kept = {nets: rows[NEAR].vae for nets, rows in found.changes.items()}, found.kept
    return Decision(
        "; ".join(f"{nets}: {change[nets]}, {kept[nets].vae.percent}" for nets in change),
        every(*(below(v, ALIKE) for v in change.values()), *(above(v.vae, KEPT) for v in kept.values())),
        {f"change, {nets}": v for nets, v in change.items()} | {f"kept, {nets}": v.vae for nets, v in kept.items()},
    )


def _more_in_autoencoder(found: Smoothness) -> Decision:
    near = {nets: rows[NEAR] for nets, rows in found.changes.items()}
    return Decision(
        "; ".join(f"{nets}: {both.autoencoder}, VAE {both.vae}" for nets, both in near.items()),
        every(*(above(both.autoencoder - both.vae, 0) for both in near.values())),
        {f"autoencoder − VAE, {nets}": both.autoencoder - both.vae for nets, both in near.items()},
        "Pictures that keep their class: "
        + "; ".join(f"{nets}: {b.autoencoder.percent}, VAE {b.vae.percent}" for nets, b in found.kept.items())
        + ".",
    )


STEP = f"a step of {NEAR:g} of the way to another code"

CLAIMS: tuple[Statement[Smoothness], ...] = (
    Statement(
        "13a",
        "second, third document",
        "Codes of a VAE that are near each other decode to very similar pictures.",
        f"Squared change of the picture by {STEP}, over the squared distance of two test images; share of pictures "
        "that keep their class; in the plane and of the convolutional nets",
        f"The first below {ALIKE}, the second above {100 * KEPT:.0f} %, for both nets.",
        _alike,
    ),
    Statement(
        "13b",
        "third document",
        "An autoencoder's need not: its pictures change more.",
        f"Squared change of the picture by {STEP}, over the squared distance of two test images",
        "Larger than the VAE's by more than two standard errors, for both nets.",
        _more_in_autoencoder,
    ),
    Statement(
        "13c",
        "third document",
        "All points around an image's mean, where the VAE draws its codes, decode alike.",
        "Squared distance of the pictures at the mean of an image's posterior and at a draw from it, over that of two "
        "test images, in the plane",
        f"Below {ALIKE}.",
        lambda found: Decision(str(found.own_draws), below(found.own_draws, ALIKE), {"distance": found.own_draws}),
    ),
    Statement(
        "13d",
        "third document",
        "A point that the VAE's decoder has never seen is likely to decode to a well-formed image.",
        f"Share of ambiguous pictures at the {100 * UNSEEN:.0f} % of points of the plane that are farthest from all "
        "training codes, beyond that at the other points",
        f"Below {100 * AMBIGUOUS_MARGIN:.0f} points.",
        lambda found: Decision(
            f"{found.unseen.vae.percent}, autoencoder {found.unseen.autoencoder.percent}",
            below(found.unseen.vae, AMBIGUOUS_MARGIN),
            {"VAE": found.unseen.vae, "autoencoder": found.unseen.autoencoder},
            "Points are drawn from the Gaussian of all codes. A classifier can be sure of what shows nothing.",
        ),
    ),
)


def draw(study: Study, found: Smoothness) -> list[Picture]:
    """Pictures after steps, and how much they change."""
    rows, labels = [], []
    for which, name in zip(("AE", "VAE"), pairs(study)[PLANE], strict=True):
        after = pictures_after(study, name)
        shown = np.linspace(0, len(after[0.0]) - 1, 3).astype(int)
        rows += [np.stack([pictures[i] for pictures in after.values()]) for i in shown]
        labels += [which] * len(shown)
    figure, axes = new_figure(12, 3.8, columns=3)
    names = ["0", *(f"{s:g}" for s in STEPS)]
    plot_image_grid(np.stack(rows), axes[0], row_labels=labels, column_labels=names)
    axes[0].set_xlabel("step")
    for ax, (nets, changes) in zip(axes[1:], found.changes.items(), strict=True):
        draw_values({s: both.autoencoder for s, both in changes.items()}, ax, "change of the picture", name="AE")
        draw_values({s: both.vae for s, both in changes.items()}, ax, "change of the picture", name="VAE")
        ax.set(title=nets, xlabel="step, of the way to another code")
        ax.legend(frameon=False)
    return [
        Picture(
            "smoothness",
            figure,
            "What the planes of the autoencoder and of the VAE decode to after a step towards another code; and the "
            "squared change of the picture over the squared distance of two test images.",
            "Six rows of pictures that change from left to right, and two pairs of rising curves.",
        )
    ]


def needs(budget: Budget) -> list[str]:
    """Autoencoder and VAE of the plane, and the convolutional ones."""
    own = ["autoencoder-2d", seeded_names(budget, "vae-2d")[0], AUTOENCODER]
    return [*own, *(beta_name(beta) for beta in budget.betas)]


EXPERIMENT = Experiment(13, "Whether near codes decode alike", needs, measure, CLAIMS, draw)
