"""Claim 15: whether the codes of a VAE are more useful than those of an autoencoder."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from pyrovae.data import to_unit
from pyrovae.estimates import Estimate
from pyrovae.latent import Codes
from pyrovae.metrics.codes import code_accuracy
from pyrovae.plots import new_figure
from pyrovae.studies.seeds.budgets import Budget, beta_name
from pyrovae.studies.seeds.claims import Decision, Statement, above, bootstrapped, every, over_seeds
from pyrovae.studies.seeds.experiments.autoencoder import AUTOENCODER
from pyrovae.studies.seeds.experiments.sweep import Sweep
from pyrovae.studies.seeds.experiments.sweep import measure as measure_sweep
from pyrovae.studies.seeds.study import Experiment, Picture, Study, draw_values

LABELS = (50, 200, 1000)
"""Numbers of labelled images of the classifiers of codes."""
PAIRS = 2000
"""Pairs of digits with a known sum."""
REPEATS = 3
UNITS, PASSES = 128, 40
"""Hidden units of the network that adds, and its passes over the pairs."""
KINDS = ("autoencoder", "VAE")


@dataclass(frozen=True)
class Usefulness:
    """Measurements on the codes of the autoencoder and of the VAE with the same nets.

    Attributes:
        linear: Accuracy of logistic regression on test codes, by number of labelled images, of each kind.
        neighbours: The same of the nearest neighbours.
        sums: Accuracy of the sum of two digits of the test images, of a network that was trained on pairs with a known
            sum, from pixels and from the codes of each kind.
        spread: Variance of the codes within classes over their whole variance, of each kind.
        beta: β of the VAE.
    """

    linear: dict[str, dict[int, Estimate]]
    neighbours: dict[str, dict[int, Estimate]]
    sums: dict[str, Estimate]
    spread: dict[str, Estimate]
    beta: float


def spread_within(codes: np.ndarray, labels: np.ndarray) -> float:
    """Variance within classes over the whole variance, both summed over the dimensions."""
    classes = [codes[labels == label] for label in np.unique(labels)]
    own = sum(np.square(some - some.mean(0)).sum() for some in classes)
    return float(own / np.square(codes - codes.mean(0)).sum())


def adding_accuracy(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Estimate:
    """Accuracy of a small network that is trained on pairs of inputs, (N, d), and the sums of their labels."""
    # Imported here: scikit-learn takes a second.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    found = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        first, second = rng.integers(0, len(train), (2, PAIRS))
        net = MLPClassifier((UNITS,), max_iter=PASSES, early_stopping=False, n_iter_no_change=PASSES, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # every net has as many passes
            net.fit(np.hstack([train[first], train[second]]), train_labels[first] + train_labels[second])
        one, other = rng.permutation(len(test)), rng.permutation(len(test))
        said = net.predict(np.hstack([test[one], test[other]]))
        found.append(Estimate.mean_of(said == test_labels[one] + test_labels[other]))
    return over_seeds(found)


def sums(study: Study, codes: dict[str, tuple[Codes, Codes]]) -> dict[str, Estimate]:
    """Accuracy of the sum from pixels and from codes."""
    split = study.split("train")
    pixels = to_unit(split.images).numpy().reshape(len(split), -1)
    inputs = {"pixels": (pixels, study.images.reshape(len(study.images), -1))}
    for kind, (train, test) in codes.items():
        centre, scale = train.means.mean(0), train.means.std()  # one scale: directions without variance stay small
        inputs[kind] = ((train.means - centre) / scale, (test.means - centre) / scale)
    labels, test_labels = split.labels.numpy(), study.split().labels.numpy()
    return {name: adding_accuracy(train, labels, test, test_labels) for name, (train, test) in inputs.items()}


def measure(study: Study) -> Usefulness:
    """Measure the convolutional autoencoder, and the VAE of the same nets with the best β."""
    sweep: Sweep = study.once(measure_sweep)
    names = dict(zip(KINDS, (AUTOENCODER, beta_name(sweep.best)), strict=True))
    codes = {kind: (study.codes(name, "train"), study.codes(name)) for kind, name in names.items()}
    with_labels = {kind: code_accuracy(*pair, LABELS) for kind, pair in codes.items()}
    return Usefulness(
        linear={kind: found.linear for kind, found in with_labels.items()},
        neighbours={kind: found.neighbours for kind, found in with_labels.items()},
        sums=sums(study, codes),
        spread={kind: _spread(test) for kind, (_, test) in codes.items()},
        beta=sweep.best,
    )


def _spread(codes: Codes) -> Estimate:
    return bootstrapped(lambda index: spread_within(codes.means[index], codes.labels[index]), len(codes))


def _probes(found: Usefulness) -> Decision:
    own, vae = (found.linear[kind] for kind in KINDS)
    near, vae_near = (found.neighbours[kind] for kind in KINDS)
    return Decision(
        "; ".join(f"{n} labels: VAE {vae[n].percent}, autoencoder {own[n].percent}" for n in own),
        every(*(above(vae[n] - own[n], 0) for n in own)),
        {f"VAE − autoencoder, {n} labels": vae[n] - own[n] for n in own},
        "Five nearest neighbours: "
        + "; ".join(f"{n} labels: VAE {vae_near[n].percent}, autoencoder {near[n].percent}" for n in near)
        + ".",
    )


def _compared(found: dict[str, Estimate], better: str, worse: str, *, larger: bool = True) -> Decision:
    difference = found[better] - found[worse] if larger else found[worse] - found[better]
    return Decision(
        f"{better} {found[better].percent}, {worse} {found[worse].percent}", above(difference, 0), {"gain": difference}
    )


SUM = (
    f"Share of pairs of test images whose sum a network of {UNITS} hidden units names correctly, trained on {PAIRS} "
    "pairs with a known sum"
)
BETTER = "Larger by more than two standard errors."

CLAIMS: tuple[Statement[Usefulness], ...] = (
    Statement(
        "15a",
        "fourth document",
        "The VAE's codes are more useful for downstream learning than the autoencoder's: to tell the classes.",
        "Accuracy of logistic regression on test codes by number of labelled images, beside that of the autoencoder of "
        "the same nets, β = {found.beta:g}",
        "Larger by more than two standard errors with every number of labels.",
        _probes,
    ),
    Statement(
        "15b",
        "fourth document",
        "To add two digits is learnt more easily from codes than from pixels.",
        f"{SUM}: from the autoencoder's codes, and from pixels",
        BETTER,
        lambda found: _compared(found.sums, "autoencoder", "pixels"),
    ),
    Statement(
        "15c",
        "fourth document",
        "The VAE's codes are more useful for downstream learning than the autoencoder's: to add two digits.",
        f"{SUM}: from codes of the VAE, β = {{found.beta:g}}, and of the autoencoder",
        BETTER,
        lambda found: _compared(found.sums, "VAE", "autoencoder"),
    ),
    Statement(
        "15d",
        "fourth document",
        "The VAE's codes of similar images lie closer together than the autoencoder's.",
        "Variance of the codes within classes over their whole variance",
        "Smaller by more than two standard errors.",
        lambda found: _compared(found.spread, "VAE", "autoencoder", larger=False),
    ),
)


def draw(study: Study, found: Usefulness) -> list[Picture]:
    """Accuracy over the number of labels, of the sum, and the spread of the classes."""
    figure, axes = new_figure(12, 3.4, columns=3)
    for kind, values in found.linear.items():
        draw_values(values, axes[0], "accuracy of logistic regression", name=kind)
    axes[0].set_xlabel("labelled images")
    axes[0].legend(frameon=False)
    draw_values(found.sums, axes[1], "accuracy of the sum of two digits")
    draw_values(found.spread, axes[2], "variance within classes over the whole")
    for ax in axes[1:]:
        ax.set_ylim(bottom=0)
        for line in ax.lines:
            line.set_linestyle("")
    return [
        Picture(
            "downstream",
            figure,
            f"What the codes of the convolutional autoencoder and of the VAE of the same nets, β = {found.beta:g}, are "
            "good for: to classify digits with few labels, to add two digits, and how compact classes are.",
            "Two curves over the number of labels, three points of the accuracy of sums, and two of the spread.",
        )
    ]


def needs(budget: Budget) -> list[str]:
    """The convolutional autoencoder and the VAE of every β."""
    return [AUTOENCODER, *(beta_name(beta) for beta in budget.betas)]


EXPERIMENT = Experiment(15, "What codes are good for", needs, measure, CLAIMS, draw)
