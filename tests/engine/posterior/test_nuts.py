"""Draws of the posterior: closed forms, seeds, interruption, refusals, and what the answer holds."""

import os
import signal
import subprocess
import sys
import threading
import time

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_models import EFFECTS, ERRORS, Conjugate, needs_nutpie, schools
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample

from pyrovae.engine.posterior import ModelError, SamplingWarning, nuts
from pyrovae.engine.posterior import samplers as roads
from pyrovae.engine.posterior.chains import Chain, can_fork
from pyrovae.engine.posterior.results import group
from pyrovae.engine.posterior.sampling import _longest
from pyrovae.engine.posterior.starts import entropy

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*transitions diverged"),  # in runs of a few transitions
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto"),
]
SAMPLERS = ["pyro", pytest.param("nutpie", marks=needs_nutpie)]


def few(model, args=(), **settings):
    settings = {"draws": 20, "tune": 20, "chains": 2, "engine": "graph", "progress": False} | settings
    return nuts(model, args, **settings)


def check_moments(found, exact, widest=5.0):
    """Means and standard deviations within so many Monte Carlo errors."""
    posterior = group(found, "posterior")
    for name, (mean, scale) in exact.items():
        values = posterior[name].values
        flat = values.reshape(-1, *values.shape[2:])
        ess = arviz.ess(posterior[[name]], method="mean")[name].values
        error = flat.std(0) / np.sqrt(ess)
        assert np.all(np.abs(flat.mean(0) - np.asarray(mean)) < widest * error), name
        spread_ess = arviz.ess(posterior[[name]], method="sd")[name].values
        assert np.all(np.abs(flat.std(0) / np.asarray(scale) - 1) < widest / np.sqrt(spread_ess)), name


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_known_posteriors_are_found(sampler):
    model = Conjugate()
    size = {"pyro": 250, "nutpie": 500}[sampler]
    found = nuts(model, draws=size, tune=300, chains=2, engine="compiled", sampler=sampler, progress=False)
    check_moments(found, model.exact())


@needs_nutpie
@pytest.mark.parametrize("mass_matrix", ["diagonal", "low_rank"])
def test_a_correlated_gaussian_is_found(mass_matrix):
    covariance = torch.tensor([[1.0, 1.9], [1.9, 4.0]])

    def model():
        pyro.sample("w", dist.MultivariateNormal(torch.tensor([1.0, -2.0]), covariance))

    found = few(model, draws=400, tune=300, mass_matrix=mass_matrix)
    check_moments(found, {"w": ([1.0, -2.0], [1.0, 2.0])})
    flat = found["posterior"]["w"].values.reshape(-1, 2)
    assert np.corrcoef(flat.T)[0, 1] == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(sampler):
    one, other, third = (few(schools, (EFFECTS, ERRORS), draws=8, tune=8, sampler=sampler, seed=s) for s in (1, 1, 2))
    assert one["posterior"].equals(other["posterior"])
    assert not one["posterior"].equals(third["posterior"])
    chains = one["posterior"]["mu"].values
    assert not np.array_equal(chains[0], chains[1])


@needs_nutpie
@pytest.mark.skipif(not can_fork(), reason="chains run one after the other here")
def test_processes_change_no_bit():
    alone, beside = (few(schools, (EFFECTS, ERRORS), chains=3, cores=cores) for cores in (1, 2))
    assert alone["posterior"].equals(beside["posterior"])
    assert alone["sample_stats"].equals(beside["sample_stats"])


