"""Generated models, held against Pyro's own potential, and priors drawn by NUTS against those drawn directly."""

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from generated_models import ALONE, FAMILIES, Regression, generated
from posterior_models import needs_nutpie
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide.initialization import init_to_value
from pyro.infer.mcmc.util import initialize_model

from pyrovae.engine.posterior import nuts
from pyrovae.engine.posterior.density import density_of
from pyrovae.engine.posterior.graphs import trace_vector
from pyrovae.engine.posterior.native import native_call
from pyrovae.engine.posterior.sampling import ProgramCall, compiled_density

BY_THE_PROGRAM = {"StableWithLogProb", "SineBivariateVonMises"}
"""Families whose code in Pyro reads values: they have no graph."""
NOT_IN_PYRO = {"MixtureSameFamily"}
"""Families that Pyro has no transform for."""
HIDDEN_BOUNDS = {"affine Beta", "negative"}
"""Transforms that torch, and so Pyro's potential, takes to lead to all real numbers."""
NO_SUPPORT = {"zero mask"}
SEEDS = range(6)


def points(size):
    return [torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]


def by_pyro(model, args, kwargs, ours, vectors):
    """Pyro's potential in float64, with the sign of a density."""
    torch.set_default_dtype(torch.float64)
    try:
        begin = init_to_value(values=ours.values(vectors[0]))
        with pyro.validation_enabled(False):
            start, potential, _, _ = initialize_model(
                model, args, kwargs, init_strategy=begin, max_plate_nesting=ours.plate_nesting
            )
            assert start.keys() == ours.latents.keys()
            return [
                -potential({n: u[site.start : site.stop].reshape(start[n].shape) for n, site in ours.latents.items()})
                for u in vectors
            ]
    finally:
        torch.set_default_dtype(torch.float32)


def agree(found, expected):
    return torch.allclose(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def check(model, args, kwargs, *, graph):
    """The program, its graph, the function in C and Pyro's potential say the same."""
    ours = density_of(model, args, kwargs)
    vectors = points(ours.size)
    exact = [ours.with_gradient(u) for u in vectors]
    for (value, _), expected in zip(exact, by_pyro(model, args, kwargs, ours, vectors), strict=True):
        assert agree(value, expected)
    if not graph:
        assert isinstance(compiled_density(ours, "auto", 1000), ProgramCall)
        return
    traced = trace_vector(ours.with_gradient, vectors[0])
    native = native_call(traced, ours.size)
    for u, (value, slope) in zip(vectors, exact, strict=True):
        for call in (traced, native):
            again, gradient = call(u)
            assert agree(again, value)
            scale = max(float(slope.abs().max()), 1.0)
            assert agree(gradient / scale, slope / scale)


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.full] if s else []) for s in SEEDS])
@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - NOT_IN_PYRO - NO_SUPPORT - HIDDEN_BOUNDS))
def test_the_density_is_pyros_wherever_the_site_stands(family, seed):
    made = generated(family, seed)
    try:
        check(made.model, made.args, made.kwargs, graph=family not in BY_THE_PROGRAM)
    except ValueError as error:
        if "while packing tensors at site 'plate_0'" not in str(error):  # of Pyro's own: a mask over enumeration
            raise AssertionError(made.words) from error
        pytest.skip("Pyro does not enumerate beside a mask of a tensor")


def test_modules_with_sampled_weights_have_pyros_density():
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    torch.set_default_dtype(torch.float64)
    try:
        module = Regression()  # Pyro's potential needs its own parameters in float64
    finally:
        torch.set_default_dtype(torch.float32)
    check(module, (x.double(), x[:, 0].double()), {}, graph=True)


# ---- draws


WRONG_SAMPLER = {"LKJ", "LKJCholesky"}
"""Torch's sampler has another density: of a matrix's elements, which all have one, it draws unequal ones."""
DRAWN = sorted(
    name
    for name in FAMILIES
    if not name.startswith("improper") and name not in NO_SUPPORT | BY_THE_PROGRAM | WRONG_SAMPLER
)
IN_SHORT = {"Dirichlet", "ordered", "VonMises", "Beta", "Pareto", "MixtureSameFamily", "Uniform", "negative"}


