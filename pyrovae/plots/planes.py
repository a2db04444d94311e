"""Planes of the latent space."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pyrovae.latent import Codes
from pyrovae.plots.style import class_styles, spare_axes


def plot_codes(codes: Codes, class_names: Sequence[str], ax: Axes, dims: tuple[int, int] = (0, 1)) -> Axes:
    """Draw the posterior means of images, coloured by class, the legend beside the axes.

    Args:
        codes: The codes.
        class_names: Name of each class.
        ax: The axes to draw on.
        dims: The two latent dimensions to draw.
    """
    styles = class_styles(len(class_names))
    # In one random order, so that no class is drawn over all others.
    order = np.random.default_rng(0).permutation(len(codes.labels))
    size = float(np.clip(20_000 / len(order), 4, 30))
    for k, (colour, marker) in enumerate(styles):
        chosen = codes.labels[order] == k
        ax.scatter(
            codes.means[order][chosen][:, dims[0]],
            codes.means[order][chosen][:, dims[1]],
            color=colour,
            marker=marker,
            s=size,
            linewidths=0,
            alpha=0.6,
            zorder=2,
        )
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=name)
        for (colour, marker), name in zip(styles, class_names, strict=True)
    ]
    ax.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        ncols=1 + (len(handles) - 1) // 16,
        handletextpad=0.2,
    )
    ax.set(aspect="equal", xlabel=f"z[{dims[0]}]", ylabel=f"z[{dims[1]}]")
    ax.set_adjustable("datalim")
    spare_axes(ax)
    return ax
