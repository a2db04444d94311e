"""Generated bad models: each is refused in one line that names the site."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from bad_models import FAULTS, bad

from pyrovae.engine.posterior import ModelError, SamplingWarning, nuts
from pyrovae.engine.posterior.samplers import has_nutpie


def refused(model, **settings):
    """The message of a refusal, which is one line, and nothing is left behind."""
    settings = {"draws": 5, "tune": 5, "chains": 1, "sampler": "pyro", "progress": False} | settings
    with pytest.raises(ModelError) as caught:
        nuts(model, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert not list(pyro.get_param_store().keys())
    assert torch.get_default_dtype() == torch.float32
    return message


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.full] if s else []) for s in range(6)])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_message_names_the_site(fault, seed):
    made = bad(fault, seed)
    message = refused(made.model)
    assert any(name in message for name in made.names), f"{made.words}: {message}"


@pytest.mark.parametrize("name", ["chain", "draw"])
def test_a_site_with_the_name_of_a_dimension_is_refused(name):
    def model():
        pyro.sample(name, dist.Normal(0.0, 1.0))

    assert f"site {name!r}" in refused(model)


def test_names_of_dimensions_are_checked_before_anything_is_drawn():
    def model():
        pyro.sample("a", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("b", dist.Normal(torch.zeros(4), 1.0).to_event(1))

    for dims, message in (
        ({"a": ["b"]}, "dims"),
        ({"a": ["chain"]}, "dims"),
        ({"a": ["k"], "b": ["k"]}, "'k' is 3 long at site 'a' and 4 at site 'b'"),
    ):
        with pytest.raises(ValueError, match=message):
            nuts(model, dims=dims, draws=5, tune=5, chains=1, sampler="pyro", progress=False)


def test_an_element_that_nothing_depends_on_is_told():
    def model():
        with pyro.plate("rows", 3), pyro.poutine.mask(mask=torch.tensor([True, False, True])):
            pyro.sample("ragged", dist.Normal(0.0, 1.0))

    with pytest.warns(SamplingWarning, match="1 of 3 elements of site 'ragged'"):
        nuts(model, draws=5, tune=5, chains=1, sampler="pyro", progress=False)
    if has_nutpie():  # it needs a slope in each direction to begin
        with pytest.raises(ModelError, match=r"1 of 3 elements of site 'ragged'.*sampler='pyro'"):
            nuts(model, draws=5, tune=5, chains=1, engine="graph", progress=False)


def test_models_without_latents_and_with_discrete_ones_alone_have_nothing_to_draw():
    def data():
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(0.3))

    def coins():
        coin = pyro.sample("coin", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(coin, 1.0), obs=torch.tensor(0.3))

    for model in (data, coins):
        assert "no continuous latent site" in refused(model)
