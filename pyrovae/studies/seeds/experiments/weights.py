"""Claim 7: the third document's weight of the reconstruction, and the effect of the KL term on the plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.latent import Reconstructions, class_gaussians
from pyrovae.plots import new_figure, plot_codes
from pyrovae.studies.seeds.budgets import Budget, seeded_names, weight_name
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, bootstrapped, every, over_seeds
from pyrovae.studies.seeds.experiments.autoencoder import gap_share, plane_value
from pyrovae.studies.seeds.experiments.neighbours import most_likely
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

SCALE = (
    "The third document weights the mean squared error over the pixels against the KL in nats; its weight r is the "
    "fourth document's β upside down: β = pixels / r for the error summed over the pixels."
)
LEVEL = 0.02
"""Share by which the error or the KL may go the wrong way from one weight to the next."""
CENTRED = 0.1
"""Maximum distance of the mean code from the origin for codes to be called centred."""
REACH = 3.5
"""Half the side of the drawn planes, in units of the code."""
GAPS = 0.05
"""Maximum share of empty cells for a plane without large gaps."""


@dataclass(frozen=True)
class Weights:
    """Measurements over the third document's weight r, and of the plane of the plain VAE.

    Attributes:
        squared_error: Of reconstructions of test images, summed over the pixels, by r.
        steps: Fall of the squared error from each r to the next, over the error before; paired by image.
        kl: KL of the posteriors from the prior, nats per image, by r.
        off_centre: Distance of the VAE's mean code from the origin.
        scale: Standard deviation of all codes together, averaged over dimensions.
        gaps: Share of empty cells in the plane of the VAE.
        autoencoder_gaps: The same of the autoencoder.
        largest_share: The largest share of the prior's mass in which a class is the most likely, over its share of the
            images.
        smallest_share: The smallest.
    """

    squared_error: dict[float, Estimate]
    steps: dict[float, Estimate]
    kl: dict[float, Estimate]
    off_centre: Estimate
    scale: Estimate
    gaps: Estimate
    autoencoder_gaps: Estimate
    largest_share: Estimate
    smallest_share: Estimate


def shares_of_plane(study: Study, name: str, draws: int = 20_000) -> np.ndarray:
    """Prior mass in which each class is the most likely one, over its share of the images, (classes,)."""
    gaussians = class_gaussians(study.codes(name, "train"), bootstrap=0)
    codes = np.random.default_rng(0).standard_normal((draws, 2))
    won = np.array([(most_likely(gaussians, codes) == label).mean() for label in gaussians.classes])
    return won / (gaussians.counts / gaussians.counts.sum())


def _squared_errors(pairs: Reconstructions) -> np.ndarray:
    return np.square(pairs.outputs - pairs.inputs).sum((1, 2, 3))


def _of_draws(statistic: Callable[[np.ndarray], float], draws: np.ndarray) -> Estimate:
    return bootstrapped(lambda index: statistic(draws[index]), len(draws))


def measure(study: Study) -> Weights:
    """Measure the VAE of every weight, and the plain VAE's plane over seeds."""
    names = {r: weight_name(r) for r in study.budget.weights}
    errors = {r: _squared_errors(study.reconstructions(name)) for r, name in names.items()}
    planes = study.seeded("vae-2d")
    draws = [study.codes(name).draws.astype(np.float64) for name in planes]

    def over(statistic: Callable[[np.ndarray], float]) -> Estimate:
        return over_seeds([_of_draws(statistic, codes) for codes in draws])

    shares = [shares_of_plane(study, name) for name in planes]
    return Weights(
        squared_error={r: Estimate.mean_of(values) for r, values in errors.items()},
        steps={r: Estimate.mean_of((errors[s] - errors[r]) / errors[s].mean()) for s, r in pairwise(errors)},
        kl={r: Estimate(estimate_elbo(study.model(name), study.split()).kl.value) for r, name in names.items()},
        off_centre=over(lambda codes: float(np.linalg.norm(codes.mean(0)))),
        scale=over(lambda codes: float(codes.std(0).mean())),
        gaps=over_seeds([plane_value(study, name, gap_share) for name in planes]),
        autoencoder_gaps=plane_value(study, "autoencoder-2d", gap_share),
        largest_share=over_seeds([Estimate(float(s.max())) for s in shares]),
        smallest_share=over_seeds([Estimate(float(s.min())) for s in shares]),
    )


