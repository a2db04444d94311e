"""Bad input: a clear message each time, and under `auto` a working run."""

import math
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceTailAdaptive_ELBO

from pyrovae.engine import SVI, CompilerError, UntraceableError, compile_function, guards


def sgd(parameters, lr=1e-3):
    return torch.optim.SGD(parameters, lr=lr)


def steps(svi, x):
    """Pyro takes the first two; the third is a graph's, or is refused."""
    return [svi.step(x) for _ in range(3)]


def test_unknown_options(make_pair):
    pair = make_pair()
    with pytest.raises(ValueError, match="engine must be one of"):
        SVI(pair.model, pair.guide, sgd(pair.parameters()), engine="fast")
    with pytest.raises(ValueError, match="precision must be one of"):
        SVI(pair.model, pair.guide, sgd(pair.parameters()), precision="float16")
    with pytest.raises(ValueError, match=r"pyro\.infer\.ELBO"):
        SVI(pair.model, pair.guide, sgd(pair.parameters()), loss=torch.nn.MSELoss())
    with pytest.raises(ValueError, match="compiled or graph"):
        compile_function(torch.sin, "pyro")


@pytest.mark.parametrize("name", ["model", "guide", "optim", "loss", "loss_and_grads"])
def test_attributes_of_pyros_svi_are_not_set_in_vain(name, make_pair):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()))
    with pytest.raises(AttributeError, match=f"the {name} of an SVI cannot be replaced"):
        setattr(svi, name, None)


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_observation_of_wrong_shape_names_the_site(engine, make_pair):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()), engine=engine, prepare=lambda x: (x.expand(-1, 12),))
    pair.decoder[2] = torch.nn.Linear(16, 5)
    with pytest.raises(ValueError, match="'x'"):
        svi.step(torch.ones(4, 1))


def test_grey_pixels_under_bernoulli_name_the_site(make_pair, images):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()), engine="graph")
    with pytest.raises(ValueError, match="site 'x'"):
        svi.step(images * 0.5)


def reading(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    loc = float(z.detach().abs())
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def reading_guide(x):
    pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))


def test_a_value_that_is_read_is_named_and_runs_on_pyro():
    x = torch.ones(5)
    named = SVI(reading, reading_guide, sgd, engine="graph")
    with pytest.raises(UntraceableError, match=r"the model reads a tensor's value .* after site 'z'"):
        steps(named, x)
    auto = SVI(reading, reading_guide, sgd, tiers={"graph": 1})
    assert torch.isfinite(torch.tensor([auto.step(x) for _ in range(5)])).all()
    assert auto.engine == "pyro"
    assert "after site 'z'" in auto.description


def test_changing_structure_is_refused(make_pair, images):
    pair, calls = make_pair(), []

    def model(x):
        calls.append(1)
        pair.model(x)
        if len(calls) % 2:
            pyro.sample("extra", dist.Normal(0.0, 1.0), obs=torch.zeros(()))

    svi = SVI(model, pair.guide, sgd(pair.parameters()), engine="graph")
    with pytest.raises(UntraceableError, match="changes calls"):
        steps(svi, images)
    assert len(calls) == 2  # as often as by Pyro


@pytest.fixture
def _without_compiler(monkeypatch):
    monkeypatch.setattr("pyrovae.engine.compilation.shutil.which", lambda name: None)


@pytest.mark.usefixtures("_without_compiler")
def test_missing_compiler_says_how_to_get_one(make_pair, images):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()), engine="compiled")
    with pytest.raises(CompilerError, match="apt install g\\+\\+"):
        steps(svi, images)
    auto = SVI(pair.model, pair.guide, sgd(pair.parameters()), steps=10_000)
    for _ in range(5):
        auto.step(images)
    assert auto.engine == "graph"
    assert "no C++ compiler" in auto.description


def test_broken_compiler_falls_back_under_auto(make_pair, images, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("internal compiler error")

    monkeypatch.setattr("torch._inductor.compile", broken)
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()), tiers={"compiled": 1})
    assert all(svi.step(images) > 0 for _ in range(6))
    assert svi.engine == "graph"
    assert "internal compiler error" in svi.description


def test_auto_does_not_compile_a_short_run(make_pair, images):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()), steps=20)
    for _ in range(5):
        svi.step(images)
    assert svi.engine == "pyro"
    assert "20 steps" in svi.description


def test_parameters_that_are_not_leaves_or_live_apart(make_pair, images):
    pair = make_pair()
    with pytest.raises(ValueError, match="leaf"):
        SVI(pair.model, pair.guide, sgd([pair.decoder[0].weight * 2]))
    stray = torch.nn.Parameter(torch.zeros((), device="meta"))
    svi = SVI(pair.model, pair.guide, sgd([*pair.parameters(), stray]), engine="graph")
    with pytest.raises(ValueError, match="2 devices"):
        svi.step(images)
    auto = SVI(pair.model, pair.guide, sgd([*pair.parameters(), stray]))
    assert auto.step(images) > 0
    assert auto.engine == "pyro"


