"""Plots of arithmetic with codes: rows of images, and the measured effect."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

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
    plot_image_grid(
        traversal.images, ax, row_labels=row_labels, column_labels=[f"{alpha:g}".replace("-", "−") for alpha in alphas]
    )
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
    _draw_attributes(effect, axes[0])
    _draw_travelled(effect, axes[1])
    for ax in axes[2:]:
        _draw_kept(effect, ax)
    for ax in axes:
        ax.set(xlabel=f"α, in units of the {effect.name} vector", xticks=np.asarray(effect.alphas))
        spare_axes(ax)
    return axes


def _draw_attributes(effect: AttributeEffect, ax: Axes) -> None:
    """How far each measured attribute changes; the legend is a row below the axes."""
    styles = class_styles(len(effect.attributes))
    for row, (name, (colour, _), marker) in enumerate(
        zip(effect.attributes, styles, itertools.cycle("os^Dv"), strict=False)
    ):
        changes = effect.standardised[row]
        own = name == effect.name
        style: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 5 if own else 4,
            "linewidth": 2.4 if own else 1.2,
        }
        label = f"{name} (moved)" if own else name
        ax.errorbar(effect.alphas, changes.value, changes.sampling, label=label, zorder=2 + own, **style)
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.set(title="measured on the pictures", ylabel="mean change (standard deviations)")
    if effect.attributes:
        # So many points below the axes, whatever their height: under the label.
        below = ax.transAxes + ScaledTranslation(0, -34 / 72, ax.figure.dpi_scale_trans)
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": below}
        ax.legend(**place, ncols=3, frameon=False, fontsize=9)


def _draw_travelled(effect: AttributeEffect, ax: Axes) -> None:
    """How far the encoder says that the pictures went, beside how far they were moved."""
    ax.plot(effect.alphas, effect.alphas, color="#999999", linewidth=0.8, linestyle="--", label="as far as moved")
    way = effect.travelled
    ax.errorbar(effect.alphas, way.value, way.sampling, color="#332288", marker="o", markersize=4)
    ax.set(title="seen by the encoder", ylabel="way along the vector")
    ax.legend(frameon=False, loc="upper left", fontsize=9)


def _draw_kept(effect: AttributeEffect, ax: Axes) -> None:
    """How many pictures keep the class that a classifier gives them."""
    ax.errorbar(effect.alphas, effect.kept.value, effect.kept.sampling, color="#332288", marker="o", markersize=4)
    ax.set(title="classes kept", ylabel="share that keeps its class", ylim=(0, 1.05))
