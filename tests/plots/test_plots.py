"""Plots draw what they are given, where it belongs, and save by the file's ending."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrovae.latent import Codes, Manifold, Reconstructions, Traversal, ellipse
from pyrovae.plots import (
    class_styles,
    new_facets,
    new_figure,
    plot_code_facets,
    plot_codes,
    plot_ellipses,
    plot_history,
    plot_image_grid,
    plot_interpolation,
    plot_manifold,
    plot_reconstructions,
    plot_traversal,
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


@pytest.mark.parametrize("size", [4, 8, 20, 21])
def test_a_manifolds_ticks_are_round_with_a_zero_and_lie_between_its_coordinates(size: int) -> None:
    across = np.sinh(np.linspace(-1.7, 1.7, size))  # uneven, as quantiles are
    x, y = np.meshgrid(across, across[::-1])
    _, (ax,) = new_figure()
    plot_manifold(Manifold(np.zeros((size, size, 1, 20, 20)), np.stack([x, y], -1), None, "even steps"), ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[0], at even steps", "z[1], at even steps")
    for axis, turned in ((ax.xaxis, False), (ax.yaxis, True)):
        values = [float(t.get_text().replace("−", "-")) for t in axis.get_ticklabels()]
        assert 0.0 in values
        assert all(f"{v:g}" in (f"{v:.1f}".removesuffix(".0"), f"{v:.0f}") for v in values)
        places = 10 + 20 * np.arange(size)[:: -1 if turned else 1]  # of the images' middles
        np.testing.assert_allclose(np.interp(axis.get_ticklocs(), places if not turned else places[::-1],
                                             across if not turned else across[::-1]), values, atol=1e-9)  # fmt: skip


def test_a_grid_of_codes_has_its_coordinates_on_the_axes() -> None:
    x, y = np.meshgrid([-1.0, -0.5, 0.0], [0.25, 0.0])
    codes = np.stack([y, np.full_like(x, 7.0), x], -1)
    _, (ax,) = new_figure()
    plot_traversal(Traversal(np.zeros((2, 3, 1, 6, 6)), codes, None), ax, dims=(2, 0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[2]", "z[0]")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["−1", "−0.5", "0"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.25", "0"]
    assert not ax.texts
    with pytest.raises(ValueError, match=r"dims must be two dimensions of a grid of codes, .* got \(0, 2\)"):
        plot_traversal(Traversal(np.zeros((2, 3, 1, 6, 6)), codes, None), ax, dims=(0, 2))


def test_an_interpolation_marks_its_ends() -> None:
    steps, ends = np.full((2, 5, 1, 4, 4), 0.5), np.ones((2, 2, 1, 4, 4))
    _, (ax, plain) = new_figure(columns=2)
    plot_interpolation(steps, ax, ends=ends, row_labels=["7 → 2", "1 → 0"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["image", "0", "0.25", "0.5", "0.75", "1", "image"]
    canvas = ax.images[0].get_array()
    assert canvas.shape == (11, 36)
    assert canvas[2, 2] == canvas[7, 33] == 1
    assert canvas[2, 7] == canvas[2, 27] == 0.5
    assert [line.get_xdata()[0] for line in ax.lines] == [5, 30]
    plot_interpolation(steps, plain)
    assert [t.get_text() for t in plain.get_xticklabels()] == ["0", "0.25", "0.5", "0.75", "1"]
    assert not plain.lines


def test_epochs_that_leave_the_picture_are_named() -> None:
    rows = [
        {f"train_{p}": 1000.0 if e == 1 and p == "kl" else 100.0 - e for p in ("negative_elbo", "reconstruction", "kl")}
        | {"epoch": e}
        for e in range(1, 61)
    ]
    _, axes = new_figure(columns=3)
    plot_history(History("NLL", rows), axes)
    assert [ax.get_xlabel() for ax in axes] == ["epoch", "epoch", "epoch (not shown: the first 1, up to 1,000)"]
    assert [tick % 10 for tick in axes[0].get_xticks()] == [0] * len(axes[0].get_xticks())
    assert axes[2].get_ylim()[1] < 200


def test_each_class_has_axes_of_its_own_with_its_count() -> None:
    labels = np.repeat([0, 1, 3], [5, 7, 1])
    z = np.random.default_rng(0).normal(size=(13, 2))
    figure, axes = new_facets(4)
    plot_code_facets(Codes(z, z, z, labels), ["one", "two", "three", "four"], axes[1:])
    assert [ax.get_title() for ax in axes[1:]] == ["one (5)", "two (7)", "three (0)", "four (1)"]
    for k, ax in enumerate(axes[1:]):
        every, own = (c.get_offsets() for c in ax.collections)
        np.testing.assert_array_equal(every, z)
        np.testing.assert_array_equal(own, z[labels == k])
    assert len({ax.get_xlim() for ax in axes[1:]}) == 1
    figure.canvas.draw()


@pytest.mark.parametrize("spread", [(0.3, 1.0), (3.0, 0.2), (0.0, 0.0)])
def test_ticks_of_a_narrow_plane_do_not_lie_on_each_other(spread: tuple[float, float]) -> None:
    z = np.random.default_rng(0).normal(size=(100, 2)) * spread
    codes = Codes(z, z, z, np.arange(100) % 10)
    figure, axes = new_facets(10)
    plot_codes(codes, list("0123456789"), axes[0], legend=False)
    plot_code_facets(codes, list("0123456789"), axes[1:])
    figure.canvas.draw()
    for ax in axes:
        assert (z >= [ax.get_xlim()[0], ax.get_ylim()[0]]).all()
        assert (z <= [ax.get_xlim()[1], ax.get_ylim()[1]]).all()
        shown = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_visible() and t.get_text()]
        shown = [box for box in shown if box.width]
        assert not any(a.overlaps(b) for a, b in pairwise(shown))


@pytest.mark.parametrize("count", [0, 1, 2, 5, 10, 47])
def test_facets_are_as_many_as_asked_for(count: int) -> None:
    figure, axes = new_facets(count)
    figure.canvas.draw()
    assert len(axes) == count + 1
    boxes = [ax.get_window_extent() for ax in axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


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
    with pytest.raises(ValueError, match=r"a figure is saved as \.png, \.svg, \.pdf, got 'a\.jpg'"):
        save_figure(figure, tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "names", [[chr(65 + k) for k in range(26)], [f"class {k}" for k in range(8)]], ids=["many", "words"]
)
def test_names_of_many_classes_and_of_long_ones_lie_apart(names: list[str]) -> None:
    _, (ax,) = new_figure(7.5, 7)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(len(names), 2))
    nested = {k: [ellipse(c, 0.3 * np.eye(2), mass) for mass in (0.5, 0.9)] for k, c in enumerate(centres)}
    plot_ellipses(nested, names, ax)
    ax.figure.canvas.draw()
    assert (ax.get_legend() is None) == (len(names) > 20)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == len(names)
    overlaps = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert overlaps <= len(names) // 10
