"""Vectors in grids: what is drawn where, on one scale, with gaps where a number is missing."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from pyrovae.latent import Reconstructions
from pyrovae.plots import new_figure, plot_columns, plot_image_grid, plot_reconstructions
from pyrovae.plots.vectors import FEW_COLUMNS, cell_size


def bars_of(ax) -> list[np.ndarray]:
    (found,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    return [path.vertices[:5] for path in found.get_paths()]


def test_bars_are_as_high_as_their_numbers() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 3, 1, 1, 5))
    vectors[1, 2, 0, 0, 3] = np.nan
    _, (ax,) = new_figure()
    plot_image_grid(vectors, ax, row_labels=["a", "b"], column_labels=["1", "2", "3"])
    bars = bars_of(ax)
    assert len(bars) == 2 * 3 * 5 - 1
    heights = np.array([bar[0, 1] - bar[2, 1] for bar in bars])
    numbers = vectors[np.isfinite(vectors)]
    low, high = min(0, numbers.min()), max(0, numbers.max())
    np.testing.assert_allclose(heights, numbers * cell_size(vectors)[0] / (high - low))
    # Each bar lies in its own cell, from left to right and from the top down.
    height, width = cell_size(vectors)
    for bar, (i, j, _, _, k) in zip(bars, np.argwhere(np.isfinite(vectors)), strict=True):
        left, top = j * (width + 1) + 0.5, i * (height + 1) + 0.5
        assert left + k * width / 5 <= bar[0, 0] <= bar[1, 0] <= left + (k + 1) * width / 5 + 1e-9
        assert bar[:, 1].min() >= top - 1e-9
        assert bar[:, 1].max() <= top + height + 1e-9


@pytest.mark.parametrize(("channels", "numbers"), [(1, FEW_COLUMNS + 1), (3, 6)])
def test_long_vectors_and_sequences_are_lines_that_break_where_a_number_is_missing(channels, numbers) -> None:
    vectors = np.random.default_rng(0).normal(size=(1, 2, channels, 1, numbers))
    vectors[0, 0, 0, 0, 2] = np.nan
    _, (ax,) = new_figure()
    plot_image_grid(vectors, ax)
    lines = [c for c in ax.collections if isinstance(c, LineCollection)][1:]
    assert len(lines) == channels
    assert [len(c.get_segments()) for c in lines] == [3] + [2] * (channels - 1)
    assert [len(s) for s in lines[0].get_segments()] == [2, numbers - 3, numbers]


def test_nothing_but_missing_numbers_draws_empty_cells() -> None:
    _, (ax,) = new_figure()
    blank = np.full((3, 1, 1, 4), np.nan)
    plot_reconstructions(Reconstructions(blank, blank, np.zeros(3, int)), ax)
    assert not bars_of(ax)


def test_columns_of_a_table_beside_draws() -> None:
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((50, 3)) < 0.2, np.nan, rng.normal(size=(50, 3)))
    rows[:, 2] = 4.0
    _, axes = new_figure(6, 4, 2, 2)
    plot_columns(rows, rng.normal(size=(200, 3)), ["a", "b", "c"], axes)
    assert [ax.get_title() for ax in axes] == ["a", "b", "c", ""]
    for ax in axes[:3]:
        assert sum(p.get_height() * p.get_width() for p in ax.patches[:24]) == pytest.approx(1)
