"""Annealed importance sampling, against the exact evidence, from both sides."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from intervals import hold, hold_in_19_of_20
from known_evidence import Known

from pyrovae import CVAE, VAE, Autoencoder, priors
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference.annealing import Annealing, annealed, bidirectional
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.quadrature import quadrature

QUICK = Annealing(temperatures=12, chains=16, leapfrogs=4)


def test_its_error_holds_in_19_of_20_seeds(gaussian: Known) -> None:
    """With the bias of first order taken off; sixteen chains of an image are a little too few for its own interval."""
    split, exact = gaussian.split.take(range(20)), gaussian.exact[:20]
    found = [annealed(gaussian.model, split, QUICK, seed=seed) for seed in range(20)]
    hold_in_19_of_20([f.mean + f.mean_bias - exact.mean() for f in found], [f.mean_error for f in found])
    hold(np.array([f.log_likelihood + f.bias - exact for f in found]), np.array([f.error for f in found]), short=0.04)


def test_bounds_from_both_sides_close_in(gaussian: Known) -> None:
    few, more = (bidirectional(gaussian.model, 40, Annealing(t, 8, 5), seed=1) for t in (5, 80))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        z = gaussian.model.prior().expand([40]).sample()
        with torch.no_grad():
            x = gaussian.model.likelihood(z).sample()
    exact = gaussian.truth.log_evidence(x).mean().item()
    for bounds in (few, more):
        assert bounds.lower.mean - 4 * bounds.lower.mean_error < exact < bounds.upper.mean + 4 * bounds.upper.mean_error
    assert few.lower.mean < exact < few.upper.mean
    assert 0 < more.gap.value < few.gap.value / 3


def test_from_the_guide_and_of_labels(few_digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = CVAE((1, 8, 8), 10, 2)
    split = fixed_split(few_digits.split("validation"), "dynamic").take(range(13))
    exact = quadrature(model, split, 60)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    for start in ("prior", "guide"):
        found = annealed(model, split, Annealing(10, 16, 5, start))
        assert abs(found.mean + found.mean_bias - exact.mean) < 4 * found.mean_error + exact.error.max()
    again = annealed(model, split, Annealing(10, 16, 5, start))
    assert np.array_equal(found.log_likelihood, again.log_likelihood)
    assert "annealed, 10 temperatures from the guide, 16 chains" in str(found)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_a_trained_model_has_one_likelihood(digits: ImageSet) -> None:
    """Quadrature, importance weighting and annealing agree on a trained model with a code of two dimensions.

    Image by image, where the shape of the weights speaks for the guide; annealing on all of them.
    """
    from pyrovae import Trainer

    torch.manual_seed(0)
    model = VAE(digits.image_shape, 2)
    Trainer(epochs=60, engine="graph").fit(model, digits, progress=False)
    split = fixed_split(digits.split("test"), "dynamic").take(range(40))
    exact = quadrature(model, split)
    assert exact.error.max() < 1e-3
    weighted, walked = importance_weighted(model, split, 5000), annealed(model, split, Annealing(100, 32, 5))
    trusted = weighted.pareto < weighted.pareto_threshold
    assert trusted.sum() > 30
    for found, chosen in ((weighted, trusted), (walked, trusted | True)):
        away, error = found.log_likelihood + found.bias - exact.log_likelihood, np.hypot(found.error, exact.error)
        hold(away[chosen], error[chosen], short=0.02)
        assert abs(away[chosen].mean()) < 3 * np.sqrt(np.square(error[chosen]).sum()) / chosen.sum()
        assert error[chosen].max() < 0.3


def test_what_cannot_be(few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "dynamic")
    with pytest.raises(ValueError, match="an autoencoder has no density of codes"):
        annealed(Autoencoder((1, 8, 8), 2), split)
    with pytest.raises(ValueError, match="there are no images to evaluate"):
        annealed(VAE((1, 8, 8), 2), split.take([]))
    with pytest.raises(ValueError, match="chains must be a whole number from 2"):
        Annealing(chains=1)
    with pytest.raises(ValueError, match="start must be one of prior, guide, got 'middle'"):
        Annealing(start="middle")


def test_labelled_components_are_drawn_as_their_mixture() -> None:
    """A VAE knows no labels, so that the same mixture without labels draws the same."""
    model = VAE((1, 4, 4), 2, prior=partial(priors.GaussianMixture, components=3, labels=True, init_scale=5.0))
    found = []
    for labels in (True, False):
        model.prior.labels = labels
        found.append(bidirectional(model, 6, Annealing(3, 4, 2)).upper.log_likelihood)
    assert np.array_equal(*found)