def test_torch_and_pyro_are_as_before():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    few(schools, (EFFECTS, ERRORS), prior=5, posterior_predictive=True, sampler="pyro", draws=4, tune=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not list(pyro.get_param_store().keys())


@needs_nutpie
def test_the_answer_has_the_sites_with_their_names_dimensions_and_labels():
    names = [f"school {letter}" for letter in "ABCDEFGH"]
    found = few(
        schools, (EFFECTS, ERRORS), coords={"school": names}, log_likelihood=True, prior=7, posterior_predictive=True,
        keep_tuning=True,
    )  # fmt: skip
    posterior = found["posterior"]
    assert posterior["theta"].dims == ("chain", "draw", "school")
    assert posterior["mu"].dims == ("chain", "draw")
    assert list(posterior["school"].values) == names
    assert posterior["theta"].values.dtype == np.float64
    rebuilt = posterior["mu"] + posterior["tau"] * posterior["away"]
    assert np.allclose(posterior["theta"], rebuilt, rtol=1e-12)
    likelihood = torch.distributions.Normal(torch.tensor(posterior["theta"].values), ERRORS.double())
    expected = likelihood.log_prob(EFFECTS.double()).numpy()
    assert np.allclose(found["log_likelihood"]["effect"], expected, rtol=1e-10)
    assert found["observed_data"]["effect"].dims == ("school",)
    assert np.array_equal(found["observed_data"]["effect"], EFFECTS)
    assert dict(found["prior"].sizes) == {"chain": 1, "draw": 7, "school": 8}
    assert found["prior_predictive"]["effect"].shape == (1, 7, 8)
    assert found["posterior_predictive"]["effect"].shape == (2, 20, 8)
    assert found["warmup_posterior"]["mu"].shape == (2, 20)
    stats = found["sample_stats"]
    assert {"diverging", "energy", "tree_depth", "step_size", "lp", "acceptance_rate"} <= set(stats.data_vars)
    assert stats["tree_depth"].dtype.kind in "iu"
    assert arviz.summary(found).shape[0] == 1 + 1 + 8 + 8
    loo = arviz.loo(found)
    assert np.isfinite(loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd)  # ArviZ 0.x, 1.x


def test_dimensions_of_events_are_named_by_the_caller_and_wrong_names_refused():
    model = Conjugate()
    found = few(model, sampler="pyro", draws=4, tune=4, dims={"share": ["party"]}, coords={"party": ["a", "b", "c"]})
    assert found["posterior"]["share"].dims == ("chain", "draw", "party")
    assert found["posterior"]["weight"].dims == ("chain", "draw", "weight_dim_0")
    for wrong, message in (
        ({"dims": {"nothing": ["a"]}}, "sites of the model"),
        ({"dims": {"share": ["a", "b"]}}, "last of 1 dimensions"),
        ({"coords": {"nowhere": [1]}}, "dimensions of the model"),
        ({"coords": {"counts_plate": [1, 2]}}, "must have 4 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            few(model, sampler="pyro", **wrong)


@needs_nutpie
def test_a_module_with_sampled_weights_and_latents_that_are_summed_out():
    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[torch.nn.Linear](2, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
            self.linear.bias = PyroSample(dist.Normal(0.0, 1.0).expand([1]).to_event(1))

        def forward(self, x, y):
            outlier = pyro.sample("outlier_share", dist.Beta(1.0, 9.0))
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("rows", len(x)):
                kind = pyro.sample("kind", dist.Bernoulli(outlier))
                pyro.sample("y", dist.Normal(mean, 0.3 + 5 * kind), obs=y)

    x = torch.randn(30, 2)
    y = x @ torch.tensor([1.0, -2.0]) + 0.5
    y[:2] = 15.0
    found = few(Regression(), (x, y), draws=100, tune=150)
    weights = found["posterior"]["linear.weight"].values.reshape(-1, 2)
    assert np.allclose(weights.mean(0), [1.0, -2.0], atol=0.3)
    assert "kind" not in found["posterior"]
    with pytest.raises(ModelError, match="kind"):
        few(Regression(), (x, y), log_likelihood=True)


# ---- starts


@needs_nutpie
def test_chains_begin_at_draws_of_a_guide_or_of_the_prior():
    guide = AutoNormal(schools, init_scale=0.01)
    guide(EFFECTS, ERRORS)
    for start in (guide, "prior"):
        found = few(schools, (EFFECTS, ERRORS), start=start)
        assert np.isfinite(found["posterior"]["mu"]).all()
    pyro.clear_param_store()
    with pytest.raises(ModelError, match="no site 'mu'"):
        few(schools, (EFFECTS, ERRORS), start=lambda *args: pyro.sample("tau", dist.Normal(0.0, 1.0)))


def test_a_model_without_a_finite_start_is_refused_by_site():
    def model():
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.validation_enabled(False):
            pyro.sample("far", dist.Uniform(level + 50, level + 51, validate_args=False), obs=torch.tensor(0.5))

    with pytest.raises(ModelError, match=r"100 tries.*'far'|'far' cannot be scored"):
        few(model)


def test_a_gradient_that_is_not_finite_is_refused_by_site():
    def model():
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        pyro.sample(
            "data", dist.Normal(torch.where(level == 99, (-(level**2) - 1).sqrt(), 0.0), 1.0), obs=torch.tensor(0.5)
        )

    with pytest.raises(ModelError, match="gradient at site 'level'"):
        few(model)


# ---- funnels


def funnel():
    width = pyro.sample("width", dist.Normal(0.0, 3.0))
    with pyro.plate("rows", 9):
        pyro.sample("x", dist.Normal(0.0, (width / 2).exp()))


@needs_nutpie
def test_divergences_name_the_funnel_and_decentring_cures_it():
    with pytest.warns(SamplingWarning, match="'x' is sampled too"):
        few(funnel, draws=500, tune=60, target_accept=0.5)
    found = few(funnel, draws=300, tune=200, reparametrise=True)
    posterior = found["posterior"]
    assert {"x", "x_decentered"} <= set(posterior.data_vars)
    assert np.allclose(posterior["x"], np.exp(posterior["width"] / 2) * posterior["x_decentered"])
    assert int(found["sample_stats"]["diverging"].sum()) == 0
    check_moments(found, {"width": (0.0, 3.0)})


# ---- Ctrl-C


@needs_nutpie
def test_seeds_of_any_size_give_chains_of_their_own():
    seeds = (0, 1, 5, 2**32, 2**32 + 1, 5 * 2**32 + 1, 2**64, 2**64 + 2**32)
    settings = [roads.Settings(1, 1, seed, 0.8, 10, "diagonal") for seed in seeds]
    found = [each.seed_of(chain) for each in settings for chain in range(6)]
    assert len(set(found)) == len(found)
    begin = [np.random.default_rng(entropy(seed, c, a)).random() for seed in seeds for c in range(6) for a in range(3)]
    assert len(set(begin)) == len(begin)
    assert entropy(7, 1)[:2] == [7, 1]  # small seeds give what they gave before


@pytest.mark.parametrize(
    ("cores", "engine", "most"), [(1, "graph", 100_000), (2, "graph", 100_000), (2, "compiled", 400_000)]
)
def test_an_interrupt_keeps_the_draws_so_far(cores, engine, most, monkeypatch):
    first = threading.Event()
    monkeypatch.setattr("pyrovae.engine.posterior.sampling._bar", lambda *_: _Watching(first, after=60))
    threading.Thread(target=_interrupt_when, args=(first,), daemon=True).start()
    begin = time.monotonic()
    found = few(schools, (EFFECTS, ERRORS), draws=most, tune=10, chains=2, cores=cores, engine=engine)
    assert time.monotonic() - begin < 60
    posterior = found["posterior"]
    assert 1 <= posterior.sizes["draw"] < most
    assert posterior.attrs["interrupted"] == 1
    assert np.isfinite(posterior["mu"]).all()


class _Watching:
    """A progress bar that tells when so many transitions are done."""

    def __init__(self, event, after):
        self._event, self._left = event, after

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, done):
        self._left -= done
        if self._left <= 0:
            self._event.set()


def _interrupt_when(event):
    event.wait()
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_of_pyros_sampler_keeps_the_draws_too():
    calls = []

    def progress(done):
        calls.append(done)

    stop = threading.Event()
    settings = roads.Settings(100_000, 5, 0, 0.8, 5, "diagonal")

    def call(u):
        if len(calls) >= 2:
            stop.set()
        return -0.5 * (u**2).sum(), -u

    chain = roads.pyro_chain(call, np.zeros(2), settings, 0, stop, progress)
    assert not chain.whole
    assert 0 < chain.draws < 1000
    assert all(len(values) == len(chain.u) for values in chain.stats.values())


def test_of_unequal_chains_most_draws_are_kept():
    def chains(*lengths):
        return [Chain(np.zeros((n + 5, 1)), {}, 5) for n in lengths]

    assert [c.draws for c in _longest(chains(100, 90, 3))] == [100, 90]
    assert [c.draws for c in _longest(chains(100, 10, 0))] == [100]
    assert [c.draws for c in _longest(chains(5, 5, 5, 5))] == [5] * 4
    assert _longest(chains(0, 0)) == []
    assert _longest([]) == []


# ---- what else is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, "draws must be a whole number from 1, got 0"),
        ({"chains": 1.5}, "chains must be a whole number from 1, got 1.5"),
        ({"cores": 0}, "cores must be"),
        ({"seed": -1}, "seed must be"),
        ({"target_accept": 1.0}, "target_accept must be between 0 and 1"),
        ({"mass_matrix": "full"}, "mass_matrix must be one of diagonal, low_rank, dense"),
        ({"engine": "fast"}, "engine must be one of"),
        ({"sampler": "stan"}, "sampler must be one of"),
        ({"start": "middle"}, "start must be 'uniform', 'prior' or a guide"),
        ({"sampler": "pyro", "mass_matrix": "low_rank"}, "nutpie's alone"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        few(schools, (EFFECTS, ERRORS), **settings)


def test_without_nutpie_pyro_samples_and_asking_for_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("pyrovae.engine.posterior.sampling.has_nutpie", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'pyrovae\[nuts\]'"):
        few(schools, (EFFECTS, ERRORS), sampler="nutpie")
    assert few(schools, (EFFECTS, ERRORS), draws=4, tune=4)["posterior"].attrs["sampler"] == "pyro"


def test_a_dense_mass_matrix_is_pyros():
    assert few(schools, (EFFECTS, ERRORS), draws=4, tune=4, mass_matrix="dense")["posterior"].attrs["sampler"] == "pyro"


@pytest.mark.slow
@needs_nutpie
def test_calibration_over_seeds_on_a_conjugate_model():
    """True values, drawn from the prior, lie in the draws as one among others; and draws match the exact posterior."""

    def model(y):
        mean = pyro.sample("mean", dist.Normal(1.0, 2.0))
        with pyro.plate("rows", 5):
            pyro.sample("y", dist.Normal(mean, 1.5), obs=y)

    numbers = np.random.default_rng(0)
    ranks, distances = [], []
    for seed in range(10):
        truth = numbers.normal(1.0, 2.0)
        y = numbers.normal(truth, 1.5, 5)
        found = nuts(
            model, (torch.tensor(y),), draws=250, tune=200, chains=2, seed=seed, engine="graph", progress=False
        )
        values = found["posterior"]["mean"].values
        ranks.append((values < truth).mean())
        precision = 1 / 4 + 5 / 1.5**2
        exact = (1 / 4 + y.sum() / 1.5**2) / precision
        ess = float(arviz.ess(group(found, "posterior"), method="mean")["mean"])
        distances.append((values.mean() - exact) * np.sqrt(precision * ess))
    from scipy.stats import kstest

    assert kstest(ranks, "uniform").pvalue > 0.001
    assert np.sum(np.square(distances)) < 29.6  # 99.9 % of chi-squared with 10 degrees


@needs_nutpie
def test_what_arviz_says_once_a_day_is_not_said_by_us(tmp_path):
    program = """
import pyro, pyrovae
def model():
    pyro.sample("x", pyro.distributions.Normal(0.0, 1.0))
pyrovae.nuts(model, draws=5, tune=5, chains=1, progress=False)
"""
    command = [sys.executable, "-W", "error::FutureWarning:arviz", "-c", program]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "ArviZ" not in done.stderr
