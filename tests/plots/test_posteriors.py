"""Posteriors, bands and curves are drawn where their numbers say."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrovae.diagnostics.calibration import Calibration
from pyrovae.diagnostics.gap import Comparison
from pyrovae.diagnostics.predictive import PredictiveCheck
from pyrovae.estimates import PerImage
from pyrovae.inference.classes import Reliability
from pyrovae.inference.draws import PosteriorDraws
from pyrovae.inference.grid import GridPosterior
from pyrovae.plots import (
    new_figure,
    plot_calibration,
    plot_posterior,
    plot_predictive,
    plot_reliability,
    posterior_legend,
)


def comparison(dims: int) -> Comparison:
    one = PerImage(np.ones(2), np.ones(2))
    moments = np.full((2, dims), 3.0), np.stack([0.04 * np.eye(dims)] * 2)
    return Comparison("quadrature", "NLL", *[one] * 4, moments, moments, moments)


def grid(dims: int) -> GridPosterior:
    """Normals around 3 with a standard deviation of 0.2."""
    axis = np.linspace(2, 4, 41)
    logs = -0.5 * ((axis - 3) / 0.2) ** 2 - np.log(0.2 * np.sqrt(2 * np.pi))
    density = logs if dims == 1 else logs[:, None] + logs
    return GridPosterior(np.tile(axis, (2, dims, 1)), np.stack([density] * 2), np.zeros(2), np.zeros(2))


@pytest.mark.parametrize(("dims", "lines"), [(1, 3), (2, 4)])
def test_truth_and_guide_lie_over_each_other(dims: int, lines: int) -> None:
    figure, (ax,) = new_figure()
    plot_posterior(comparison(dims), grid(dims), 1, ax, picture=np.zeros((1, 8, 8)))
    posterior_legend(ax)
    figure.canvas.draw()
    assert isinstance(figure, Figure)
    assert len(ax.lines) == lines
    low, high = ax.get_xlim()
    assert low < 2.6 < 3.4 < high
    assert figure.legends[0].get_texts()[0].get_text() == "true p(z|x)"
    assert figure.legends[0].get_title().get_text() == "regions that hold 50 and 90 %"
    if dims == 2:  # the guide's ellipse of 90 % is the truth's contour of 90 %
        outer = ax.lines[1].get_xydata() - 3
        np.testing.assert_allclose(np.hypot(*outer.T), 0.2 * np.sqrt(-2 * np.log(0.1)), rtol=1e-6)
        contour = next(c for c in ax.collections if len(c.get_paths()) == 2 and not c.get_facecolor().size)
        radii = sorted(np.hypot(*(path.vertices - 3).T).mean() for path in contour.get_paths())
        np.testing.assert_allclose(radii, [0.2 * np.sqrt(-2 * np.log(p)) for p in (0.5, 0.1)], rtol=0.08)


def test_draws_are_a_cloud_in_the_chosen_plane() -> None:
    z = np.random.default_rng(0).normal(size=(4, 25, 2, 3))
    figure, (ax,) = new_figure()
    plot_posterior(comparison(3), PosteriorDraws("NUTS", z, False), 0, ax, dims=(2, 0))
    posterior_legend(ax)
    assert figure.legends[0].get_title().get_text() == "regions that hold 50 and 90 %; dots are draws"
    np.testing.assert_allclose(ax.collections[0].get_offsets(), z.reshape(100, 2, 3)[:, 0, [2, 0]])
    assert ax.get_xlabel() == "z[2]"


def test_bands_are_around_zero_and_the_last_quantity_is_never_left_out() -> None:
    ranks = np.random.default_rng(0).integers(0, 20, (500, 4))
    names = ("z[0]", "z[1]", "z[2]", "log p(x|z)")
    levels = np.arange(1, 20) / 20
    found = Calibration(names, ranks, 19, 0.95, levels - 0.1, levels + 0.1)
    _, axes = new_figure(columns=2)
    plot_calibration(found, axes)
    assert [ax.get_title() for ax in axes] == ["z[0]\ninside", "log p(x|z)\ninside"]
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), found.shares[0] - levels)


def test_where_a_curve_leaves_its_band_it_carries_points_and_the_title_counts_them() -> None:
    levels = np.arange(1, 20) / 20
    ranks = np.sort(np.random.default_rng(0).integers(0, 20, (500, 1)), axis=0)
    ranks[:20] = 0  # more at the lowest rank than the band has room for, and nothing that the eye would see
    share = (ranks < np.arange(1, 20)[None]).mean(0)
    upper = np.maximum(share, levels) + 0.02
    upper[0] = share[0] - 0.01
    found = Calibration(("z[0]",), ranks, 19, 0.95, levels - 0.2, upper)
    _, (ax,) = new_figure()
    plot_calibration(found, [ax])
    assert ax.get_title() == "z[0]\noutside at 1 of 19 ranks"
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[0.05, share[0] - 0.05]])
    assert "outside of its band at the rank 0.05" in found.verdicts()[0]


def test_reliability_and_predictive_pictures() -> None:
    _, (ax,) = new_figure()
    plot_reliability(Reliability(*(np.array([0.5, 0.9]),) * 3, np.array([5, 50])), ax)
    np.testing.assert_allclose(ax.collections[-1].get_offsets(), [[0.5, 0.5], [0.9, 0.9]])
    assert [text.get_text() for text in ax.texts] == ["5", "50"]
    assert not ax.collections[-1].get_clip_on()
    bars = ax.containers[0].lines[2][0].get_segments()
    assert min(bar[:, 1].min() for bar in bars) >= 0  # a share, whatever its error
    assert max(bar[:, 1].max() for bar in bars) <= 1
    x = np.zeros((3, 1, 4, 4))
    check = PredictiveCheck("guide", x, x, x + 0.5, x, x, 0.9, x == 0, np.zeros(3))
    plot_predictive([check, check], ax)
    assert [text.get_text() for text in ax.get_yticklabels()][:3] == ["image", "mean, guide", "std. dev., guide"]
    assert np.nanmax(ax.images[0].get_array()) == 1
