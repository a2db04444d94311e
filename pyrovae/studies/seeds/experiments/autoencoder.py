"""Claim 5: the autoencoder and the KL term alone, compared with the VAE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.latent import ellipse, interpolate, marginals, traverse
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_image_grid, plot_marginals, plot_panels
from pyrovae.studies.seeds.budgets import Budget, beta_name, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, bootstrapped, every
from pyrovae.studies.seeds.experiments.sweep import GOOD, Sweep, unexplained
from pyrovae.studies.seeds.experiments.sweep import measure as measure_sweep
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

AUTOENCODER = "conv-autoencoder"
PAIRS = 4000
"""Maximum number of interpolated pairs of test images of different classes."""
STEPS = 9
MORE = 0.05
"""Minimum difference between the ambiguous shares of autoencoder and VAE."""
CLEAR = 0.1
"""Maximum share of ambiguous images for interpolations to be called clear."""
NO_INFORMATION = 0.01
"""KL of the posteriors from the prior, nats per image, below which codes carry no information."""
SPREAD = 1.5
"""Relative dispersion of counts in cells of equal probability above which codes are called unevenly distributed."""


@dataclass(frozen=True)
class Panels:
    """What was measured of the autoencoder, of the KL term alone and of the VAE.

    Attributes:
        unexplained: Share of the test images' variance that the autoencoder's reconstructions leave.
        kept: Share of its reconstructions that the classifier gives the same class as the image.
        frechet: Fréchet distance of its samples from N(0, I), and of those of the VAE with the same nets.
        ambiguous: Share of ambiguous samples of the two.
        gaps: Share of the plane without codes, of the 2-D autoencoder and of the 2-D VAE.
        unevenness: Scatter over mean of the number of codes in cells of equal probability, likewise.
        midway: Share of ambiguous pictures by the place on the way between two images of different classes, 0 to 1, of
            the autoencoder and of the VAE with the same nets.
        kl_alone: KL of the posteriors from the prior where the KL term alone is trained, nats per image.
        beta: β of the VAE with the same nets.
    """

    unexplained: Estimate
    kept: Estimate
    frechet: tuple[Estimate, Estimate]
    ambiguous: tuple[Estimate, Estimate]
    gaps: tuple[Estimate, Estimate]
    unevenness: tuple[Estimate, Estimate]
    midway: tuple[dict[float, Estimate], dict[float, Estimate]]
    kl_alone: float
    beta: float


def cell_counts(codes: np.ndarray, mass: float = 0.95) -> np.ndarray:
    """Number of codes, (N, 2), in cells of equal probability under the Gaussian fitted to the codes.

    Rings of equal probability up to an ellipse of `mass`, each cut into as many equal sectors as make ten codes a cell.
    """
    whitened = np.linalg.solve(np.linalg.cholesky(np.cov(codes.T)), (codes - codes.mean(0)).T)
    rings = max(2, int(np.sqrt(mass * len(codes) / 20)))
    sectors = 2 * rings
    inside = -np.expm1(-np.square(whitened).sum(0) / 2) / mass  # the probability of a smaller radius
    ring = np.floor(inside * rings).astype(int)
    angle = np.arctan2(whitened[1], whitened[0]) / (2 * np.pi) % 1
    sector = np.minimum((angle * sectors).astype(int), sectors - 1)
    return np.bincount((ring * sectors + sector)[ring < rings], minlength=rings * sectors)


def gap_share(codes: np.ndarray) -> float:
    """Share of cells of equal probability with less than a tenth of the codes that a Gaussian would put there."""
    counts = cell_counts(codes)
    return float((counts < 0.1 * 0.95 * len(codes) / len(counts)).mean())


def unevenness(codes: np.ndarray) -> float:
    """Standard deviation over mean of the counts in cells of equal probability."""
    counts = cell_counts(codes)
    return float(counts.std() / counts.mean())


def plane_value(study: Study, name: str, statistic: Callable[[np.ndarray], float]) -> Estimate:
    """A statistic of a run's codes in the plane, draws from the posteriors of training images."""
    draws = study.codes(name, "train").draws.astype(np.float64)
    return bootstrapped(lambda index: statistic(draws[index]), len(draws))


def crossings(study: Study, name: str) -> dict[float, Estimate]:
    """Share of ambiguous pictures along straight lines between codes of test images of different classes."""
    codes = study.codes(name)
    rng = np.random.default_rng(0)
    pairs = min(PAIRS, len(codes))  # so that few images do not pass for many
    one, other = rng.integers(0, len(codes), (2, 4 * pairs))
    apart = np.flatnonzero(codes.labels[one] != codes.labels[other])[:pairs]
    lines = np.stack([interpolate(codes.means[one[i]], codes.means[other[i]], STEPS) for i in apart])
    pictures = traverse(study.model(name), lines).images
    unsure = ~predict_classes(study.classifier, pictures.reshape(-1, *study.images.shape[1:])).confident
    return {k / (STEPS - 1): Estimate.mean_of(unsure.reshape(-1, STEPS)[:, k]) for k in range(STEPS)}