@pytest.mark.parametrize("engine", ["pyro", "graph", "auto"])
def test_nothing_to_train(engine, images):
    def model(x):
        pyro.sample("z", dist.Normal(0.0, 1.0))

    unused = torch.nn.Parameter(torch.zeros(()))
    svi = SVI(model, model, sgd([unused]), engine=engine)
    assert [svi.step(images) for _ in range(5)] == [0.0] * 5  # as Pyro has it
    assert unused == 0


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["pyro", "graph", "compiled"])
def test_nan_names_the_site_and_spares_the_parameters(engine, make_pair, images, monkeypatch):
    monkeypatch.setattr("pyrovae.engine.functions.compiled", lambda captured, leaves: captured.graph)
    pair = make_pair()
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
    svi = SVI(pair.model, pair.guide, optimizer, engine=engine)
    healthy = [svi.step(images) for _ in range(3)]
    before = [p.detach().clone() for p in pair.parameters()]
    steps = optimizer.state[next(pair.parameters())]["step"].item()
    with pytest.raises(FloatingPointError, match=r"loc .*site 'z' in the guide"), pyro.validation_enabled(False):
        svi.step(images * torch.nan)
    assert all(torch.equal(p, b) for p, b in zip(pair.parameters(), before, strict=True))
    assert optimizer.state[next(pair.parameters())]["step"].item() == steps
    assert svi.step(images) == pytest.approx(healthy[-1], rel=0.2)  # after the diagnosis, training goes on


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_after_nan_updates_stop_until_diagnosed(make_pair, images):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()), engine="graph")
    with pyro.validation_enabled(False):
        assert torch.isfinite(svi.update(images).loss)
        assert torch.isnan(svi.update(images / 0.0).loss)
        assert torch.isnan(svi.update(images).loss)  # seen at the next log line at the latest
        assert "earlier step" in svi.diagnose(images)
        assert torch.isfinite(svi.update(images).loss)
        with torch.no_grad():
            pair.decoder[0].bias.fill_(torch.nan)
        assert "decoder.0.bias" in svi.diagnose(images)


def test_numbers_that_change_do_not_compile_for_ever(make_pair, images, caplog):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd(pair.parameters()), engine="graph")
    losses = [svi.step(images, 0.1 * (i + 1)) for i in range(10)]
    assert losses[-1] > 0
    assert "pass numbers that change as tensors" in caplog.text


def test_optimizer_factory_is_asked_for_at_the_first_step(make_pair, images):
    pair = make_pair()
    svi = SVI(pair.model, pair.guide, sgd, engine="graph")
    with pytest.raises(ValueError, match="before the first step"):
        _ = svi.optimizer
    svi.step(images)
    asked = {id(p) for group in svi.optimizer.param_groups for p in group["params"]}
    assert asked == {id(p) for p in pair.parameters()}


def test_a_program_that_reaches_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(guards, "LARGEST_REACH", 500)
    things = [SimpleNamespace(value=float(i)) for i in range(1000)]

    def model():
        pyro.sample("z", dist.Normal(things[0].value, 1.0))

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), engine="graph")
    with pytest.raises(UntraceableError, match="reach more than 500 objects"):
        [svi.step() for _ in range(3)]


def weighted_difference(model, guide, *args, **kwargs):
    """A loss that is a function, and returns a tensor with a gradient."""
    traces = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, traces)).get_trace(*args, **kwargs)
    return traces.log_prob_sum() - model_trace.log_prob_sum()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("engine", ["pyro", "auto"])
@pytest.mark.parametrize("loss", ["tail adaptive", "function"])
def test_losses_that_state_no_number_of_their_own_are_pyros(loss, engine):
    def model():
        with pyro.plate("data", 3):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([3]))
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.ones(3))

    def guide():
        loc = pyro.param("loc", torch.zeros(3))
        with pyro.plate("data", 3):
            pyro.sample("z", dist.Normal(loc, 1.0))

    def trained(make, **settings):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        adaptive = TraceTailAdaptive_ELBO(num_particles=5, vectorize_particles=True, max_plate_nesting=1)
        given = adaptive if loss == "tail adaptive" else weighted_difference
        svi = make(model, guide, pyro.optim.Adam({"lr": 0.1}), given, **settings)
        losses = [svi.step() for _ in range(6)]
        return losses, pyro.param("loc").detach().clone()

    losses, loc = trained(SVI, engine=engine)
    theirs, expected = trained(pyro.infer.SVI)
    assert losses == theirs
    assert all(map(math.isinf, losses)) == (loss == "tail adaptive")
    assert torch.equal(loc, expected)
    pyro.clear_param_store()
