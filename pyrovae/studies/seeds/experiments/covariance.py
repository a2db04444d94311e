"""Claim 14: posteriors with a full and with a diagonal covariance; an image as a point and as a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.inference.elbo import ACTIVE_VARIANCE, estimate_elbo
from pyrovae.latent import Codes, ellipse
from pyrovae.metrics.rate_distortion import mean_correlation
from pyrovae.plots import Axes, class_styles, new_figure
from pyrovae.studies.seeds.budgets import CORRELATED_DIMS, Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, over_seeds
from pyrovae.studies.seeds.study import Experiment, Picture, Study

FOLDS = 20
SMALL = 1.0
"""Gain in the bound, nats per image, below which a full covariance is called hardly better."""
SHOWN = 60
MASS = 0.9


@dataclass(frozen=True)
class Covariance:
    """Measurements of VAEs with full and with diagonal posteriors, by number of latent dimensions.

    Attributes:
        gains: Bound of test images with a full covariance less that with a diagonal one, nats per image.
        diagonal: Mean absolute correlation of two active dimensions of the posterior means, of the diagonal models.
        full: The same of the full models.
        inside: Mean absolute correlation of two dimensions within a full posterior.
    """

    gains: dict[int, Estimate]
    diagonal: dict[int, Estimate]
    full: dict[int, Estimate]
    inside: dict[int, Estimate]


def correlation_of_active(means: np.ndarray) -> float:
    """Mean absolute correlation of two active dimensions of codes, (N, d); NaN if fewer than two are active."""
    return mean_correlation(means[:, means.var(0) > ACTIVE_VARIANCE].astype(np.float64))


def correlation_inside(codes: Codes) -> Estimate:
    """Mean absolute correlation of two dimensions within an image's posterior."""
    covariances = codes.covariances().astype(np.float64)
    scales = np.sqrt(np.einsum("nii->ni", covariances))
    correlations = np.abs(covariances / scales[:, :, None] / scales[:, None, :])
    one, other = np.triu_indices(codes.latent_dim, 1)
    return Estimate.mean_of(correlations[:, one, other].mean(1))


def gain(study: Study, full: str, diagonal: str) -> Estimate:
    """Difference of two runs' bounds on the same test images, its error from its scatter over parts of them."""
    parts = np.array_split(np.arange(len(study.split())), FOLDS)
    splits = [study.split().take(part.tolist()) for part in parts]
    bounds = [
        np.array([estimate_elbo(study.model(name), split).negative_elbo.value for split in splits])
        for name in (diagonal, full)
    ]
    return Estimate.mean_of(bounds[0] - bounds[1])


def measure(study: Study) -> Covariance:
    """Measure every seed of each dimension."""
    names = {d: [(f"full-{d}d-seed{s}", f"vae-{d}d-seed{s}") for s in study.budget.seeds] for d in CORRELATED_DIMS}

    def correlation(name: str) -> Estimate:
        return Estimate(correlation_of_active(study.codes(name).means))

    return Covariance(
        gains={d: over_seeds([gain(study, *pair) for pair in rows]) for d, rows in names.items()},
        diagonal={d: over_seeds([correlation(diagonal) for _, diagonal in rows]) for d, rows in names.items()},
        full={d: over_seeds([correlation(full) for full, _ in rows]) for d, rows in names.items()},
        inside={d: over_seeds([correlation_inside(study.codes(f)) for f, _ in rows]) for d, rows in names.items()},
    )


def _simpler(dim: int, found: Covariance) -> Decision:
    value = found.gains[dim]
    return Decision(
        f"{value}",
        below(value, SMALL),
        {"gain": value},
        f"Mean absolute correlation of two dimensions within a full posterior: {found.inside[dim]}.",
    )


def _decorrelates(found: Covariance) -> Decision:
    apart = {d: found.full[d] - found.diagonal[d] for d in CORRELATED_DIMS}
    return Decision(
        "; ".join(f"n = {d}: {found.diagonal[d]}, full {found.full[d]}" for d in apart).replace("nan", "none active"),
        above(apart[CORRELATED_DIMS[-1]], 0),
        {f"full − diagonal, n = {d}": value for d, value in apart.items() if np.isfinite(value.value)},
        "Of one training each for every seed; correlations of posterior means.",
    )


CLAIMS: tuple[Statement[Covariance], ...] = (
    *(
        Statement(
            number,
            "second document",
            f"The assumption of a diagonal covariance is a simplification that costs little: n = {dim}.",
            "Bound of test images with a full covariance less that with a diagonal one, nats per image",
            f"Below {SMALL:g}.",
            partial(_simpler, dim),
        )
        for number, dim in zip(("14a", "14b"), CORRELATED_DIMS, strict=True)
    ),
    Statement(
        "14c",
        "second document",
        "The diagonal covariance makes the latent dimensions uncorrelated.",
        "Mean absolute correlation of two active dimensions of the posterior means, with a diagonal and with a full "
        "covariance",
        f"Smaller with the diagonal one by more than two standard errors, at n = {CORRELATED_DIMS[-1]}.",
        _decorrelates,
    ),
)


def draw(study: Study, found: Covariance) -> list[Picture]:
    """The same images as points of an autoencoder, and as Gaussians of the two VAEs."""
    seed = study.budget.seeds[0]
    labels = study.split().labels.numpy()
    shown = np.concatenate([np.flatnonzero(labels == k)[: SHOWN // 10] for k in range(10)])
    figure, axes = new_figure(13.5, 4.4, columns=3)
    panels = {
        "autoencoder: an image is a point": "autoencoder-2d",
        "VAE: an image is a Gaussian, diagonal": f"vae-2d-seed{seed}",
        "VAE: an image is a Gaussian, full": f"full-2d-seed{seed}",
    }
    for ax, (title, name) in zip(axes, panels.items(), strict=True):
        _draw_images(study.codes(name).take(shown), ax, points=name == "autoencoder-2d")
        ax.set_title(title)
    return [
        Picture(
            "points-and-gaussians",
            figure,
            f"The codes of {len(shown)} test images, coloured by class: points of the autoencoder, and posteriors of "
            f"the VAEs, ellipses of {100 * MASS:.0f} %. Each panel has a scale of its own.",
            "Left, scattered points; middle, upright ellipses; right, ellipses turned in any direction.",
        )
    ]


def _draw_images(codes: Codes, ax: Axes, *, points: bool) -> None:
    """Draw each image's code in the colour of its class: a point, or its posterior's ellipse."""
    styles = class_styles(10)
    for mean, covariance, label in zip(codes.means, codes.covariances(), codes.labels, strict=True):
        colour = styles[int(label) % 10][0]
        ax.plot(*mean, marker="o", markersize=5 if points else 2, color=colour, linestyle="")
        if not points:
            ax.plot(*ellipse(mean, covariance.astype(np.float64), MASS).outline().T, color=colour, linewidth=1)
    ax.set(xlabel="z[0]", ylabel="z[1]")
    ax.set_aspect("equal", adjustable="datalim")


def needs(budget: Budget) -> list[str]:
    """VAEs with both posteriors, and the autoencoder of the plane."""
    names = [name for d in CORRELATED_DIMS for m in ("full", "vae") for name in seeded_names(budget, f"{m}-{d}d")]
    return [*names, "autoencoder-2d"]


EXPERIMENT = Experiment(14, "An image as a point and as a Gaussian", needs, measure, CLAIMS, draw)
