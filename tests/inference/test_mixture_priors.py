"""Posterior samplers take priors that are mixtures."""

from functools import partial

import numpy as np
import pytest

from pyrovae import VAE, priors
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference import nuts_posterior


@pytest.mark.parametrize("prior", [priors.GaussianMixture, priors.VampPrior])
def test_nuts_draws_under_a_mixture(prior: type, digits: ImageSet) -> None:
    model = VAE((1, 8, 8), 2, prior=partial(prior, components=4))
    few = fixed_split(digits.split("test").take(range(2)), "dynamic")
    draws = nuts_posterior(model, few, chains=2, warmup=4, draws=4, engine="pyro")
    assert np.isfinite(draws.z).all()
