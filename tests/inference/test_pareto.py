"""The Pareto shape of importance weights, against ArviZ and against weights whose shape is known."""

import numpy as np
import pytest

from pyrovae.inference.pareto import generalised_pareto_shape, pareto_shape, tail_size, threshold


@pytest.mark.parametrize("samples", [100, 1000, 5000])
def test_it_is_that_of_arviz(samples: int) -> None:
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("this ArviZ keeps its smoothing elsewhere")
    rng = np.random.default_rng(0)
    logs = np.stack([rng.normal(size=samples) * s for s in (0.1, 1, 3)] + [rng.standard_t(3, samples)])
    np.testing.assert_allclose(pareto_shape(logs), arviz.psislw(logs)[1], atol=1e-6)


def test_the_largest_weights_are_enough() -> None:
    logs = np.random.default_rng(0).normal(size=(3, 2000))
    largest = np.sort(logs, 1)[:, -tail_size(2000) - 1 :]
    np.testing.assert_array_equal(pareto_shape(largest, 2000), pareto_shape(logs))
    np.testing.assert_allclose(pareto_shape(logs + 300), pareto_shape(logs), atol=1e-9)


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.7, 1.5])
def test_a_known_shape_is_found(shape: float) -> None:
    uniform = np.random.default_rng(0).uniform(size=(50, 2000))
    excesses = np.sort((uniform**-shape - 1) / shape, 1)
    found = generalised_pareto_shape(excesses)
    # The maximum-likelihood estimate has a standard error of (1 + k) / sqrt(n), and the prior pulls by 10 / n.
    error = (1 + shape) / np.sqrt(2000 * 50)
    assert abs(found.mean() - (2000 * shape + 5) / 2010) < 5 * error + 1e-3


def test_weights_that_do_not_differ_and_tails_too_small() -> None:
    assert pareto_shape(np.zeros((2, 100))).tolist() == [0, 0]
    assert np.isnan(pareto_shape(np.zeros((2, 20)))).all()
    assert threshold(1000) == pytest.approx(2 / 3)
    assert threshold(100_000) == 0.7
