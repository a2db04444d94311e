"""Annealed importance sampling, against the exact evidence, from both sides."""

import copy

import numpy as np
import pytest
import torch
from known_evidence import Known

from pyrovae import CVAE, VAE, Autoencoder
from pyrovae.data import ImageSet, fixed_split
from pyrovae.evaluation import Annealing, annealed, bidirectional, importance_weighted, quadrature

QUICK = Annealing(temperatures=12, chains=16, leapfrogs=4)


def test_its_error_holds_in_19_of_20_seeds(known: Known) -> None:
    """With the bias of first order taken off."""
    split, exact = known.split.take(range(10)), known.exact[:10].mean()
    hits = 0
    for seed in range(20):
        found = annealed(known.model, split, QUICK, seed=seed)
        hits += abs(found.mean + found.mean_bias - exact) < 1.96 * found.mean_error
    assert hits >= 17  # 19 are expected; fewer than 17 happen once in 60 times if the errors are right


def test_bounds_from_both_sides_close_in(known: Known) -> None:
    few, more = (bidirectional(known.model, 40, Annealing(t, 8, 5), seed=1) for t in (5, 80))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        z = known.model.prior().expand([40]).sample()
        with torch.no_grad():
            x = known.model.likelihood(z).sample()
    exact = known.truth.log_evidence(x).mean().item()
    for bounds in (few, more):
        assert bounds.lower.mean - 4 * bounds.lower.mean_error < exact < bounds.upper.mean + 4 * bounds.upper.mean_error
    assert few.lower.mean < exact < few.upper.mean
    assert 0 < more.gap < few.gap / 3


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
    """Quadrature, importance weighting and annealing agree on a trained model with a code of two dimensions."""
    from pyrovae import Trainer

    torch.manual_seed(0)
    model = VAE(digits.image_shape, 2)
    Trainer(epochs=60, engine="graph").fit(model, digits, progress=False)
    split = fixed_split(digits.split("test"), "dynamic").take(range(40))
    exact = quadrature(model, split)
    assert exact.error.max() < 1e-3
    for found in (importance_weighted(model, split, 5000), annealed(model, split, Annealing(200, 16))):
        assert abs(found.mean + found.mean_bias - exact.mean) < 3.3 * found.mean_error


def test_what_cannot_be(few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "dynamic")
    with pytest.raises(ValueError, match="an autoencoder has no density of codes"):
        annealed(Autoencoder((1, 8, 8), 2), split)
    with pytest.raises(ValueError, match="there are no images to evaluate"):
        annealed(VAE((1, 8, 8), 2), split.take([]))
    with pytest.raises(ValueError, match="chains must be at least 2, got 1"):
        Annealing(chains=1)
    with pytest.raises(ValueError, match="start must be prior or guide, got 'middle'"):
        Annealing(start="middle")
