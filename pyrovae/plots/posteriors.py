"""True posteriors beside the guide's, and what images drawn from both look like."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pyrovae.diagnostics.gap import Comparison
from pyrovae.diagnostics.predictive import PredictiveCheck
from pyrovae.inference.draws import PosteriorDraws
from pyrovae.inference.grid import GridPosterior
from pyrovae.latent import ellipse
from pyrovae.plots.images import plot_image_grid
from pyrovae.plots.style import spare_axes

_TRUE, _GUIDE, _BEST = "#332288", "#CC6677", "#117733"
MASSES = (0.5, 0.9)


def plot_posterior(
    comparison: Comparison,
    truth: GridPosterior | PosteriorDraws,
    image: int,
    ax: Axes,
    *,
    picture: np.ndarray | None = None,
    dims: tuple[int, int] = (0, 1),
) -> Axes:
    """Draw the true posterior of one image, the guide's and the best of its family, each by regions of 50 and 90 %.

    The truth of a two-dimensional code is shaded by its contours, that of more dimensions is a cloud of draws in the
    plane of two of them. The others are the ellipses of their moments. For a one-dimensional code they are densities.

    Args:
        comparison: What `compare` found.
        truth: What it was given.
        image: Which of its images, by place.
        ax: The axes to draw on.
        picture: The image itself, (C, H, W), shown in the corner.
        dims: The two dimensions to draw.
    """
    if comparison.truth[0].shape[1] == 1:
        _densities(comparison, truth, image, ax)
    else:
        _plane(comparison, truth, image, ax, list(dims))
    if picture is not None:
        corner = ax.inset_axes((0.01, 0.76, 0.23, 0.23))
        plot_image_grid(picture[None, None], corner, gap=0)
        corner.spines[:].set(color="#bbbbbb", visible=True)
    spare_axes(ax)
    return ax


def posterior_legend(ax: Axes) -> None:
    """Say which colour is whose, and how much the regions hold, below the axes."""
    handles = [
        Line2D([], [], color=colour, label=label)
        for colour, label in ((_TRUE, "true p(z|x)"), (_GUIDE, "guide q(z|x)"), (_BEST, "best q of the family"))
    ]
    held = " and ".join(f"{100 * mass:g}" for mass in MASSES)
    draws = any(isinstance(drawn, PathCollection) for axes in ax.figure.axes for drawn in axes.collections)
    title = f"regions that hold {held} %{'; dots are draws' if draws else ''}"
    ax.figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, title=title)


def _plane(
    comparison: Comparison, truth: GridPosterior | PosteriorDraws, image: int, ax: Axes, dims: list[int]
) -> None:
    if isinstance(truth, GridPosterior):
        x, y = truth.axes[image]
        levels = truth.levels(MASSES)[image]
        density = truth.log_density[image].T
        ax.contourf(x, y, density, [*levels[::-1], np.inf], colors=[_TRUE], alpha=0.18)
        ax.contour(x, y, density, levels[::-1], colors=[_TRUE], linewidths=1.3, linestyles="solid")
        seen = truth.points[truth.weights[:, image] > 1e-3 * truth.weights[:, image].max(), image]
    else:
        seen = truth.flat[:, image][:, dims]
        ax.scatter(seen[:, 0], seen[:, 1], s=4, color=_TRUE, alpha=0.35, linewidths=0)
    outlines = [seen]
    for (mean, covariance), colour in ((comparison.guide, _GUIDE), (comparison.best, _BEST)):
        for mass in MASSES:
            outline = ellipse(mean[image][dims], covariance[image][np.ix_(dims, dims)], mass).outline()
            ax.plot(*outline.T, color=colour, linewidth=1.3)
            outlines.append(outline)
    low, high = (end(np.concatenate(outlines), axis=0) for end in (np.min, np.max))
    middle, side = (low + high) / 2, 0.55 * (high - low).max()
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    ax.set(xlim=(middle[0] - side, middle[0] + side), ylim=(middle[1] - side, middle[1] + side))
    ax.set(aspect="equal", xlabel=f"z[{dims[0]}]", ylabel=f"z[{dims[1]}]")


def _densities(comparison: Comparison, truth: GridPosterior | PosteriorDraws, image: int, ax: Axes) -> None:
    if isinstance(truth, GridPosterior):
        x = truth.axes[image, 0]
        density = np.exp(truth.log_density[image])
        ax.fill_between(x, density, color=_TRUE, alpha=0.18)
        ax.plot(x, density, color=_TRUE)
    else:
        ax.hist(truth.flat[:, image, 0], bins=40, density=True, color=_TRUE, alpha=0.4)
    for (mean, covariance), colour in ((comparison.guide, _GUIDE), (comparison.best, _BEST)):
        scale = np.sqrt(covariance[image, 0, 0])
        z = mean[image, 0] + scale * np.linspace(-4, 4, 200)
        ax.plot(z, np.exp(-0.5 * ((z - mean[image, 0]) / scale) ** 2) / scale / np.sqrt(2 * np.pi), color=colour)
    ax.set(xlabel="z[0]", ylabel="density (moments' Normal for q)")


def plot_predictive(checks: Sequence[PredictiveCheck], ax: Axes) -> Axes:
    """Draw a column for each image: the image, the mean of the images drawn for it, and their standard deviation.

    That is the standard deviation of E[x | z] over the codes, black where it is largest in the whole picture.
    """
    most = max(check.scale.max() for check in checks) or 1.0  # all codes decode alike after a collapse
    rows, labels = [checks[0].x], ["image"]
    for check in checks:
        rows += [check.mean, check.scale / most]
        labels += [f"mean, {check.source}", f"std. dev., {check.source}"]
    plot_image_grid(np.stack(rows), ax, row_labels=labels)
    ax.set_title(f"E[x | z] over codes\nblack: mean 1, std. dev. {most:.2g}", fontsize=10)
    return ax