def _trades(found: Weights) -> Decision:
    weights = list(found.kl)
    first, last = weights[0], weights[-1]
    overall = [found.squared_error[first] - found.squared_error[last], found.kl[last] - found.kl[first]]
    rises = [(found.kl[b] - found.kl[a]) / found.kl[a].value for a, b in pairwise(weights) if found.kl[a].value]
    return Decision(
        "; ".join(f"r = {r:g}: error {found.squared_error[r]}, KL {found.kl[r]}" for r in weights),
        every(*(above(d, 0) for d in overall), *(above(step, -LEVEL) for step in (*found.steps.values(), *rises))),
        {f"squared error, r = {r:g}": v for r, v in found.squared_error.items()}
        | {f"KL, r = {r:g}": v for r, v in found.kl.items()},
        SCALE,
    )


CLAIMS: tuple[Statement[Weights], ...] = (
    Statement(
        "7a",
        "third document",
        "The weight of the reconstruction trades it against the KL term.",
        "Squared error of test reconstructions and KL in nats, over the weight r",
        "From the smallest r to the largest the error falls and the KL rises, by more than two standard errors, and "
        f"no step between goes the other way by {100 * LEVEL:.0f} % or more.",
        _trades,
    ),
    Statement(
        "7b",
        "third, fifth document",
        "The KL term keeps the codes centred, their spread that of N(0, I).",
        "Distance of the mean code from the origin; standard deviation of all codes",
        f"The first below {CENTRED}, the second between 0.9 and 1.1.",
        lambda found: Decision(
            f"{found.off_centre}; {found.scale}",
            every(below(found.off_centre, CENTRED), above(found.scale, 0.9), below(found.scale, 1.1)),
            {"off centre": found.off_centre, "scale": found.scale},
        ),
    ),
    Statement(
        "7c",
        "third document",
        "The VAE's plane has no large gaps, and fewer than the autoencoder's.",
        "Share of cells of equal probability under the codes' own Gaussian with less than a tenth of their codes",
        f"Below {100 * GAPS:.0f} %, and below the autoencoder's.",
        lambda found: Decision(
            f"{found.gaps.percent}, autoencoder {found.autoencoder_gaps.percent}",
            every(below(found.gaps, GAPS), above(found.autoencoder_gaps - found.gaps, 0)),
            {"VAE": found.gaps, "autoencoder": found.autoencoder_gaps},
        ),
    ),
    Statement(
        "7d",
        "third document",
        "No class gets more than its share of the plane.",
        "Prior mass in which a class is the most likely one by the class Gaussians, over its share of the images",
        "Between one half and two for every class.",
        lambda found: Decision(
            f"{found.smallest_share} to {found.largest_share}",
            every(above(found.smallest_share, 0.5), below(found.largest_share, 2)),
            {"smallest": found.smallest_share, "largest": found.largest_share},
        ),
    ),
)


def draw(study: Study, found: Weights) -> list[Picture]:
    """The trade over the weight, and the planes."""
    figure, axes = new_figure(9, 3.2, columns=2)
    draw_values({float(r): v for r, v in found.squared_error.items()}, axes[0], "squared error, summed over pixels")
    draw_values({float(r): v for r, v in found.kl.items()}, axes[1], "KL, nats per image")
    for ax in axes:
        ax.set_xlabel("weight r of the mean squared error")
    trade = Picture(
        "weights",
        figure,
        f"What the weight of the reconstruction trades. {SCALE}",
        "Two curves over the weight: the squared error falls, the KL rises.",
    )
    few = study.budget.weights
    figure, axes = new_figure(6.4 * len(few) / 2, 10, columns=(len(few) + 1) // 2, rows=2)
    for ax, r in zip(axes, few, strict=False):
        plot_codes(study.codes(weight_name(r)), study.data.class_names, ax)
        ax.set_title(f"r = {r:g}")
        ax.set_adjustable("box")
        ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH))
    planes = Picture(
        "weights-planes",
        figure,
        "Posterior means of test images by class, over the weight.",
        "Four scatters of codes: with a small weight all in one point, with larger ones classes in their own places.",
    )
    return [trade, planes]


def needs(budget: Budget) -> list[str]:
    """The VAE of every weight, the plain 2-D VAEs, the 2-D autoencoder."""
    return [*(weight_name(r) for r in budget.weights), *seeded_names(budget, "vae-2d"), "autoencoder-2d"]


EXPERIMENT = Experiment(7, "The weight of the reconstruction", needs, measure, CLAIMS, draw)
