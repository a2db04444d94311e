"""Traversals: the printed coordinates decode to the very images shown, and lines end at their ends."""

import numpy as np
import pytest
import torch

from pyrovae import CVAE, VAE
from pyrovae.latent import axes_through, every_class, grid_around, interpolate, traverse


def decoded(model: torch.nn.Module, coordinates: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    z = torch.as_tensor(coordinates, dtype=torch.float32).reshape(-1, coordinates.shape[-1])
    y = None if labels is None else torch.as_tensor(np.array(labels)).flatten()
    with torch.no_grad():
        return model.likelihood(z, y).mean.numpy().reshape(*coordinates.shape[:2], *model.shapes.image_shape)


def test_a_grids_coordinates_decode_to_its_images() -> None:
    model = VAE((1, 8, 8), 3)
    centre = np.array([0.5, -1.0, 2.0])
    codes = grid_around(centre, rows=3, columns=5, step=0.25, dims=(2, 0))
    np.testing.assert_allclose(codes[1, 2], centre)
    np.testing.assert_allclose(codes[0, 0], [0.75, -1.0, 1.5])
    np.testing.assert_allclose(codes[2, 4], [0.25, -1.0, 2.5])
    found = traverse(model, codes)
    np.testing.assert_allclose(found.images, decoded(model, codes, None), atol=1e-6)
    assert found.labels is None


def test_single_axes_hold_the_others() -> None:
    codes = axes_through(np.array([1.0, 2.0, 3.0]), [-1, 0, 1], dims=[2, 0])
    assert codes.shape == (2, 3, 3)
    np.testing.assert_allclose(codes[0], [[1, 2, -1], [1, 2, 0], [1, 2, 1]])
    np.testing.assert_allclose(codes[1, :, 0], [-1, 0, 1])
    assert axes_through(np.zeros(4), [0.0]).shape == (4, 1, 4)


def test_every_class_at_one_code() -> None:
    model = CVAE((1, 8, 8), 10, 2)
    codes = np.array([[0.0, 0.0], [1.0, -1.0]])
    found = every_class(model, codes)
    assert found.images.shape == (2, 10, 1, 8, 8)
    np.testing.assert_allclose(found.images, decoded(model, found.coordinates, found.labels), atol=1e-6)
    assert (found.coordinates[1] == codes[1]).all()
    with pytest.raises(ValueError, match="does not look at labels, so a code has one image: use a CVAE"):
        every_class(VAE((1, 8, 8), 2), codes)


@pytest.mark.parametrize("path", ["linear", "spherical", "quantile"])
def test_lines_end_at_their_ends(path: str) -> None:
    a, b = np.array([2.0, 0.0, 0.5]), np.array([0.0, -3.0, 1.0])
    codes = interpolate(a, b, 7, path)
    assert codes.shape == (7, 3)
    assert (codes[0] == a).all()
    assert (codes[-1] == b).all()
    np.testing.assert_allclose(interpolate(b, a, 7, path), codes[::-1], atol=1e-12)


def test_paths_are_what_they_say() -> None:
    quarter = interpolate(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 3, "spherical")
    np.testing.assert_allclose(quarter[1], [np.sqrt(0.5), np.sqrt(0.5)])
    lengths = np.linalg.norm(interpolate(np.array([1.0, 0.0]), np.array([0.0, 3.0]), 3, "spherical"), axis=1)
    np.testing.assert_allclose(lengths, [1, 2, 3])
    np.testing.assert_allclose(
        interpolate(np.array([-1.2816]), np.array([1.2816]), 5, "quantile")[1], [-0.5244], atol=1e-3
    )
    for a, b in (([1.0, 1.0], [2.0, 2.0]), ([0.0, 0.0], [1.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0])):
        np.testing.assert_allclose(
            interpolate(np.array(a), np.array(b), 5, "spherical"), interpolate(np.array(a), np.array(b), 5)
        )


def test_what_cannot_be_is_said() -> None:
    vae, cvae = VAE((1, 8, 8), 2), CVAE((1, 8, 8), 10, 2)
    with pytest.raises(ValueError, match="codes of this model have 2 dimensions, got 3"):
        traverse(vae, np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match="conditional on a label: choose one from 0 to 9"):
        traverse(cvae, np.zeros((1, 1, 2)))
    with pytest.raises(ValueError, match="labels of this model are 0 to 9"):
        traverse(cvae, np.zeros((1, 1, 2)), 10)
    with pytest.raises(ValueError, match="step must be a number above 0, got 0"):
        grid_around(np.zeros(2), step=0.0)
    with pytest.raises(ValueError, match="two different dimensions from 0 to 1"):
        grid_around(np.zeros(2), dims=(0, 2))
    with pytest.raises(ValueError, match="has dimensions 0 to 1, got"):
        axes_through(np.zeros(2), [0.0], dims=[2])
    with pytest.raises(ValueError, match="at least its two ends, got 1"):
        interpolate(np.zeros(2), np.ones(2), 1)
    with pytest.raises(ValueError, match="path must be one of linear, spherical, quantile, got 'curved'"):
        interpolate(np.zeros(2), np.ones(2), 3, "curved")
