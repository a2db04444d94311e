"""Curves over the epochs of a training, and over the weights of several."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyrovae.metrics.rate_distortion import RateDistortion
from pyrovae.plots.style import spare_axes
from pyrovae.training import History

_TRAIN, _VALIDATION = "#332288", "#CC6677"


def plot_history(history: History, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw the bound and its two parts on three axes, of the train and the validation images.

    Both are the bound itself with the epoch's last weights, whatever weights the training's loss has. First epochs that
    would flatten the others are left out, and the label of the axis says which.

    Args:
        history: What a training logged.
        axes: Three axes.
    """
    total = "−ELBO" if history.score == "NLL" else f"{history.score} + KL"
    epochs = history.column("epoch")
    for ax, part, title in zip(
        axes,
        ("negative_elbo", "reconstruction", "kl"),
        (total, f"reconstruction ({history.score})", "KL"),
        strict=True,
    ):
        curves = [
            (history.column(f"{split}_{part}"), colour, split)
            for split, colour in (("train", _TRAIN), ("validation", _VALIDATION))
            if f"{split}_{part}" in history
        ]
        for values, colour, split in curves:
            ax.plot(epochs, values, color=colour, label=split, marker="o" if len(epochs) < 2 else None)
        cut = _spend_axis_on_the_end(ax, epochs, [values for values, *_ in curves])
        ax.set(title=title, xlabel=f"epoch ({cut})" if cut else "epoch", ylabel="nats per image")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        if len(epochs) == 1:
            ax.set_xticks(epochs)
        spare_axes(ax)
    axes[0].legend(frameon=False)
    return axes


def plot_rate_distortion(found: RateDistortion, ax: Axes) -> Axes:
    """Draw distortion over rate with error bars of one standard error, and beta at each point.

    Args:
        found: Rates and distortions.
        ax: The axes to draw on.
    """
    rates, distortions = found.rates, found.distortions
    order = np.argsort(rates.value)
    ax.errorbar(
        rates.value[order],
        distortions.value[order],
        distortions.sampling[order],
        rates.sampling[order],
        color=_TRAIN,
        marker="o",
        markersize=5,
        linewidth=1,
    )
    for place, betas in _together(found):
        text = f"β = {', '.join(f'{beta:.3g}' for beta in betas)}"
        ax.annotate(text, place, xytext=(6, 5), textcoords="offset points", fontsize=8)
    ax.margins(x=0.12)
    ax.set(
        xlabel="rate: KL of posterior from prior, nats per image", ylabel=f"distortion: {found.score}, nats per image"
    )
    spare_axes(ax)
    return ax


def _together(found: RateDistortion) -> list[tuple[tuple[float, float], list[float]]]:
    """Positions and weights of the labels; points with overlapping labels share one."""
    rates, distortions = found.rates.value, found.distortions.value
    near = 0.04 * np.ptp(rates), 0.04 * np.ptp(distortions)
    places: list[tuple[tuple[float, float], list[float]]] = []
    for beta, rate, distortion in zip(found.betas, rates, distortions, strict=True):
        for (x, y), betas in places:
            if abs(rate - x) <= near[0] and abs(distortion - y) <= near[1]:
                betas.append(beta)
                break
        else:
            places.append(((rate, distortion), [beta]))
    return places


def _spend_axis_on_the_end(ax: Axes, epochs: np.ndarray, curves: Sequence[np.ndarray]) -> str:
    """Let the first epochs, ten times worse than the rest, leave the picture instead of flattening it.

    Returns:
        Which epochs have left it, and how high they reach; nothing if none has.
    """
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if len(values) <= 20:
        return ""
    low, high = values.min(), np.quantile(values, 0.98)
    margin = 0.08 * (high - low) or 1.0
    ax.set_ylim(low - margin, high + margin)
    cut = epochs[np.any([curve > high + margin for curve in curves], axis=0)]
    if not len(cut):
        return ""
    first = "the first " if np.array_equal(cut, epochs[: len(cut)]) else ""
    return f"not shown: {first}{len(cut)}, up to {values.max():,.4g}"
