"""Every engine gives Pyro's own losses and gradients: same seed, same draws, same numbers within float32 error."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch.testing import assert_close

from pyrovae.engine import SVI, rewriting

OBJECTIVES = {
    "trace": Trace_ELBO,
    "particles": lambda: Trace_ELBO(num_particles=2),
    "vectorised": lambda: Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
    "mean field": TraceMeanField_ELBO,
    "importance": lambda: RenyiELBO(alpha=0.0, num_particles=2),
    "importance, vectorised": lambda: RenyiELBO(0.0, num_particles=2, vectorize_particles=True, max_plate_nesting=1),
    "renyi": lambda: RenyiELBO(alpha=0.5, num_particles=2),
}
SLOW = pytest.mark.slow


def train(pair, engine, loss, batches):
    """Plain gradient descent, so that a parameter's change is its gradient."""
    optimizer = torch.optim.SGD(pair.parameters(), lr=1e-3)
    svi = SVI(pair.model, pair.guide, optimizer, loss, engine=engine, check_every=None)
    torch.manual_seed(3)
    losses = [svi.step(*batch) for batch in batches]
    assert svi.steps_taken[engine] >= len(batches) - 2  # Pyro takes the first two
    return losses, [p.detach() for p in pair.parameters()]


def assert_same(ours, reference):
    assert_close(torch.tensor(ours[0]), torch.tensor(reference[0]), rtol=2e-6, atol=1e-4)
    for parameter, expected in zip(ours[1], reference[1], strict=True):
        assert_close(parameter, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_objectives(engine, objective, make_pair, images, by_pyro):
    batches = [(images, torch.tensor(beta)) for beta in (0.5, 1.0, 1.0, 0.7, 0.8)]
    reference = by_pyro(make_pair(), OBJECTIVES[objective](), batches)
    assert_same(train(make_pair(), engine, OBJECTIVES[objective](), batches), reference)
    assert not pyro.get_param_store()


@pytest.mark.parametrize("family", ["full", "two sites", "discrete"])
@pytest.mark.parametrize("objective", ["trace", "mean field", "importance"])
def test_guide_families(objective, family, make_pair, images, by_pyro):
    if family == "discrete" and objective != "trace":
        pytest.skip("Pyro has no such estimator")
    batches = [(images,)] * 5
    reference = by_pyro(make_pair(family), OBJECTIVES[objective](), batches)
    assert_same(train(make_pair(family), "graph", OBJECTIVES[objective](), batches), reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "family"),
    [("mean field", "two sites"), ("importance, vectorised", "full"), ("trace", "discrete")],
)
def test_compiled(objective, family, make_pair, images, by_pyro):
    batches = [(images, torch.tensor(beta)) for beta in (0.5, 1.0, 1.0, 0.7, 0.8)]
    reference = by_pyro(make_pair(family), OBJECTIVES[objective](), batches)
    assert_same(train(make_pair(family), "compiled", OBJECTIVES[objective](), batches), reference)


def hierarchy(x):
    """Not a VAE: parameters in Pyro's store, nested plates, subsampling, mask, scale and a score-function site."""
    rate = pyro.param("rate", torch.tensor(2.0), constraint=dist.constraints.positive)
    level = pyro.sample("level", dist.Gamma(rate, 1.0))
    with pyro.plate("groups", x.shape[1], dim=-1) as group:
        effect = pyro.sample("effect", dist.Normal(0.0, level))
        with pyro.plate("rows", x.shape[0], subsample_size=5, dim=-2) as row, poutine.scale(scale=0.5):
            seen = x[row][:, group]
            with poutine.mask(mask=seen > -1.0):
                pyro.sample("x", dist.StudentT(4.0, effect, 1.0), obs=seen)


def hierarchy_guide(x):
    level = pyro.param("q_level", torch.tensor(1.5), constraint=dist.constraints.positive)
    loc = pyro.param("loc", 0.1 * torch.arange(4.0))
    pyro.sample("level", dist.Gamma(level * 3, 3.0))
    with pyro.plate("groups", x.shape[1], dim=-1):
        pyro.sample("effect", dist.Normal(loc, 0.3))
    pyro.plate("rows", x.shape[0], subsample_size=5, dim=-2)


