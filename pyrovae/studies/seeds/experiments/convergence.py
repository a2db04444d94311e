"""Claim 9: losses of training and validation images over the epochs, with RMSprop and batches of 16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from pyrovae.estimates import Estimate
from pyrovae.latent import decode_manifold
from pyrovae.plots import new_figure, plot_codes, plot_history, plot_image_grid, plot_manifold
from pyrovae.studies.seeds.budgets import Budget, four_layer_name
from pyrovae.studies.seeds.claims import Decision, Statement, below, every
from pyrovae.studies.seeds.runs import history_of
from pyrovae.studies.seeds.study import Experiment, Picture, Study
from pyrovae.training import History

ITS_EPOCHS = 50
LONG = "rmsprop-2d"
FLAT = 0.005
"""Share of its value by which the validation loss may still fall over the last fifth of the epochs."""
GAP = 0.02
"""Share by which the validation loss may be above the training loss at the end."""


@dataclass(frozen=True)
class Convergence:
    """Measurements on the curves of a training.

    Attributes:
        epochs: Epochs of the training.
        falling: What the validation loss loses over the last fifth of the epochs by a straight line, over its value.
        gap: Validation loss over training loss, less one, over the same epochs.
        risen: Validation loss over those epochs, over its smallest value before, less one.
    """

    epochs: int
    falling: Estimate
    gap: Estimate
    risen: Estimate


def of_curves(history: History) -> Convergence:
    """Measure the last fifth of the curves; errors from the scatter over its epochs."""
    train, validation = history.column("train_negative_elbo"), history.column("validation_negative_elbo")
    tail = max(3, len(history) // 5)
    last, before = validation[-tail:], validation[:-tail]
    x = np.arange(len(last)) - (len(last) - 1) / 2
    slope = float(x @ last / (x @ x))
    residual = last - last.mean() - slope * x
    slope_error = float(np.sqrt(residual @ residual / max(1, tail - 2) / (x @ x)))
    ratios = last / train[-tail:] - 1

    def mean(values: np.ndarray) -> Estimate:
        return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))

    return Convergence(
        epochs=len(history),
        falling=Estimate(-slope * tail / float(last.mean()), slope_error * tail / float(last.mean())),
        gap=mean(ratios),
        risen=mean(last / (before.min() if len(before) else last.min()) - 1),
    )


def decide(found: Convergence) -> Decision:
    """Whether the curves of one training converge together."""
    together = every(below(found.gap, GAP), below(found.risen, FLAT))
    verdict = every(below(found.falling, FLAT), together)
    short = found.epochs < ITS_EPOCHS
    if short and together != "does not hold":  # curves that are cut off can part, but not have converged
        verdict = "undecided"
    return Decision(
        f"{found.epochs} epochs: falls {found.falling.percent}, gap {found.gap.percent}, risen {found.risen.percent}",
        verdict,
        {"falls": found.falling, "gap": found.gap, "risen": found.risen},
        f"Only {found.epochs} of the document's {ITS_EPOCHS} epochs in this budget." if short else "",
    )


CONV, DENSE = NETS = "its four-layer convolutional net", "a fully connected net"
CLAIMS: tuple[Statement[Mapping[str, Convergence]], ...] = tuple(
    Statement(
        number,
        "fifth document",
        f"Training and validation loss converge together over {ITS_EPOCHS} epochs, without overfitting: {net}.",
        "Bound of validation images over the last fifth of the epochs: what it still falls; how far it is above that "
        "of training images; how far it has risen above its smallest value",
        f"Less than {100 * FLAT:g} %, {100 * GAP:g} % and {100 * FLAT:g} %.",
        partial(lambda net, found: decide(found[net]), net),
    )
    for number, net in zip(("9a", "9b"), NETS, strict=True)
)


def runs_of(budget: Budget) -> dict[str, str]:
    """The run of each net."""
    return {CONV: four_layer_name(budget.four_layer_dims[0]), DENSE: LONG}


def measure(study: Study) -> Mapping[str, Convergence]:
    """Measure the curves of both nets."""
    return {net: of_curves(_history(study, name)) for net, name in runs_of(study.budget).items()}


def _history(study: Study, name: str) -> History:
    return history_of(study.folder(name), study.model(name))


def draw(study: Study, found: Mapping[str, Convergence]) -> list[Picture]:
    """The curves of both nets, the plane and the samples of the convolutional ones."""
    runs = runs_of(study.budget)
    return [*(_curves(study, runs[net], net) for net in found), _plane(study, runs[CONV]), _samples(study)]


def _curves(study: Study, name: str, net: str) -> Picture:
    figure, axes = new_figure(11, 3.4, columns=3)
    plot_history(_history(study, name), axes)
    return Picture(
        f"curves-{name}",
        figure,
        f"The bound and its parts over the epochs: {net}, RMSprop, batches of 16.",
        "Three pairs of curves, of train and validation images, over the epochs.",
    )


def _plane(study: Study, name: str) -> Picture:
    figure, axes = new_figure(13, 5.6, columns=2)
    plot_codes(study.codes(name), study.data.class_names, axes[0])
    axes[0].set_title("posterior means of test images")
    plot_manifold(decode_manifold(study.model(name)), axes[1])
    axes[1].set_title("the decoded plane")
    return Picture(
        "four-layer-plane",
        figure,
        "The plane of the fifth document's convolutional VAE.",
        "Left, a scatter of codes by class; right, a grid of decoded digits.",
    )


def _samples(study: Study) -> Picture:
    dims = study.budget.four_layer_dims
    figure, axes = new_figure(4.6 * len(dims), 4.9, columns=len(dims))
    for ax, dim in zip(axes, dims, strict=True):
        plot_image_grid(study.samples(four_layer_name(dim))[:100].reshape(10, 10, *study.images.shape[1:]), ax)
        ax.set_title(f"n = {dim}")
    return Picture(
        "four-layer-samples",
        figure,
        "Samples of the fifth document's convolutional VAE.",
        "A hundred samples for each number of latent dimensions.",
    )


def needs(budget: Budget) -> list[str]:
    """The fifth document's nets, and the fully connected one."""
    return [LONG, *(four_layer_name(dim) for dim in budget.four_layer_dims)]


EXPERIMENT = Experiment(9, "Training and validation over the epochs", needs, measure, CLAIMS, draw)
