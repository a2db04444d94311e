"""Plots: functions that draw a result on given axes, return the axes, and compute nothing."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyrovae.plots.arithmetic import plot_effect, plot_moved
from pyrovae.plots.calibration import plot_calibration, plot_reliability
from pyrovae.plots.curves import plot_history, plot_rate_distortion
from pyrovae.plots.density_ratio import plot_density_ratio
from pyrovae.plots.ellipses import plot_ellipses
from pyrovae.plots.images import (
    plot_image_grid,
    plot_interpolation,
    plot_manifold,
    plot_reconstructions,
    plot_traversal,
)
from pyrovae.plots.marginals import plot_marginals
from pyrovae.plots.planes import plot_code_facets, plot_codes, plot_panels
from pyrovae.plots.posteriors import plot_posterior, plot_predictive, posterior_legend
from pyrovae.plots.style import class_styles, new_facets, new_figure, save_figure, use_style
from pyrovae.plots.values import plot_values
from pyrovae.plots.vectors import plot_columns

__all__ = [
    "Axes",
    "Figure",
    "class_styles",
    "new_facets",
    "new_figure",
    "plot_calibration",
    "plot_code_facets",
    "plot_codes",
    "plot_columns",
    "plot_density_ratio",
    "plot_effect",
    "plot_ellipses",
    "plot_history",
    "plot_image_grid",
    "plot_interpolation",
    "plot_manifold",
    "plot_marginals",
    "plot_moved",
    "plot_panels",
    "plot_posterior",
    "plot_predictive",
    "plot_rate_distortion",
    "plot_reconstructions",
    "plot_reliability",
    "plot_traversal",
    "plot_values",
    "posterior_legend",
    "save_figure",
    "use_style",
]