def measure(study: Study) -> Panels:
    """Measure the autoencoders, the VAE of the best β, the 2-D VAE and the KL term alone."""
    sweep: Sweep = study.once(measure_sweep)
    vae = beta_name(sweep.best)
    pairs = study.reconstructions(AUTOENCODER)
    seen = predict_classes(study.classifier, pairs.outputs).labels
    planes = ("autoencoder-2d", study.seeded("vae-2d")[0])
    both = [AUTOENCODER, vae]
    return Panels(
        unexplained=unexplained(pairs.outputs, pairs.inputs),
        kept=Estimate.mean_of(seen == study.predictions.labels),
        frechet=(study.frechet(AUTOENCODER), sweep.frechet[sweep.best]),
        ambiguous=(Estimate.mean_of(~study.sample_predictions(AUTOENCODER).confident), sweep.ambiguous[sweep.best]),
        gaps=(plane_value(study, planes[0], gap_share), plane_value(study, planes[1], gap_share)),
        unevenness=(plane_value(study, planes[0], unevenness), plane_value(study, planes[1], unevenness)),
        midway=(crossings(study, both[0]), crossings(study, both[1])),
        kl_alone=estimate_elbo(study.model("kl-only-2d"), study.split()).kl.value,
        beta=sweep.best,
    )


SAME_NETS = "the VAE of the same nets, β = {found.beta:g}"


def _worse_samples(found: Panels) -> Decision:
    (own, vae), (own_ambiguous, vae_ambiguous) = found.frechet, found.ambiguous
    return Decision(
        f"{own}, VAE {vae}",
        above(own - vae, 0),
        {"autoencoder": own, "VAE": vae},
        f"Ambiguous samples: {own_ambiguous.percent}, VAE {vae_ambiguous.percent}. A classifier can be "
        "sure of a picture that shows nothing, so the distance decides.",
    )


def _ambiguous_midway(found: Panels) -> Decision:
    (own, own_end), (vae, vae_end) = ((curve[0.5], curve[0.0]) for curve in found.midway)
    return Decision(
        f"{own.percent} (ends {own_end.percent}), VAE {vae.percent} (ends {vae_end.percent})",
        above(own - vae, MORE),
        {"autoencoder": own, "VAE": vae},
    )


def _clear_all_the_way(found: Panels) -> Decision:
    difference = found.midway[1][0.5] - found.midway[1][0.0]
    return Decision(difference.percent, below(difference, CLEAR), {"midway − ends": difference})


CLAIMS: tuple[Statement[Panels], ...] = (
    Statement(
        "5a",
        "fourth document",
        "The autoencoder's reconstructions are near perfect.",
        "Share of the test images' variance that they leave; share that keeps its class by the classifier",
        f"The first below {GOOD}, the second above 95 %.",
        lambda found: Decision(
            f"{found.unexplained}; {found.kept.percent}",
            every(below(found.unexplained, GOOD), above(found.kept, 0.95)),
            {"unexplained": found.unexplained, "kept": found.kept},
        ),
    ),
    Statement(
        "5b",
        "fourth document",
        "The autoencoder's samples from N(0, I) are poor.",
        f"Fréchet distance of its samples from test images, beside that of {SAME_NETS}",
        "Larger by more than two standard errors.",
        _worse_samples,
    ),
    Statement(
        "5c",
        "second, fifth document",
        "The autoencoder's plane has gaps between its codes, more than the VAE's.",
        "Share of cells of equal probability under the codes' own Gaussian with less than a tenth of their codes",
        "Larger than the VAE's by more than two standard errors.",
        lambda found: Decision(
            f"{found.gaps[0].percent}, VAE {found.gaps[1].percent}",
            above(found.gaps[0] - found.gaps[1], 0),
            {"autoencoder": found.gaps[0], "VAE": found.gaps[1]},
        ),
    ),
    Statement(
        "5d",
        "second document",
        "The autoencoder's codes are spread unevenly.",
        "Standard deviation over mean of the number of codes in these cells",
        f"More than {SPREAD} times that of the VAE.",
        lambda found: Decision(
            f"{found.unevenness[0]}, VAE {found.unevenness[1]}",
            above(found.unevenness[0] / found.unevenness[1], SPREAD),
            {"autoencoder": found.unevenness[0], "VAE": found.unevenness[1]},
        ),
    ),
    Statement(
        "5e",
        "fourth document",
        "The autoencoder's interpolations are ambiguous midway, more than the VAE's.",
        f"Share of ambiguous pictures midway between images of different classes, beside that of {SAME_NETS}",
        f"Larger by more than {100 * MORE:.0f} points.",
        _ambiguous_midway,
    ),
    Statement(
        "5f",
        "fourth document",
        "The VAE's interpolations are clear all the way.",
        "Share of ambiguous pictures midway, of the same VAE, beyond that at the ends",
        f"Below {100 * CLEAR:.0f} points.",
        _clear_all_the_way,
    ),
    Statement(
        "5g",
        "second document",
        "The KL term alone describes every observation by the same unit Gaussian.",
        "KL of the posteriors from N(0, I), nats per image",
        f"Below {NO_INFORMATION}.",
        lambda found: Decision(
            f"{found.kl_alone:.2g}",
            "holds" if found.kl_alone < NO_INFORMATION else "does not hold",
            {"KL": Estimate(found.kl_alone)},
        ),
    ),
)


