"""Posteriors of single images beside the prior, as small multiples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyrovae.latent import Marginals
from pyrovae.plots.images import plot_image_grid
from pyrovae.plots.style import class_styles

_PRIOR = "#999999"


def plot_marginals(marginals: Marginals, class_names: Sequence[str], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw a row for each image: the image, then for each latent dimension its posterior over the prior.

    A column's axes have the same range of codes; heights are each curve's own, as a posterior is often so narrow that
    on one scale with the prior nothing of the prior would be seen. The KL is written above.

    Args:
        marginals: The posteriors.
        class_names: Name of each class.
        axes: (images x (1 + dimensions)) axes, row by row.
    """
    grid = np.asarray(axes, dtype=object).reshape(len(marginals.images), 1 + len(marginals.dims))
    styles = class_styles(len(class_names))
    for n, row in enumerate(grid):
        label = marginals.labels[n]
        plot_image_grid(marginals.images[n, None, None], row[0], gap=0)
        row[0].set_ylabel(class_names[label], rotation=0, ha="right", va="center")
        for j, (dim, ax) in enumerate(zip(marginals.dims, row[1:], strict=True)):
            at = marginals.points[n, j]
            for density, colour in ((marginals.prior[n, j], _PRIOR), (marginals.posterior[n, j], styles[label][0])):
                ax.fill_between(at, density / density.max(), color=colour, alpha=0.3, linewidth=0)
                ax.plot(at, density / density.max(), color=colour, linewidth=1)
            ax.set(xlim=(marginals.points[:, j].min(), marginals.points[:, j].max()), ylim=(0, 1.08), yticks=[])
            ax.set_title(f"KL {marginals.kl[n, j]:.2f}", fontsize=8, pad=2)
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            ax.tick_params(labelsize=8)
            if n == len(grid) - 1:
                ax.set_xlabel(f"z[{dim}]")
            else:
                ax.set_xticklabels([])
    return axes
