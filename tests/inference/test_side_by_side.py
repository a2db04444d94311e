"""Chains side by side: each its own posterior, step size and divergences, against closed forms."""

import numpy as np
import pytest

from pyrovae.inference.side_by_side import walk

SETTINGS = {"draws": 400, "warmup": 200, "target_accept": 0.8, "max_depth": 8, "progress": lambda done: None}
COVARIANCE = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 1.0]])
SCALES = np.repeat([[1.0, 1.0, 1.0], [0.02, 0.5, 2.0], [5.0, 5.0, 0.3]], 4, axis=0)
MEANS = np.arange(12.0)[:, None] * np.ones(3)


def gaussians(points):
    """Twelve correlated Gaussians, four of each of three kinds."""
    away = (points - MEANS) / SCALES
    pull = away @ np.linalg.inv(COVARIANCE)
    return -0.5 * (away * pull).sum(1), -pull / SCALES


def test_each_chain_finds_its_own_gaussian():
    told = []
    found = walk(gaussians, MEANS + SCALES, seed=1, **SETTINGS | {"progress": told.append})
    assert found.draws.shape == (400, 12, 3)
    assert not found.diverging.any()
    assert sum(told) == 600
    away = ((found.draws - MEANS) / SCALES).reshape(400, 3, 4, 3).transpose(1, 2, 0, 3).reshape(3, 1600, 3)
    for kind in away:
        assert np.abs(kind.mean(0)).max() < 0.15
        np.testing.assert_allclose(np.cov(kind.T), COVARIANCE, atol=0.2)


def test_the_divergences_of_a_chain_are_its_own():
    """Below -1 the second chain's density falls off a cliff."""

    def density(points):
        log_p, gradient = -0.5 * (points**2).sum(1), -points
        over = (points[:, 0] < -1) & (np.arange(len(points)) == 1)
        return np.where(over, -1e8, log_p), gradient

    found = walk(density, np.ones((3, 2)), seed=0, **SETTINGS)
    assert found.diverging[:, 1].sum() > 5
    assert found.diverging[:, [0, 2]].sum() == 0
    assert found.draws[:, 1, 0].min() >= -1
    alone = found.draws[:, [0, 2]]
    assert abs(alone.mean()) < 0.15
    assert abs(alone.std() - 1) < 0.1


def test_a_density_that_is_no_number_somewhere_is_left():
    def density(points):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(points[:, 0]) - points[:, 0], 1 / points - 1  # Gamma(2, 1)

    found = walk(density, np.ones((8, 1)), seed=0, **SETTINGS)
    assert found.draws.min() > 0
    assert found.draws.mean() == pytest.approx(2.0, abs=0.15)
    assert found.draws.var() == pytest.approx(2.0, abs=0.4)


def test_the_same_seed_gives_the_same_bits():
    one, other, third = (walk(gaussians, MEANS, seed=s, **SETTINGS | {"draws": 10, "warmup": 10}) for s in (1, 1, 2))
    assert np.array_equal(one.draws, other.draws)
    assert not np.array_equal(one.draws, third.draws)
