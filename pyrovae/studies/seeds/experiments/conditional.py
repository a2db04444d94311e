"""Claim 4: the code of a conditional VAE describes the style and not the class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from pyrovae.estimates import Estimate
from pyrovae.latent import class_gaussians, compare_classes, every_class, grid_around, sample_per_class, traverse
from pyrovae.latent.morphology import measure as morphology
from pyrovae.metrics.classifier import predict_classes
from pyrovae.plots import new_figure, plot_image_grid, plot_traversal
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Decision, Statement, above, below, every, over_seeds
from pyrovae.studies.seeds.experiments.layout import NEAR, Layout, draw_classes, kl_of_classes
from pyrovae.studies.seeds.experiments.layout import measure as measure_layout
from pyrovae.studies.seeds.study import Experiment, Picture, Study

DIGIT = 9
NEAR_CHANCE = 0.01
"""Maximum accuracy above chance for classes to be called indistinguishable: what the images can resolve."""
NEIGHBOURS = 50
STYLES = ("width", "slant")
"""Attributes that change over the plane of the 9 according to the first document."""


@dataclass(frozen=True)
class Conditional:
    """Measurements of the CVAE, with some of the VAE.

    Attributes:
        bayes: Accuracy of the Bayes rule of the class Gaussians on test codes.
        neighbours: Accuracy of a vote of the nearest training codes on test codes.
        chance: Share of the most frequent class.
        farthest_kl: KL from N(0, I) of the class that is farthest from it, nats.
        mean_kl: The same, averaged over classes.
        vae_mean_kl: The same of the VAE.
        obeyed: Share of pictures over the plane, of every label, that the classifier gives that label.
        explained: Share of the variance of each style over the plane of one label that is linear in the code, averaged
            over labels.
        variety: Standard deviation of each style over samples of one label, over that of test images of that class,
            averaged over labels.
        frechet: Fréchet distance of the samples from the test images, by dimension: of the VAE and of the CVAE.
        ambiguous: Share of ambiguous samples, likewise.
    """

    bayes: Estimate
    neighbours: Estimate
    chance: float
    farthest_kl: Estimate
    mean_kl: Estimate
    vae_mean_kl: Estimate
    obeyed: Estimate
    explained: dict[str, Estimate]
    variety: dict[str, Estimate]
    frechet: dict[int, tuple[Estimate, Estimate]]
    ambiguous: dict[int, tuple[Estimate, Estimate]]


def vote_accuracy(study: Study, name: str) -> Estimate:
    """Accuracy of a vote of the nearest training codes on test codes; both are draws from posteriors."""
    train, test = study.codes(name, "train"), study.codes(name)
    votes = KNeighborsClassifier(min(NEIGHBOURS, len(train) // 20)).fit(train.draws, train.labels)
    return Estimate.mean_of(votes.predict(test.draws) == test.labels)


def obedience(study: Study, name: str) -> Estimate:
    """Share of pictures over the plane, of every label, that the classifier gives that label."""
    codes = grid_around(np.zeros(2), rows=9, columns=9, step=0.5).reshape(-1, 2)
    found = every_class(study.model(name), codes)
    seen = predict_classes(study.classifier, found.images.reshape(-1, *study.images.shape[1:])).labels
    return Estimate.mean_of(seen == np.tile(np.arange(study.data.num_classes), len(codes)))


def linear_share(codes: np.ndarray, values: np.ndarray) -> float:
    """Share of the variance of values, (N,), that is linear in codes, (N, d)."""
    there = np.isfinite(values)
    inputs = np.column_stack([codes[there], np.ones(there.sum())])
    residual = values[there] - inputs @ np.linalg.lstsq(inputs, values[there], rcond=None)[0]
    return float(1 - residual.var() / values[there].var())


def styles(study: Study, name: str) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """`explained` and `variety` of one run, their errors the scatter over labels."""
    codes = grid_around(np.zeros(2), rows=9, columns=9, step=0.5)
    real = morphology(study.images).to_dict()
    labels = study.split().labels.numpy()
    drawn = sample_per_class(study.model(name), 100).images
    explained, variety = {}, {}
    for style in STYLES:
        shares, ratios = [], []
        for label in range(study.data.num_classes):
            pictures = traverse(study.model(name), codes, label).images.reshape(-1, *study.images.shape[1:])
            shares.append(linear_share(codes.reshape(-1, 2), morphology(pictures).to_dict()[style]))
            of_samples = morphology(drawn[label]).to_dict()[style]
            ratios.append(np.nanstd(of_samples) / np.nanstd(real[style][labels == label]))
        explained[style], variety[style] = Estimate.mean_of(np.array(shares)), Estimate.mean_of(np.array(ratios))
    return explained, variety


def measure(study: Study) -> Conditional:
    """Measure every seed's CVAE."""
    names = study.seeded("cvae-2d")
    compared = [
        compare_classes(study.codes(name), class_gaussians(study.codes(name, "train"), bootstrap=0)) for name in names
    ]
    classes = [kl_of_classes(study.codes(name)) for name in names]
    found = [styles(study, name) for name in names]
    layout: Layout = study.once(measure_layout)

    def both(dim: int, statistic: str) -> tuple[Estimate, Estimate]:
        def of(name: str) -> Estimate:
            if statistic == "frechet":
                return study.frechet(name)
            return Estimate.mean_of(~study.sample_predictions(name).confident)

        vae, cvae = (over_seeds([of(n) for n in study.seeded(f"{m}-{dim}d")]) for m in ("vae", "cvae"))
        return vae, cvae

    return Conditional(
        bayes=over_seeds([c.bayes_accuracy for c in compared]),
        neighbours=over_seeds([vote_accuracy(study, name) for name in names]),
        chance=compared[0].chance,
        farthest_kl=over_seeds([max(values, key=lambda v: v.value) for values in classes]),
        mean_kl=over_seeds([Estimate(float(np.mean([v.value for v in values]))) for values in classes]),
        vae_mean_kl=layout.mean_kl,
        obeyed=over_seeds([obedience(study, name) for name in names]),
        explained={style: over_seeds([e[style] for e, _ in found]) for style in STYLES},
        variety={style: over_seeds([v[style] for _, v in found]) for style in STYLES},
        frechet={dim: both(dim, "frechet") for dim in (2, 5)},
        ambiguous={dim: both(dim, "ambiguous") for dim in (2, 5)},
    )


