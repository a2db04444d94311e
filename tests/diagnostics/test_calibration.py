"""Calibration by simulation flags what is wrong, and passes what is right."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pyrovae import CVAE, VAE, Autoencoder, priors
from pyrovae.diagnostics.calibration import calibrate
from pyrovae.likelihoods import CrossEntropy


def test_the_exact_guide_passes(exact) -> None:
    found = calibrate(exact, 1000)
    assert found.passed
    assert found.quantities == ("z[0]", "z[1]", "log p(x|z)")
    assert np.abs(found.coverage(0.9).value - 0.9).max() < 4 * np.sqrt(0.09 / 1000)
    assert "the guide is calibrated on 1,000 images" in str(found)


@pytest.mark.parametrize(("width", "word"), [(0.7, "narrow"), (1.5, "wide")])
def test_a_guide_of_the_wrong_width_is_flagged(of_width, width: float, word: str) -> None:
    found = calibrate(of_width(width), 1000)
    assert not found.inside[:2].any()
    assert all(f"too {word}" in line for line in found.verdicts()[:2])
    assert found.to_dict()["inside"][0] is False


def test_a_guide_that_lies_beside_is_flagged(known, of_width) -> None:
    model = of_width(1.0)
    model.posterior.truth = replace(known.truth, offset=known.truth.offset + 0.5)
    assert any("standard errors)" in line and "q lies" in line for line in calibrate(model, 500).verdicts())


def test_a_guide_that_returns_the_prior_is_flagged_by_the_likelihood(exact) -> None:
    class Forgetful(nn.Module):
        def forward(self, x, y=None):
            return exact.prior().expand([len(x)])

    exact.posterior = Forgetful()
    found = calibrate(exact, 500)
    assert found.inside.tolist() == [True, True, False]
    assert "true codes explain their image better" in found.verdicts()[2]


def test_a_collapsed_model_is_calibrated() -> None:
    """Its decoder ignores the code, so that its guide, the prior, is the posterior and all codes explain x alike."""
    model = VAE((1, 4, 4), 2)
    with torch.no_grad():
        for parameter in (*model.likelihood.parameters(), *model.posterior.head.parameters()):
            parameter.zero_()
    found = calibrate(model, 500)
    assert found.inside.all(), found
    assert abs(found.ranks[:, 2].mean() - 49.5) < 4 * 29 / np.sqrt(500)


def test_the_band_holds_uniform_ranks_as_often_as_it_says(exact) -> None:
    found = calibrate(exact, 300, 19, mass=0.9)
    rng = np.random.default_rng(1)
    passed = [replace(found, ranks=rng.integers(0, 20, (300, 3))).passed for _ in range(400)]
    # Discrete ranks make the band a little too wide, never too narrow.
    assert 0.9 - 3 * np.sqrt(0.09 / 400) < np.mean(passed) < 0.99


def test_it_repeats_and_changes_nothing() -> None:
    model = CVAE((1, 4, 4), 3, 2)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, second = calibrate(model, 50, 9, seed=3), calibrate(model, 50, 9, seed=3)
    assert np.array_equal(first.ranks, second.ranks)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="scores pixels by cross-entropy, which is no density, so there are no draws"):
        calibrate(VAE((1, 8, 8), 2, likelihood=CrossEntropy))
    with pytest.raises(ValueError, match="an autoencoder's code is a point"):
        calibrate(Autoencoder((1, 8, 8), 2))
    with pytest.raises(ValueError, match="at least 20 images, 9 draws"):
        calibrate(VAE((1, 8, 8), 2), 3)
    with pytest.raises(ValueError, match="a label for each of its 30 images, got 2"):
        calibrate(VAE((1, 8, 8), 2), 30, labels=torch.zeros(2, dtype=torch.int64))


def test_labelled_components_are_drawn_as_their_mixture() -> None:
    """A VAE knows no labels, so that the same mixture without labels draws the same."""
    model = VAE((1, 4, 4), 2, prior=partial(priors.GaussianMixture, components=3, labels=True, init_scale=5.0))
    found = []
    for labels in (True, False):
        model.prior.labels = labels
        found.append(calibrate(model, 40, 9).ranks)
    assert np.array_equal(*found)
