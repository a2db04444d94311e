"""Claim 6: the convolutional nets of the fourth document over a grid of β."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.metrics.rate_distortion import RateDistortion, rate_distortion
from pyrovae.plots import new_figure, plot_history, plot_image_grid, plot_rate_distortion
from pyrovae.studies.seeds.budgets import Budget, beta_name
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, every, rank_correlation
from pyrovae.studies.seeds.experiments.dimensions import sharpness
from pyrovae.studies.seeds.runs import history_of
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

SCALE = (
    "β weights the KL in nats against the squared error summed over the pixels of an image, as the fourth document's "
    "formula does; against a mean over pixels it would be as many times smaller."
)
GOOD = 0.1
"""Maximum share of the images' variance that a good reconstruction leaves unexplained."""
ALIKE = 0.25
"""Mean squared distance of two samples over that of two test images, below which samples are called alike."""
IGNORED = 0.9
"""Share of the images' variance left by reconstructions above which the code is called ignored."""
MONOTONE = 0.8
"""Minimum rank correlation for a monotone dependence on β."""


@dataclass(frozen=True)
class Sweep:
    """Measurements over β.

    Attributes:
        unexplained: Share of the test images' variance that the reconstructions leave.
        sharpness: Of reconstructions, over that of the images.
        frechet: Fréchet distance of the samples from the test images.
        ambiguous: Share of samples of whose class the classifier is not confident.
        diversity: Mean squared distance of two samples, over that of two test images.
        widths: Mean standard deviation of a posterior, in units of the code.
        correlations: Mean absolute correlation of two active dimensions; NaN where fewer than two are active.
        kl_over_epochs: KL of validation images after the first and after the last epoch, nats per image, by β.
        rates: Rate and distortion of the same models.
    """

    unexplained: dict[float, Estimate]
    sharpness: dict[float, Estimate]
    frechet: dict[float, Estimate]
    ambiguous: dict[float, Estimate]
    diversity: dict[float, Estimate]
    widths: dict[float, float]
    correlations: dict[float, float]
    kl_over_epochs: dict[float, tuple[float, float]]
    rates: RateDistortion | None = None

    @property
    def best(self) -> float:
        """The β with the samples nearest to real images."""
        return min(self.frechet, key=lambda beta: self.frechet[beta].value)

    @property
    def smallest(self) -> float:
        """The first β of the grid."""
        return next(iter(self.frechet))

    @property
    def largest(self) -> float:
        """The last β of the grid."""
        return list(self.frechet)[-1]


def unexplained(outputs: np.ndarray, inputs: np.ndarray) -> Estimate:
    """Squared error of reconstructions over the variance of the images around their mean."""
    variance = np.square(inputs - inputs.mean(0)).sum((1, 2, 3))
    return Estimate.mean_of(np.square(outputs - inputs).sum((1, 2, 3)) / variance.mean())