def gammas(x):
    """Sites whose densities and slopes are made of log-gamma and digamma functions, at large and at small arguments."""
    shape = pyro.param("shape", torch.tensor([0.05, 2.0, 40.0, 3.0]), constraint=dist.constraints.positive)
    with pyro.plate("columns", x.shape[1], dim=-1):
        rate = pyro.sample("rate", dist.Gamma(shape, 1.0))
        share = pyro.sample("share", dist.Beta(shape, 2.0))
        with pyro.plate("rows", x.shape[0], dim=-2):
            pyro.sample("count", dist.Poisson(rate * share + 0.1), obs=x.abs().mul(9).round())


def gammas_guide(x):
    q = pyro.param("q", torch.tensor([[1.5], [3.0], [20.0]]), constraint=dist.constraints.positive)
    with pyro.plate("columns", x.shape[1], dim=-1):
        pyro.sample("rate", dist.Gamma(q[0] + q[1], q[1]))
        pyro.sample("share", dist.Beta(q[1], q[2]))


@pytest.mark.parametrize("engine", ["pyro", "graph", pytest.param("compiled", marks=SLOW)])
@pytest.mark.parametrize(
    "programs", [(hierarchy, hierarchy_guide), (gammas, gammas_guide)], ids=["hierarchy", "gammas"]
)
def test_general_program_with_parameter_store(engine, programs, monkeypatch):
    monkeypatch.setattr(rewriting, "WORTHWHILE", 1)
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    results = []
    for ours in (False, True):
        pyro.clear_param_store()
        if ours:
            svi = SVI(*programs, lambda ps: torch.optim.SGD(ps, lr=1e-3), engine=engine, check_every=None)
        else:
            svi = pyro.infer.SVI(*programs, pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO())
        torch.manual_seed(5)
        losses = [svi.step(x) for _ in range(6)]
        results.append((losses, [p.detach().clone() for _, p in sorted(pyro.get_param_store().named_parameters())]))
    assert_same(results[1], results[0])


@pytest.mark.parametrize("guide_type", [AutoNormal, AutoMultivariateNormal])
def test_autoguides(guide_type):
    x = torch.randn(30, generator=torch.Generator().manual_seed(0)) + 3.0

    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, scale), obs=x)

    finals = {}
    for engine in ("pyro", "graph"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        guide = guide_type(model)
        svi = SVI(model, guide, lambda ps: torch.optim.Adam(ps, lr=0.02), engine=engine)
        torch.manual_seed(1)
        finals[engine] = [svi.step(x) for _ in range(20)]
    assert_close(torch.tensor(finals["graph"]), torch.tensor(finals["pyro"]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_log_probs_are_those_of_the_loss(engine, make_pair, images):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, torch.optim.SGD(pair.parameters(), lr=1e-3), engine=engine)
    beta = torch.tensor(0.25)
    for _ in range(5 if engine == "graph" else 1):
        step = svi.update(images, beta)
    parts = step.log_probs
    assert set(parts) == {"model.z", "model.x", "guide.z"}
    bound = parts["model.x"] + beta * (parts["model.z"] - parts["guide.z"])
    assert_close(-step.loss, bound, rtol=1e-5, atol=1e-3)
    for _ in range(3):
        evaluated = svi.evaluate(images, beta)
    assert set(evaluated.log_probs) == set(parts)
    assert not step.loss.requires_grad


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_draws_differ_between_steps_and_repeat_with_the_seed(engine, make_pair, images):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, torch.optim.SGD(pair.parameters(), lr=0.0), engine=engine, check_every=None)
    while svi.graphs_made < (engine == "graph"):
        svi.step(images)
    torch.manual_seed(0)
    first = [svi.step(images) for _ in range(3)]
    torch.manual_seed(0)
    assert [svi.step(images) for _ in range(3)] == first
    assert len(set(first)) == 3


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_bfloat16_moves_the_bound_by_little(engine, make_pair, images):
    losses = {}
    for precision in ("float32", "bfloat16"):
        pair = make_pair()
        optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
        svi = SVI(pair.model, pair.guide, optimizer, engine=engine, precision=precision)
        torch.manual_seed(0)
        losses[precision] = [svi.step(images) for _ in range(6)][-1]
        assert svi.steps_taken[engine] >= 1
        assert all(p.dtype == torch.float32 for p in pair.parameters())
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=2e-3)
