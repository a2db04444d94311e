"""The aggregate posterior against the prior."""

import numpy as np
from matplotlib.axes import Axes

from pyrovae.diagnostics.information import DensityRatio


def plot_density_ratio(ratio: DensityRatio, ax: Axes, limit: float = 3.0) -> Axes:
    """Shade the plane by log q(z) / p(z): red where codes are dense, blue where samples fall but no image has its code.

    The dashed lines hold 50, 90 and 99 % of the prior.

    Args:
        ratio: The two densities.
        ax: The axes to draw on.
        limit: Log ratio at which the colours end, nats.
    """
    (low, *_, high), _ = ratio.axes
    shown = ax.imshow(
        np.clip(ratio.log_ratio, -limit, limit).T,
        origin="lower",
        extent=(low, high, low, high),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    bar = ax.figure.colorbar(shown, ax=ax, extend="both", shrink=0.85)
    bar.set_label("log q(z) / p(z), nats")
    levels = ratio.prior_levels((0.99, 0.9, 0.5))
    dashed = "dashed: 50, 90 and 99 % of the prior" if len(levels) else ""
    if len(levels):
        ax.contour(*ratio.axes, ratio.log_prior.T, levels, colors="black", linestyles="--", linewidths=0.7)
    ax.set(
        xlabel="z[0]",
        ylabel="z[1]",
        aspect="equal",
        title=f"aggregate posterior of {ratio.images:,} images against the prior\n{dashed}",
    )
    return ax
