"""Plots draw what they are given, where it belongs, and save by the file's ending."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrovae.latent import Codes, Manifold, Reconstructions, ellipse
from pyrovae.plots import (
    class_styles,
    new_figure,
    plot_codes,
    plot_ellipses,
    plot_history,
    plot_image_grid,
    plot_manifold,
    plot_reconstructions,
    save_figure,
)
from pyrovae.training import History


def test_classes_keep_their_colour_and_differ() -> None:
    assert len(set(class_styles(47))) == 47
    assert class_styles(10) == class_styles(47)[:10]
    assert len({colour for colour, _ in class_styles(10)}) == 10


def test_an_image_grid_puts_every_pixel_in_its_place() -> None:
    images = np.random.default_rng(0).random((2, 3, 1, 4, 5))
    _, (ax,) = new_figure()
    plot_image_grid(images, ax, row_labels=["a", "b"], gap=2)
    canvas = ax.images[0].get_array()
    assert canvas.shape == (2 * 6 + 2, 3 * 7 + 2)
    np.testing.assert_allclose(canvas[8:12, 16:21], images[1, 2, 0])
    assert canvas.mask[0].all()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_colour_images_stay_coloured() -> None:
    _, (ax,) = new_figure()
    plot_image_grid(np.full((1, 1, 3, 4, 4), [[[0.9]], [[0.1]], [[0.5]]]), ax)
    np.testing.assert_allclose(ax.images[0].get_array()[2, 2], [0.9, 0.1, 0.5])


def test_history_is_labelled_by_its_score_and_both_splits() -> None:
    rows = [
        {f"{s}_{p}": float(10 - e) for s in ("train", "validation") for p in ("negative_elbo", "reconstruction", "kl")}
        | {"epoch": e}
        for e in range(1, 4)
    ]
    for score, title in (("NLL", "−ELBO"), ("cross-entropy", "cross-entropy + KL")):
        _, axes = new_figure(columns=3)
        plot_history(History(score, rows), axes)
        assert axes[0].get_title() == title
        assert axes[1].get_title() == f"reconstruction ({score})"
        assert [line.get_label() for line in axes[0].lines] == ["train", "validation"]
        assert list(axes[2].lines[0].get_ydata()) == [9, 8, 7]
        assert all(ax.get_xlabel() == "epoch" and ax.get_ylabel() == "nats per image" for ax in axes)


def test_codes_have_equal_axes_and_a_legend_beside() -> None:
    z = np.random.default_rng(0).normal(size=(50, 3))
    codes = Codes(z, np.ones_like(z), z, np.arange(50) % 5)
    figure, (ax,) = new_figure()
    plot_codes(codes, list("abcde"), ax, dims=(2, 1))
    figure.canvas.draw()
    assert ax.get_aspect() == 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[2]", "z[1]")
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    assert sum(len(c.get_offsets()) for c in ax.collections) == 50


def test_ellipses_are_nested_named_and_beside_the_prior() -> None:
    nested = [ellipse(np.array([1.0, 2.0]), np.eye(2), mass) for mass in (0.5, 0.9)]
    figure, (ax,) = new_figure()
    plot_ellipses({3: nested}, list("abcde"), ax, prior=nested[:1], names=("u", "v"))
    figure.canvas.draw()
    assert [line.get_linestyle() for line in ax.lines] == ["--", "-", "-"]
    assert [text.get_text() for text in ax.texts] == ["0.5", "d"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["d"]
    assert ax.lines[1].get_color() == class_styles(5)[3][0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("u", "v")


def test_a_manifolds_ticks_are_its_coordinates() -> None:
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0)[::-1])
    _, (ax,) = new_figure()
    plot_manifold(Manifold(np.zeros((4, 4, 1, 20, 20)), np.stack([x, y], -1), None, "even steps"), ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[0], at even steps", "z[1], at even steps")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.00", "1.00", "2.00", "3.00"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["3.00", "2.00", "1.00", "0.00"]


def test_reconstructions_are_two_rows() -> None:
    _, (ax,) = new_figure()
    plot_reconstructions(Reconstructions(np.zeros((4, 1, 3, 3)), np.ones((4, 1, 3, 3)), np.zeros(4)), ax)
    canvas = ax.images[0].get_array()
    assert canvas[1:4, 1:4].sum() == 0
    assert canvas[5:8, 1:4].sum() == 9


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_files_by_their_ending(tmp_path: Path, ending: str) -> None:
    figure, _ = new_figure()
    assert isinstance(figure, Figure)
    save_figure(figure, tmp_path / "new" / f"a.{ending}")
    start = (tmp_path / "new" / f"a.{ending}").read_bytes()[:5]
    assert start == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[ending]
    with pytest.raises(ValueError, match=r"a figure is saved as \.png, \.svg, \.pdf, got a\.jpg"):
        save_figure(figure, tmp_path / "a.jpg")