def _indistinguishable(found: Conditional) -> Decision:
    limit = found.chance + NEAR_CHANCE
    return Decision(
        f"{found.bayes.percent} and {found.neighbours.percent}; chance {100 * found.chance:.1f} %",
        every(below(found.bayes, limit), below(found.neighbours, limit)),
        {"Bayes accuracy": found.bayes, "nearest codes": found.neighbours},
    )


def _styles_decided(found: Conditional) -> Decision:
    linear, spread = found.explained, found.variety
    return Decision(
        "; ".join(f"{s}: {linear[s].percent} linear, spread {spread[s]} of real" for s in STYLES),
        every(*(above(linear[s], 0.5) for s in STYLES), *(above(spread[s], 0.5) for s in STYLES)),
        {f"{s}, {name}": values[s] for s in STYLES for name, values in (("linear", linear), ("spread", spread))},
        "Averages over all labels.",
    )


def _better_samples(found: Conditional) -> Decision:
    better = {dim: vae - cvae for dim, (vae, cvae) in found.frechet.items()}
    ambiguous = ", ".join(f"n = {d}: VAE {v.percent}, CVAE {c.percent}" for d, (v, c) in found.ambiguous.items())
    return Decision(
        ", ".join(f"n = {d}: VAE {vae}, CVAE {cvae}" for d, (vae, cvae) in found.frechet.items()),
        every(*(above(value, 0) for value in better.values())),
        {f"VAE − CVAE, n = {dim}": value for dim, value in better.items()},
        f"Ambiguous samples: {ambiguous}.",
    )