def diversity(samples: np.ndarray, images: np.ndarray) -> Estimate:
    """Mean squared distance of two samples over that of two images."""

    def distances(pictures: np.ndarray) -> np.ndarray:
        return np.square(pictures[: len(pictures) // 2] - pictures[-(len(pictures) // 2) :]).sum((1, 2, 3))

    # Images may be in an order, samples are not.
    shuffled = images[np.random.default_rng(0).permutation(len(images))]
    return Estimate.mean_of(distances(samples.clip(0, 1))) / Estimate.mean_of(distances(shuffled))


def measure(study: Study) -> Sweep:
    """Measure the VAE of every β."""
    names = {beta: beta_name(beta) for beta in study.budget.betas}
    pairs = {beta: study.reconstructions(name) for beta, name in names.items()}
    own = Estimate.mean_of(sharpness(study.images))
    rates = rate_distortion([study.model(name) for name in names.values()], list(names), study.split())
    return Sweep(
        unexplained={b: unexplained(p.outputs, p.inputs) for b, p in pairs.items()},
        sharpness={b: Estimate.mean_of(sharpness(p.outputs)) / own for b, p in pairs.items()},
        frechet={b: study.frechet(name) for b, name in names.items()},
        ambiguous={b: Estimate.mean_of(~study.sample_predictions(name).confident) for b, name in names.items()},
        diversity={b: diversity(study.samples(name), study.images) for b, name in names.items()},
        widths=dict(zip(names, rates.widths.tolist(), strict=True)),
        correlations=dict(zip(names, rates.correlations.tolist(), strict=True)),
        kl_over_epochs={b: _kl_over_epochs(study, name) for b, name in names.items()},
        rates=rates,
    )


def _kl_over_epochs(study: Study, name: str) -> tuple[float, float]:
    values = history_of(study.folder(name), study.model(name)).column("validation_kl")
    return float(values[0]), float(values[-1])


def _bad_samples(found: Sweep) -> Decision:
    none, best = found.smallest, found.best
    return Decision(
        f"{found.unexplained[none]} left; distance {found.frechet[none]}, at β = {best:g} {found.frechet[best]}",
        every(below(found.unexplained[none], GOOD), above(found.frechet[none] - found.frechet[best], 0)),
        {"unexplained": found.unexplained[none], "Fréchet distance": found.frechet[none]},
        SCALE,
    )


def _blurred(found: Sweep) -> Decision:
    most, best = found.largest, found.best
    return Decision(
        f"sharpness {found.sharpness[most]}, at β = {best:g} {found.sharpness[best]}; samples differ "
        f"{found.diversity[most]} as much as images",
        every(above(found.sharpness[best] - found.sharpness[most], 0), below(found.diversity[most], ALIKE)),
        {"sharpness": found.sharpness[most], "diversity": found.diversity[most]},
    )


def _best_between(found: Sweep) -> Decision:
    between = found.smallest < found.best < found.largest
    beats = [above(found.frechet[end] - found.frechet[found.best], 0) for end in (found.smallest, found.largest)]
    return Decision(
        ", ".join(f"β = {b:g}: {v}" for b, v in found.frechet.items()),
        every("holds" if between else "does not hold", *beats),
        {f"Fréchet distance, β = {b:g}": v for b, v in found.frechet.items()},
        "Ambiguous samples: " + ", ".join(f"β = {b:g}: {v.percent}" for b, v in found.ambiguous.items()),
    )


def _grows(found: Sweep) -> Decision:
    first, last = found.kl_over_epochs[found.smallest]
    others = ", ".join(f"β = {b:g}: {end:.3g}" for b, (_, end) in found.kl_over_epochs.items() if b != found.smallest)
    return Decision(
        f"{first:.0f} after the first epoch, {last:.0f} after the last",
        "holds" if last > first else "does not hold",
        {"first epoch": Estimate(first), "last epoch": Estimate(last)},
        f"After the last epoch at {others}.",
    )


def _with_beta(values: Mapping[float, float], sign: int) -> Decision:
    """Whether values rise (sign 1) or fall (sign -1) with β. NaN is left out of the correlation."""
    known = {b: v for b, v in values.items() if np.isfinite(v)}
    correlation = rank_correlation(list(known), list(known.values()))
    return Decision(
        ", ".join(f"β = {b:g}: {v:.3f}" for b, v in values.items()).replace("nan", "none active"),
        "undecided" if np.isnan(correlation) else "holds" if sign * correlation >= MONOTONE else "does not hold",
        {"rank correlation": Estimate(correlation)},
    )


CLAIMS: tuple[Statement[Sweep], ...] = (
    Statement(
        "6a",
        "fourth document",
        "β = 0: good reconstructions, bad samples.",
        "Share of variance that reconstructions leave; Fréchet distance of the samples, beside that of the best β",
        f"The first below {GOOD}, the second larger than that of the best β by more than two standard errors.",
        _bad_samples,
    ),
    Statement(
        "6b",
        "fourth document",
        "β = {found.largest:g}: reconstructions and samples are blurred, and samples are alike.",
        "Sharpness of reconstructions beside that of the best β; mean squared distance of two samples over that of "
        "two test images",
        f"The first smaller by more than two standard errors, the second below {ALIKE}.",
        _blurred,
    ),
    Statement(
        "6c",
        "fourth document",
        "A tuned β between 0 and {found.largest:g} gives clear samples that differ from each other.",
        "Fréchet distance of the samples, over the grid of β",
        "The smallest is between the ends, and smaller than both by more than two standard errors.",
        _best_between,
    ),
    Statement(
        "6d",
        "second document",
        "A larger β broadens the posteriors.",
        "Mean standard deviation of a posterior, over the grid of β",
        f"Its rank correlation with β is at least {MONOTONE}.",
        lambda found: _with_beta(found.widths, 1),
    ),
    Statement(
        "6e",
        "second document",
        "A larger β decorrelates the latent dimensions.",
        "Mean absolute correlation of the posterior means of two active dimensions",
        f"Its rank correlation with β is at most −{MONOTONE}, over the β that leave two dimensions active.",
        lambda found: _with_beta(found.correlations, -1),
    ),
    Statement(
        "6f",
        "fourth document",
        "β = {found.smallest:g}: the training considers the reconstruction alone, so the KL grows on.",
        "KL of validation images, nats per image, over the epochs",
        "It is larger after the last epoch than after the first.",
        _grows,
    ),
    Statement(
        "6g",
        "fourth document",
        "β = {found.largest:g}: the weight of the reconstruction is so low that the code is ignored.",
        "Share of variance that reconstructions leave",
        f"Above {IGNORED}.",
        lambda found: Decision(
            str(found.unexplained[found.largest]),
            above(found.unexplained[found.largest], IGNORED),
            {"unexplained": found.unexplained[found.largest]},
        ),
    ),
)


def draw(study: Study, found: Sweep) -> list[Picture]:
    """Reconstructions and samples over β, numbers, rate against distortion, curves at both ends and at the best β."""
    trade = [] if found.rates is None else [_rate_distortion(found.rates)]
    curves = dict.fromkeys((found.smallest, found.best, found.largest))
    return [_pictures(study), _numbers(found), *trade, *(_curves(study, beta) for beta in curves)]


def _pictures(study: Study) -> Picture:
    names = {beta: beta_name(beta) for beta in study.budget.betas}
    shown = np.linspace(0, len(study.images) - 1, 12).astype(int)
    labels = [f"β = {beta:g}" for beta in names]
    figure, axes = new_figure(13, 3.6, columns=2)
    plot_image_grid(study.with_reconstructions(names.values(), shown), axes[0], row_labels=["input", *labels])
    axes[0].set_title("reconstructions")
    others = (shown + 1) % len(study.images)
    rows = [study.images[others], *(study.samples(name)[: len(shown)] for name in names.values())]
    plot_image_grid(np.stack(rows), axes[1], row_labels=["images", *labels])
    axes[1].set_title("samples")
    return Picture(
        "beta-pictures",
        figure,
        f"Test images with their reconstructions, and samples, over β. {SCALE}",
        "Rows of reconstructions and of samples, one row for each β.",
    )


def _numbers(found: Sweep) -> Picture:
    figure, axes = new_figure(11, 6.4, columns=3, rows=2)
    for ax, values, label in (
        (axes[0], found.unexplained, "share of variance left"),
        (axes[1], found.frechet, "Fréchet distance of samples"),
        (axes[2], found.diversity, "samples' distance over images'"),
        (axes[3], found.sharpness, "sharpness over the images' own"),
        (axes[4], {b: Estimate(w) for b, w in found.widths.items()}, "posterior width"),
        (axes[5], {b: Estimate(c) for b, c in found.correlations.items()}, "|correlation| of dimensions"),
    ):
        draw_values({float(b): v for b, v in values.items()}, ax, label)
        ax.set_xlabel("β")
    return Picture(
        "beta-numbers",
        figure,
        "The numbers behind it, over β, with one standard error over images.",
        "Six curves over β: reconstruction error, sample quality, diversity, sharpness, posterior width, correlation.",
    )


def _rate_distortion(rates: RateDistortion) -> Picture:
    figure, (ax,) = new_figure(6.5, 4.5)
    plot_rate_distortion(rates, ax)
    return Picture(
        "rate-distortion",
        figure,
        "Rate against distortion of the same models.",
        "A falling curve of distortion over rate with a point for each β.",
    )


def _curves(study: Study, beta: float) -> Picture:
    figure, axes = new_figure(11, 3.4, columns=3)
    name = beta_name(beta)
    plot_history(history_of(study.folder(name), study.model(name)), axes)
    return Picture(
        f"curves-{name}",
        figure,
        f"Training curves at β = {beta:g}, the true bound and its parts.",
        "Three curves over the epochs: bound, reconstruction, KL, of train and validation images.",
    )


def needs(budget: Budget) -> list[str]:
    """The VAE of every β."""
    return [beta_name(beta) for beta in budget.betas]


EXPERIMENT = Experiment(6, "β from nothing to too much", needs, measure, CLAIMS, draw)
