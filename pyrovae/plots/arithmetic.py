"""Plots of arithmetic with codes: rows of images, and the measured effect."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pyrovae.latent import AttributeEffect, Traversal
from pyrovae.plots.images import plot_image_grid
from pyrovae.plots.style import class_styles, spare_axes


def plot_moved(
    traversal: Traversal, alphas: Sequence[float], ax: Axes, row_labels: Sequence[str] | None = None
) -> Axes:
    """Draw images moved along a direction, one image per row, with alpha above each column.

    Args:
        traversal: The moved images, (rows, alphas, C, H, W).
        alphas: How far each column went.
        ax: The axes to draw on.
        row_labels: A label left of each row.
    """
    plot_image_grid(traversal.images, ax, row_labels=row_labels, column_labels=[f"{alpha:g}" for alpha in alphas])
    ax.set_xlabel("α, in units of the vector")
    ax.xaxis.set_label_position("top")
    return ax


def plot_effect(effect: AttributeEffect, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw the effect of a traversal along an attribute vector, with error bars of one standard error.

    The first axes show all measured attributes in standard deviations over the images, the second the movement of the
    re-encoded images along the vector, and the third, if there is one, the share that keeps its class.

    Args:
        effect: The effect.
        axes: Two axes, or three.
    """
    styles = class_styles(len(effect.attributes))
    for row, (name, (colour, marker)) in enumerate(zip(effect.attributes, styles, strict=True)):
        own = name == effect.name
        changes = effect.standardised[row]
        axes[0].errorbar(
            effect.alphas,
            changes.value,
            changes.sampling,
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=2.4 if own else 1.2,
            label=f"{name} (moved)" if own else name,
            zorder=3 if own else 2,
        )
    axes[0].axhline(0, color="#999999", linewidth=0.8)
    axes[0].set(ylabel="mean change, in its spreads")
    if effect.attributes:
        axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes[1].plot(effect.alphas, effect.alphas, color="#999999", linewidth=0.8, linestyle="--", label="α")
    axes[1].errorbar(
        effect.alphas,
        effect.travelled.value,
        effect.travelled.sampling,
        color=styles[0][0] if styles else "C0",
        marker="o",
    )
    axes[1].set(ylabel="seen by the encoder, vectors")
    axes[1].legend(frameon=False)
    for ax in axes[2:]:
        ax.errorbar(effect.alphas, effect.kept.value, effect.kept.sampling, color="#332288", marker="o", markersize=4)
        ax.set(ylabel="share that keeps its class", ylim=(0, 1.05))
    for ax in axes:
        ax.set(xlabel=f"α, in units of the {effect.name} vector", xticks=np.asarray(effect.alphas))
        spare_axes(ax)
    return axes
