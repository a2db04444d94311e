"""New data and log-probabilities at draws, of samplers and of guides."""

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_models import EFFECTS, ERRORS, Conjugate, schools
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyrovae.engine.posterior import ModelError, guide_draws, predictive, replay
from pyrovae.engine.posterior.density import density_of
from pyrovae.engine.posterior.replay import prior_values


def draws(count=4000):
    numbers = np.random.default_rng(0)
    return {
        "mu": numbers.normal(4.0, 1.0, (1, count)),
        "tau": np.abs(numbers.normal(3.0, 0.5, (1, count))),
        "away": numbers.normal(size=(1, count, 8)),
    }


@pytest.fixture(autouse=True)
def _no_parameters_stay():
    yield
    pyro.clear_param_store()


def test_new_data_have_the_distribution_of_the_model():
    given = draws()
    found = predictive(schools, given, (EFFECTS, ERRORS))["posterior_predictive"]["effect"].values
    theta = given["mu"][..., None] + given["tau"][..., None] * given["away"]
    noise = (found - theta) / ERRORS.numpy()
    assert np.abs(noise.mean((0, 1))).max() < 5 / np.sqrt(4000)
    assert np.abs(noise.std((0, 1)) - 1).max() < 5 / np.sqrt(8000)
    assert np.abs(np.corrcoef(noise[0].T) - np.eye(8)).max() < 5 / np.sqrt(4000)  # draws are independent


def test_a_graph_and_the_program_agree_on_what_is_not_drawn_and_seeds_repeat():
    given = draws(5)
    by_graph, by_pyro = (
        predictive(schools, given, (EFFECTS, ERRORS), sites=["theta", "effect"], engine=engine)["posterior_predictive"]
        for engine in ("graph", "pyro")
    )
    assert np.allclose(by_graph["theta"], by_pyro["theta"], rtol=1e-12)
    again = predictive(schools, given, (EFFECTS, ERRORS), sites=["effect"])["posterior_predictive"]
    assert np.array_equal(again["effect"], by_graph["effect"])
    other = predictive(schools, given, (EFFECTS, ERRORS), sites=["effect"], seed=1)["posterior_predictive"]
    assert not np.array_equal(other["effect"], by_graph["effect"])


def test_new_groups_are_drawn_where_the_draws_lack_them():
    given = {name: value for name, value in draws(50).items() if name != "away"}
    found = predictive(schools, given, (None, torch.ones(3)))["posterior_predictive"]
    assert found["effect"].shape == (1, 50, 3)
    assert found["away"].shape == (1, 50, 3)
    assert "mu" not in found


def test_batches_change_no_shape_and_keep_memory_small(monkeypatch):
    monkeypatch.setattr("pyrovae.engine.posterior.replay.BATCH_BYTES", 8 * 8 * 7)  # seven draws at a time
    sizes = []
    many = replay.many_runs

    def spy(one, example, engine):
        run = many(one, example, engine)
        return lambda batch: (sizes.append(len(batch)), run(batch))[1]

    monkeypatch.setattr(replay, "many_runs", spy)
    found = predictive(schools, draws(20), (EFFECTS, ERRORS))["posterior_predictive"]
    assert found["effect"].shape == (1, 20, 8)
    assert sizes == [7, 7, 6]
    assert len(np.unique(found["effect"])) == 160


def test_control_flow_that_no_graph_holds_is_run_by_pyro():
    def model():
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        pyro.sample("data", dist.Normal(100.0 if level > 0 else -100.0, 1.0), obs=torch.tensor(0.0))

    found = predictive(model, {"level": np.array([[-1.0, 1.0]])})["posterior_predictive"]["data"].values
    assert np.allclose(found, [[-100, 100]], atol=10)


def test_draws_from_the_prior_have_its_moments():
    latents, data = prior_values(density_of(Conjugate(), (), {}), 500, 0)
    assert latents["p"].mean() == pytest.approx(2 / 5, abs=5 * 0.2 / np.sqrt(500))
    assert latents["rate"].mean() == pytest.approx(2.0, abs=5 * np.sqrt(2) / np.sqrt(500))
    assert np.allclose(latents["share"].mean((0, 1)), np.array([1, 2, 3]) / 6, atol=0.05)
    assert data["counts"].shape == (1, 500, 4)
    assert np.all(data["counts"] == np.round(data["counts"]))
    assert np.allclose(data["votes"].sum(-1), 14)


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
def test_a_guide_gives_the_same_object(kind):
    guide = kind(schools, init_scale=0.1)
    guide(EFFECTS, ERRORS)
    found = guide_draws(
        schools, guide, (EFFECTS, ERRORS), draws=600, log_likelihood=True, posterior_predictive=True,
        coords={"school": list("ABCDEFGH")},
    )  # fmt: skip
    posterior = found["posterior"]
    assert posterior["theta"].dims == ("chain", "draw", "school")
    rebuilt = posterior["mu"] + posterior["tau"] * posterior["away"]
    assert np.allclose(posterior["theta"], rebuilt, rtol=1e-6)
    assert posterior.attrs["independent_draws"] == 1
    assert np.all(posterior["tau"] > 0)
    assert len(np.unique(posterior["mu"])) == 600
    likelihood = torch.distributions.Normal(torch.tensor(posterior["theta"].values), ERRORS.double())
    expected = likelihood.log_prob(EFFECTS.double()).numpy()
    assert np.allclose(found["log_likelihood"]["effect"], expected, rtol=1e-6)
    assert found["posterior_predictive"]["effect"].shape == (1, 600, 8)
    assert arviz.summary(found, kind="stats").shape[0] == 18
    again = guide_draws(schools, guide, (EFFECTS, ERRORS), draws=600)
    assert np.array_equal(again["posterior"]["mu"], posterior["mu"])


def test_what_is_wrong_is_refused():
    for given, message in (
        ({"nothing": np.zeros((1, 3))}, "latent sites of the model"),
        ({"away": np.zeros((1, 3, 5))}, r"draws of site 'away' must be \(chains, draws, 8\)"),
    ):
        with pytest.raises(ValueError, match=message):
            predictive(schools, given, (EFFECTS, ERRORS))
    with pytest.raises(ValueError, match="engine must be graph or pyro"):
        predictive(schools, draws(2), (EFFECTS, ERRORS), engine="compiled")
    for sites in ("effect", ["nothing"]):
        with pytest.raises(ValueError, match="sites must be a list of sites"):
            predictive(schools, draws(2), (EFFECTS, ERRORS), sites=sites)
    with pytest.raises(ModelError, match="no site 'mu'"):
        guide_draws(schools, lambda *args: None, (EFFECTS, ERRORS))
    with pytest.raises(ValueError, match="draws must be"):
        guide_draws(schools, lambda *args: None, (EFFECTS, ERRORS), draws=0)
