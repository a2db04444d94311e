"""What a sampler rests on must be the same at each call: arguments, branches, random numbers, threads, labels."""

import multiprocessing
import os
import threading

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
import xarray
from posterior_models import EFFECTS, ERRORS, needs_nutpie, schools
from pyro.infer.autoguide import AutoNormal

from pyrovae import SVI
from pyrovae.engine.posterior import ModelError, nuts, predictive
from pyrovae.engine.posterior.density import density_of
from pyrovae.engine.posterior.replay import values_at
from pyrovae.engine.turns import TURN, in_turn

pytestmark = pytest.mark.filterwarnings("ignore:.*transitions diverged")  # in runs of a few transitions


def few(model, args=(), **settings):
    settings = {"draws": 8, "tune": 8, "chains": 1, "engine": "graph", "progress": False} | settings
    return nuts(model, args, **settings)


def rows(values):
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    for number, value in enumerate(values):
        pyro.sample(f"y{number}", dist.Normal(mean, 1.0), obs=value)


@pytest.mark.parametrize("engine", ["graph", "pyro"])
def test_arguments_that_the_first_call_uses_up_are_refused(engine):
    with pytest.raises(ModelError, match=r"'y0' is missing from a later call.*not in an iterator"):
        few(rows, (iter(torch.ones(3)),), engine=engine)
    assert "mean" in few(rows, (list(torch.ones(3)),), engine=engine, sampler="pyro")["posterior"]


def test_sites_that_another_site_decides_on_are_refused_where_the_program_runs_too():
    def model():
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        if level > 0:
            pyro.sample("more", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError, match=r"site 'more' is (new at|missing from) a later call"):
        few(model, engine="pyro")