CLAIMS: tuple[Statement[Conditional], ...] = (
    Statement(
        "4a",
        "first document",
        "CVAE: the classes are indistinguishable in the plane.",
        "Share of test codes classified correctly by the class Gaussians and by the nearest training codes",
        f"Both less than {100 * NEAR_CHANCE:.0f} point above chance.",
        _indistinguishable,
    ),
    Statement(
        "4b",
        "first document",
        "CVAE: each class is truly a standard normal distribution.",
        "KL from N(0, I) of the Gaussian of the class that is farthest from it, nats",
        f"Below {NEAR}.",
        lambda found: Decision(
            f"{found.farthest_kl}; {found.mean_kl} on average over classes, where the VAE has {found.vae_mean_kl}",
            below(found.farthest_kl, NEAR),
            {"farthest class": found.farthest_kl, "mean": found.mean_kl, "VAE's mean": found.vae_mean_kl},
        ),
    ),
    Statement(
        "4c",
        "first document",
        "The code plays no role in the value of the digit, which the label decides.",
        "Share of pictures over the plane (9 × 9, step 0.5, all labels) that the classifier gives their label",
        "Above 95 %.",
        lambda found: Decision(found.obeyed.percent, above(found.obeyed, 0.95), {"obeyed": found.obeyed}),
    ),
    Statement(
        "4d",
        "first document",
        "The code decides the style: across the plane the digit's width changes, along the other way its slant.",
        "Share of the variance of each style over the plane that is linear in the code; and its spread over "
        "samples of a class, over that of real images of the class",
        "Both above one half, for width and slant.",
        _styles_decided,
    ),
    Statement(
        "4e",
        "first document",
        "Samples of the CVAE are better than those of the plain VAE, at n = 2 and n = 5.",
        "Fréchet distance of samples from test images in the classifier's features, over their variance",
        "The CVAE's is smaller by more than two standard errors at both.",
        _better_samples,
    ),
)


def draw(study: Study, found: Conditional) -> list[Picture]:
    """Ellipses, the plane of the 9, and samples of both dimensions."""
    name = study.seeded("cvae-2d")[0]
    figure, axes = new_figure(13, 5.6, columns=2)
    draw_classes(study, study.codes(study.seeded("vae-2d")[0]), axes[0], "VAE")
    draw_classes(study, study.codes(name), axes[1], "CVAE")
    ellipses = Picture(
        "cvae-ellipses",
        figure,
        "Ellipses of equal probability, 50 and 90 %, of each class (test images), of the VAE and of the CVAE; dashed: "
        "the prior.",
        "Left, ten ellipses side by side; right, ten ellipses on top of each other around the origin.",
    )
    figure, (ax,) = new_figure(7.5, 7.6)
    plot_traversal(traverse(study.model(name), grid_around(np.zeros(2), rows=9, columns=9, step=0.5), DIGIT), ax)
    nine = Picture(
        "cvae-nine",
        figure,
        "The plane of the CVAE decoded as a 9, on a grid around the origin, with its coordinates on the axes.",
        "A nine by nine grid of nines of changing width and slant.",
    )
    figure, axes = new_figure(9.5, 5, columns=2)
    for ax, dim in zip(axes, (2, 5), strict=True):
        samples = sample_per_class(study.model(study.seeded(f"cvae-{dim}d")[0]))
        plot_image_grid(samples.images, ax, row_labels=list(study.data.class_names))
        ax.set_title(f"n = {dim}")
    pictures = Picture(
        "cvae-samples",
        figure,
        "Samples of CVAEs of n latent dimensions, one class a row.",
        "Two panels of samples, ten of each digit, at n = 2 and n = 5.",
    )
    return [ellipses, nine, pictures]


def needs(budget: Budget) -> list[str]:
    """VAE and CVAE of two and of five dimensions, of every seed."""
    return [name for m in ("vae", "cvae") for d in (2, 5) for name in seeded_names(budget, f"{m}-{d}d")]


EXPERIMENT = Experiment(4, "What the label takes from the code", needs, measure, CLAIMS, draw)