def draw(study: Study, found: Panels) -> list[Picture]:
    """The three panels, marginals, the autoencoder's pictures, and interpolations."""
    return [_three_panels(study), _marginals(study), _autoencoder(study), _interpolations(study, found)]


def _three_panels(study: Study) -> Picture:
    figure, axes = new_figure(13.5, 4.1, columns=3)
    panels = {
        "reconstruction alone": study.codes("autoencoder-2d"),
        "KL term alone": study.codes("kl-only-2d"),
        "both: VAE": study.codes(study.seeded("vae-2d")[0]),
    }
    prior = [ellipse(np.zeros(2), np.eye(2), mass) for mass in (0.5, 0.9)]
    for ax, (title, codes) in zip(axes, panels.items(), strict=True):
        plot_panels({title: codes}, study.data.class_names, [ax], prior=prior)
    return Picture(
        "three-panels",
        figure,
        "The codes of test images by an autoencoder, by the KL term alone, and by a VAE; each panel has a scale of its "
        "own; dashed: N(0, I).",
        "Left, clusters spread unevenly over a wide area; middle, one round cloud of all classes; right, clusters "
        "packed around the origin.",
    )


def _marginals(study: Study) -> Picture:
    labels = study.split().labels.numpy()
    few = study.split().take([int(np.flatnonzero(labels == label)[0]) for label in (0, 1, 4, 9)])
    figure, axes = new_figure(11, 5, columns=7, rows=len(few))
    plot_marginals(marginals(study.model("vae-6d"), few), study.data.class_names, axes)
    return Picture(
        "marginals",
        figure,
        "Posterior of each of six latent dimensions for four test images (colour) beside the prior (grey), with the KL "
        "in nats.",
        "Four rows of an image and six narrow curves over a broad grey one.",
    )


def _autoencoder(study: Study) -> Picture:
    shown = np.linspace(0, len(study.images) - 1, 12).astype(int)
    figure, (left, right) = new_figure(12, 2.6, columns=2)
    pairs = study.reconstructions(AUTOENCODER)
    plot_image_grid(np.stack([pairs.inputs[shown], pairs.outputs[shown]]), left, row_labels=["input", "output"])
    left.set_title("reconstructions")
    plot_image_grid(study.samples(AUTOENCODER)[:24].reshape(2, 12, *study.images.shape[1:]), right)
    right.set_title("codes from N(0, I), decoded")
    return Picture(
        "autoencoder",
        figure,
        "The convolutional autoencoder: test images with their reconstructions, and codes drawn from N(0, I), decoded.",
        "Left, digits above their near copies; right, shapes that are mostly no digits.",
    )


def _interpolations(study: Study, found: Panels) -> Picture:
    models = {AUTOENCODER: "AE", beta_name(found.beta): "VAE"}
    labels = study.split().labels.numpy()
    second = [int(np.flatnonzero(labels == label)[1]) for label in range(study.data.num_classes)]
    ends = [(second[0], second[1]), (second[3], second[7]), (second[4], second[6])]
    rows = []
    for name in models:
        means = study.codes(name).means
        rows.append(
            traverse(study.model(name), np.stack([interpolate(means[a], means[b], STEPS) for a, b in ends])).images
        )
    figure, axes = new_figure(13, 3.6, columns=2)
    names = [f"{which} {labels[a]}–{labels[b]}" for which in models.values() for a, b in ends]
    plot_image_grid(np.concatenate(rows), axes[0], row_labels=names)
    for which, curve in zip(("autoencoder", f"VAE, β = {found.beta:g}"), found.midway, strict=True):
        draw_values(curve, axes[1], "share of ambiguous pictures", name=which)
    axes[1].set_xlabel("place on the way between two images")
    axes[1].tick_params(axis="x", labelsize=8)
    axes[1].legend(frameon=False)
    return Picture(
        "interpolations",
        figure,
        "Straight lines between the codes of two test images, and the share of ambiguous pictures on the way between "
        f"{min(PAIRS, len(labels)):,} pairs of different classes.",
        "Rows of interpolations by the autoencoder and by the VAE, and two curves over the way with a hump midway.",
    )


def needs(budget: Budget) -> list[str]:
    """The autoencoders, the VAEs over β, the KL term alone, the planes."""
    own = [AUTOENCODER, "autoencoder-2d", "kl-only-2d", "vae-6d", seeded_names(budget, "vae-2d")[0]]
    return [*own, *(beta_name(beta) for beta in budget.betas)]


EXPERIMENT = Experiment(5, "Without the KL term, and without the reconstruction", needs, measure, CLAIMS, draw)