def test_random_numbers_outside_of_sites_are_refused_where_the_program_runs_too():
    layer = torch.nn.Dropout(0.5)

    def model():
        weight = pyro.sample("weight", dist.Normal(torch.zeros(20), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(layer(weight).sum(), 1.0), obs=torch.tensor(1.0))

    with pytest.raises(ModelError, match=r"not do the same at each call.*sample sites alone$"):
        few(model, engine="pyro")


@needs_nutpie
def test_calls_in_threads_are_those_of_one_thread():
    """Pyro's handlers, torch's default type and number of threads are one for the whole process."""
    alone = [few(schools, (EFFECTS, ERRORS), seed=seed)["posterior"] for seed in range(4)]
    threads, found = torch.get_num_threads(), {}

    def work(seed):
        found[seed] = few(schools, (EFFECTS, ERRORS), seed=seed)["posterior"]

    beside = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in beside:
        thread.start()
    for thread in beside:
        thread.join()
    assert all(found[seed].equals(alone[seed]) for seed in range(4))
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == threads


@needs_nutpie
def test_steps_of_svi_wait_for_draws():
    alone, losses = few(schools, (EFFECTS, ERRORS), chains=2)["posterior"], []
    guide = AutoNormal(schools)
    svi = SVI(schools, guide, pyro.optim.Adam({"lr": 0.01}), engine="pyro")
    svi.step(EFFECTS, ERRORS)
    begun, over = threading.Event(), threading.Event()

    def train():
        while not over.is_set():
            losses.append(svi.step(EFFECTS, ERRORS))
            begun.set()

    beside = threading.Thread(target=train)
    beside.start()
    assert begun.wait(60)
    found = [few(schools, (EFFECTS, ERRORS), chains=2)["posterior"] for _ in range(3)]
    over.set()
    beside.join()
    assert np.isfinite(losses).all()
    assert all(other.equals(alone) for other in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_fork_does_not_wait_for_a_thread_of_its_parent():
    taken, over = threading.Event(), threading.Event()

    def take():
        with TURN:
            taken.set()
            over.wait(60)

    thread = threading.Thread(target=take)
    thread.start()
    assert taken.wait(60)
    process = multiprocessing.get_context("fork").Process(target=in_turn(int), daemon=True)
    process.start()
    process.join(30)
    over.set()
    thread.join()
    assert process.exitcode == 0


# ---- discrete latents that are summed out

POINTS = torch.tensor([-3.0, 3.0, 0.5])


def mixture():
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("rows", 3):
        kind = pyro.sample("kind", dist.Bernoulli(share))
        mean = pyro.deterministic("mean", 2 * kind - 1)
        pyro.sample("y", dist.Normal(mean, 1.0), obs=POINTS)


def test_what_rests_on_them_is_drawn_given_the_data():
    density, before = density_of(mixture, (), {}), torch.get_rng_state()
    u = np.full((2, 1000, 1), 0.4)
    found = values_at(density, u, seed=3)
    share = found["share"][0, 0]
    ones, zeros = (weight * np.exp(-((POINTS.numpy() - m) ** 2) / 2) for weight, m in ((share, 1), (1 - share, -1)))
    exact = (ones - zeros) / (ones + zeros)
    assert np.all(np.abs(found["mean"].mean((0, 1)) - exact) < 5 * np.sqrt((1 - exact**2) / 2000) + 1e-12)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(values_at(density, u, seed=3)["mean"], found["mean"])


def test_a_dimension_that_is_in_no_plate_is_refused_beside_them():
    """Pyro takes it for the values of the discrete latent."""

    def model():
        kind = pyro.sample("kind", dist.Bernoulli(pyro.sample("share", dist.Beta(1.0, 1.0))))
        pyro.sample("y", dist.Normal(2 * kind, 1.0), obs=torch.tensor([0.0, 2.0]))

    with pytest.raises(ModelError, match="'y' has a dimension of 2 in no plate, beside the discrete latent 'kind'"):
        few(model)


# ---- new data, and what is kept beside the draws


class ByNumpy(dist.Normal):
    def sample(self, sample_shape=()):
        return torch.as_tensor(np.random.normal(size=self.shape(torch.Size(sample_shape))))


def difference():
    one, other = pyro.sample("one", dist.Normal(0.0, 1.0)), pyro.sample("other", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(one - other, 1e-6), obs=torch.tensor(0.0))


def test_random_numbers_of_numpy_are_drawn_for_each_draw():
    def model():
        pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 2):
            pyro.sample("y", ByNumpy(torch.zeros(2), 1.0))
            pyro.sample("z", dist.Normal(0.0, 1.0))

    found = predictive(model, {"level": np.zeros((2, 5))})["posterior_predictive"]
    for name in ("y", "z"):
        assert len(np.unique(found[name])) == 20


def test_draws_are_told_by_the_names_of_their_dimensions():
    values = np.arange(6.0).reshape(2, 3)
    given = xarray.Dataset({"one": (("chain", "draw"), values), "other": (("draw", "chain"), values.T)})
    found = predictive(difference, given.assign_coords(draw=[0, 10, 20]))["posterior_predictive"]["y"]
    assert np.abs(found).max() < 1e-4
    assert list(found["draw"].values) == [0, 10, 20]  # xarray matches thinned draws by these
    for wrong, message in (
        ({"one": values, "other": values.reshape(3, 2)}, "as many chains and draws as of the others"),
        ({"one": values.reshape(-1), "other": values.reshape(-1)}, "must be"),
        (given.stack(sample=("chain", "draw")), "must have the dimensions chain and draw, got sample"),
    ):
        with pytest.raises(ValueError, match=message):
            predictive(difference, wrong)


def test_warnings_name_the_line_of_the_call():
    def flat():
        pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, False])))

    with pytest.warns(UserWarning, match="1 of 2 elements of site 'x'") as caught:
        few(flat, sampler="pyro")
    assert caught[0].filename == __file__


@needs_nutpie
def test_hidden_and_repeated_data_and_seeds_of_any_size():
    y = torch.tensor([0.3, 99.0, -1.0])

    def model():
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 3):
            pyro.sample("same", dist.Normal(mean, 1.0), obs=torch.tensor(0.7))
            with poutine.mask(mask=torch.tensor([True, False, True])):
                pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    found = few(model, log_likelihood=True, posterior_predictive=True, prior=3, seed=2**70)
    mean = found["posterior"]["mean"].values[..., None]
    exact = -0.5 * (y.numpy() - mean) ** 2 - 0.5 * np.log(2 * np.pi)
    assert np.allclose(found["log_likelihood"]["y"].values[..., ::2], exact[..., ::2], rtol=1e-6)
    assert np.all(found["log_likelihood"]["y"].values[..., 1] == 0)
    assert found["log_likelihood"]["same"].dims == ("chain", "draw", "rows")
    assert np.allclose(found["observed_data"]["same"], [0.7] * 3)
    assert found["posterior_predictive"]["same"].shape == (1, 8, 3)
