"""Pictures: functions that draw a result on given axes, return the axes, and compute nothing."""

from matplotlib.figure import Figure

from pyrovae.plots.curves import plot_history
from pyrovae.plots.images import plot_image_grid, plot_manifold, plot_reconstructions, plot_walk
from pyrovae.plots.planes import plot_codes, plot_ellipses
from pyrovae.plots.style import class_styles, new_figure, save_figure

__all__ = [
    "Figure",
    "class_styles",
    "new_figure",
    "plot_codes",
    "plot_ellipses",
    "plot_history",
    "plot_image_grid",
    "plot_manifold",
    "plot_reconstructions",
    "plot_walk",
    "save_figure",
]
