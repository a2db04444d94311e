"""Curves of measured values over settings."""

import numpy as np

from pyrovae.plots import new_figure, plot_values


def test_values_with_their_errors_and_a_second_curve() -> None:
    _, (ax,) = new_figure()
    assert plot_values(["2", "5"], [1.0, 3.0], [0.1, 0.2], ax, "error", name="one", line=0.5) is ax
    plot_values(["2", "5"], [2.0, 4.0], [0.1, 0.2], ax, "error", name="other")
    first, second = ax.containers
    np.testing.assert_array_equal(first.lines[0].get_ydata(), [1, 3])
    np.testing.assert_allclose([s[:, 1] for s in first.lines[2][0].get_segments()], [[0.9, 1.1], [2.8, 3.2]])
    assert first.lines[0].get_color() != second.lines[0].get_color()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "5"]
    assert ax.get_ylabel() == "error"