@needs_nutpie
@pytest.mark.filterwarnings("ignore:.*transitions diverged")
@pytest.mark.parametrize(
    "family", [pytest.param(n, marks=[] if n in IN_SHORT else [pytest.mark.full]) for n in DRAWN]
)  # fmt: skip
def test_without_data_draws_have_the_moments_of_the_prior(family):
    s = torch.tensor(0.8, dtype=torch.float64)

    def model():
        pyro.sample("value", FAMILIES[family](s))

    found = nuts(model, draws=1000, tune=500, chains=2, target_accept=0.95, engine="compiled", progress=False)
    bounded = np.sin if "VonMises" in family else _bounded  # angles beyond a turn are as good
    drawn = bounded(found["posterior"]["value"].values.reshape(2, 1000, -1))
    torch.manual_seed(0)
    direct = bounded(np.stack([[FAMILIES[family](s).sample().numpy() for _ in range(3000)]]).reshape(1, 3000, -1))
    for power in (1, 2):
        ess = arviz.ess(arviz.convert_to_dataset({"x": drawn**power}), method="mean")["x"].values
        one, other = drawn.reshape(-1, drawn.shape[-1]) ** power, direct.reshape(-1, direct.shape[-1]) ** power
        error = np.sqrt(one.var(0) / ess + other.var(0) / len(other))
        assert np.all(np.abs(one.mean(0) - other.mean(0)) < 5 * error + 1e-12), family


def _bounded(values):
    """Elements of each draw between -1 and 1, so that each has all moments: (chains, draws, elements)."""
    return np.tanh(values.reshape(*values.shape[:2], -1) / 2)


@needs_nutpie
@pytest.mark.filterwarnings("ignore:.*transitions diverged")
def test_correlations_of_an_lkj_prior_have_their_known_distribution():
    def model():
        pyro.sample("factor", dist.LKJCholesky(3, torch.tensor(1.5)))

    found = nuts(model, draws=1500, tune=500, chains=2, target_accept=0.95, engine="compiled", progress=False)
    factor = found["posterior"]["factor"].values
    correlations = (factor @ np.swapaxes(factor, -1, -2))[..., [1, 2, 2], [0, 0, 1]]
    squares = arviz.convert_to_dataset({"x": correlations**2})
    error = (correlations**2).reshape(-1, 3).std(0) / np.sqrt(arviz.ess(squares, method="mean")["x"].values)
    exact = 1 / (2 * (1.5 - 1 + 3 / 2) + 1)  # (r + 1) / 2 is Beta(a, a) with a = eta - 1 + size / 2
    assert np.all(np.abs((correlations**2).mean((0, 1)) - exact) < 5 * error)


@pytest.mark.full
@needs_nutpie
@pytest.mark.filterwarnings("ignore:.*transitions diverged")
@pytest.mark.parametrize("family", ["Dirichlet", "LKJCholesky", "ordered", "Gamma", "Beta"])
def test_with_data_draws_are_those_of_pyros_sampler(family):
    s = torch.tensor(1.3, dtype=torch.float64)

    def model():
        value = pyro.sample("value", FAMILIES[family](s))
        with pyro.plate("rows", 3):
            pyro.sample("data", dist.Normal(value.sum() + (value**2).sum(), 0.7), obs=torch.tensor([1.0, 1.5, 2.0]))

    ours = nuts(model, draws=1000, tune=500, chains=2, progress=False)["posterior"]["value"].values
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    try:
        sampler = MCMC(NUTS(model), num_samples=600, warmup_steps=300, disable_progbar=True)
        sampler.run()
    finally:
        torch.set_default_dtype(torch.float32)
    theirs = sampler.get_samples()["value"].numpy()[None]
    moments = []
    for values in (_bounded(ours), _bounded(theirs)):
        ess = arviz.ess(arviz.convert_to_dataset({"x": values}), method="mean")["x"].values
        flat = values.reshape(-1, values.shape[-1])
        moments.append((flat.mean(0), flat.var(0) / ess))
    (one, one_error), (other, other_error) = moments
    assert np.all(np.abs(one - other) < 5 * np.sqrt(one_error + other_error) + 1e-12)


def test_every_family_is_in_the_table_once():
    assert set(FAMILIES) >= ALONE | BY_THE_PROGRAM | NOT_IN_PYRO | NO_SUPPORT | HIDDEN_BOUNDS | IN_SHORT
