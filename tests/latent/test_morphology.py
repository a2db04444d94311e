"""Measured attributes against strokes whose thickness, slant and size are known."""

import numpy as np
import pytest

from pyrovae.latent import measure


def drawn(inside, size: int = 28, fine: int = 16) -> np.ndarray:
    """An image, (1, 1, size, size), of a shape: each pixel's value is the share of it that is inside."""
    y, x = (np.mgrid[: size * fine, : size * fine] + 0.5) / fine - size / 2
    return inside(x, y).astype(float).reshape(size, fine, size, fine).mean((1, 3))[None, None]


def sheared_bar(width: float, height: float, degrees: float) -> np.ndarray:
    shear = np.tan(np.radians(degrees))
    return drawn(lambda x, y: (np.abs(x + shear * y) <= width / 2) & (np.abs(y) <= height / 2))


@pytest.mark.parametrize("degrees", [-30.0, -12.0, 0.0, 5.0, 20.0, 40.0])
def test_the_slant_of_a_sheared_bar_is_its_shear(degrees: float) -> None:
    """Positive is to the right at the top: x = -tan(slant) y, rows counted downwards."""
    found = measure(sheared_bar(3, 16, degrees))
    assert found.slant[0] == pytest.approx(degrees, abs=0.3)
    assert found.height[0] == pytest.approx(16, rel=0.01)
    assert found.width[0] == pytest.approx(3, rel=0.12)  # up to a pixel's own width


@pytest.mark.parametrize("thickness", [2.0, 3.0, 4.0, 6.0])
def test_the_thickness_of_a_ring_is_its_own(thickness: float) -> None:
    found = measure(drawn(lambda x, y: np.abs(np.hypot(x, y) - 8) <= thickness / 2))
    assert found.thickness[0] == pytest.approx(thickness, rel=0.04)
    assert found.length[0] == pytest.approx(2 * np.pi * 8, rel=0.12)
    assert found.slant[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("thickness", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("degrees", [0.0, 17.0, 45.0, 70.0, 90.0])
def test_the_thickness_of_a_stroke_is_as_said_in_every_direction(thickness: float, degrees: float) -> None:
    """Twice the area over the perimeter: t l / (t + l)."""
    a, length = np.radians(degrees), 18.0
    along = (lambda x, y: x * np.sin(a) - y * np.cos(a)), (lambda x, y: x * np.cos(a) + y * np.sin(a))
    stroke = drawn(lambda x, y: (np.abs(along[0](x, y)) <= length / 2) & (np.abs(along[1](x, y)) <= thickness / 2))
    expected = thickness * length / (thickness + length)
    assert measure(stroke).thickness[0] == pytest.approx(expected, rel=0.06)


def test_contrast_and_place_do_not_matter_and_colours_are_averaged() -> None:
    bar = sheared_bar(3, 14, 15)
    moved = np.roll(bar, (3, -4), (2, 3))
    for same in (0.3 * bar, moved, np.repeat(bar, 3, 1)):
        for name, value in measure(same).to_dict().items():
            np.testing.assert_allclose(value, measure(bar).to_dict()[name], rtol=1e-4, err_msg=name)


def test_many_images_are_measured_as_each_alone() -> None:
    images = np.random.default_rng(0).random((1203, 1, 6, 8))
    whole = measure(images)
    for i in (0, 499, 500, 1202):
        for name, value in measure(images[i : i + 1]).to_dict().items():
            assert whole.to_dict()[name][i] == pytest.approx(value[0], rel=1e-5)
    assert measure(images[:0]).slant.shape == (0,)


def test_an_empty_image_has_no_attributes_and_others_axes_are_refused() -> None:
    assert all(np.isnan(value).all() for value in measure(np.zeros((2, 1, 8, 8))).to_dict().values())
    with pytest.raises(ValueError, match=r"must be of shape \(N, C, H, W\), got \(8, 8\)"):
        measure(np.zeros((8, 8)))


@pytest.mark.mnist
def test_ones_of_mnist_are_thin_and_lean_to_the_right(mnist) -> None:
    split = mnist.split("test")
    images, labels = split.images.numpy() / 255, split.labels.numpy()
    found = measure(images)
    assert 1.5 < np.median(found.thickness) < 4
    assert np.median(found.slant) > 3
    assert np.median(found.width[labels == 1]) < 0.5 * np.median(found.width[labels == 0])
