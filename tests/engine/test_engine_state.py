"""What lives where: optimizers, schedules, resumed runs, short batches, stale graphs, buffers, two engines at once."""

import contextlib
import copy
import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

from pyrovae.engine import SVI, compile_function
from pyrovae.engine.base import Training
from pyrovae.engine.capture import capture
from pyrovae.engine.compiled_engine import CompiledEngine
from pyrovae.engine.layouts import Placement
from pyrovae.engine.optimizers import TorchUpdater
from pyrovae.engine.programs import Objective
from pyrovae.engine.values import TracedValues

SLOW = pytest.mark.slow
GRAPHS = ["graph", pytest.param("compiled", marks=SLOW)]


def adam(pair, lr=1e-2):
    return torch.optim.Adam(pair.parameters(), lr=lr)


def run(pair, engine, batches, optimizer=None, schedule=None):
    optimizer = optimizer or adam(pair)
    svi = SVI(pair.model, pair.guide, optimizer, engine=engine)
    scheduler = schedule(optimizer) if schedule else None
    torch.manual_seed(0)
    losses = []
    for batch in batches:
        losses.append(svi.step(*batch))
        if scheduler:
            scheduler.step()
    return svi, losses


@pytest.mark.parametrize("engine", GRAPHS)
def test_schedule_beta_and_a_short_last_batch(engine, make_pair, images):
    """All that changes in a real run; one graph for each batch size, and Pyro's numbers."""
    sizes = [16, 16, 8] * 3
    batches = [(images[:size], torch.tensor(0.1 * i + 0.1)) for i, size in enumerate(sizes)]

    def schedule(optimizer):
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)

    results = {}
    for name in ("pyro", engine):
        pair = make_pair()
        svi, losses = run(pair, name, batches, schedule=schedule)
        results[name] = losses, [p.detach() for p in pair.parameters()]
    assert_close(torch.tensor(results[engine][0]), torch.tensor(results["pyro"][0]), rtol=1e-5, atol=1e-3)
    for ours, theirs in zip(results[engine][1], results["pyro"][1], strict=True):
        assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert svi.graphs_made == 2


@pytest.mark.parametrize("engine", ["pyro", *GRAPHS])
def test_resumed_run_is_equal_to_the_bit(engine, make_pair, images):
    whole = make_pair()
    _, expected = run(whole, engine, [(images,)] * 12)

    first = make_pair()
    svi, losses = run(first, engine, [(images,)] * 7)
    saved = copy.deepcopy((first.state_dict(), svi.optimizer.state_dict(), torch.get_rng_state(), svi.state_dict()))

    second = make_pair()
    optimizer = adam(second)
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    again = SVI(second.model, second.guide, optimizer, engine=engine)
    torch.manual_seed(99)
    again.evaluate_loss(images)  # evaluation before the first step changes nothing but the random state
    torch.set_rng_state(saved[2])
    again.load_state_dict(saved[3])
    losses += [again.step(images) for _ in range(5)]
    assert losses == expected
    assert engine == "pyro" or again.steps_taken[engine] > 4
    for ours, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("engine", GRAPHS)
def test_state_loaded_in_the_middle_is_used(engine, make_pair, images):
    pair = make_pair()
    svi, _ = run(pair, engine, [(images,)] * 10)
    saved = copy.deepcopy((pair.state_dict(), svi.optimizer.state_dict()))
    random = torch.get_rng_state()
    expected = [svi.step(images) for _ in range(2)]
    pair.load_state_dict(saved[0])
    svi.optimizer.load_state_dict(saved[1])
    torch.set_rng_state(random)
    # Pyro takes the steps after new state: the compiled graph's numbers differ from its by rounding.
    again = [svi.step(images) for _ in range(2)]
    assert again == (pytest.approx(expected, rel=1e-6) if engine == "compiled" else expected)


OPTIMIZERS = {
    "AdamW": lambda ps: torch.optim.AdamW(ps, lr=1e-2),
    "momentum": lambda ps: torch.optim.SGD(ps, lr=1e-4, momentum=0.9, weight_decay=1e-3),
    "RMSprop": lambda ps: torch.optim.RMSprop(ps, lr=1e-3),
    "Adagrad": lambda ps: torch.optim.Adagrad(ps, lr=1e-2),
    "two groups": lambda ps: torch.optim.Adam([{"params": ps[:2], "lr": 1e-3}, {"params": ps[2:]}], lr=1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_in_one_graph(name, make_pair, images, monkeypatch):
    """The optimizer's update as it is traced for compilation, run without a compiler."""
    monkeypatch.setattr("pyrovae.engine.functions.compiled", lambda captured, leaves: captured.graph)
    results = {}
    for engine in ("pyro", "compiled"):
        pair = make_pair()
        svi, losses = run(pair, engine, [(images,)] * 8, OPTIMIZERS[name](list(pair.parameters())))
        results[engine] = losses, [p.detach() for p in pair.parameters()]
    assert svi.steps_taken["compiled"] == 3
    assert_close(torch.tensor(results["compiled"][0]), torch.tensor(results["pyro"][0]), rtol=1e-5, atol=1e-3)
    for ours, theirs in zip(results["compiled"][1], results["pyro"][1], strict=True):
        assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_optimizer_with_hooks_updates_outside_the_graph(make_pair, images, monkeypatch):
    monkeypatch.setattr("pyrovae.engine.functions.compiled", lambda captured, leaves: captured.graph)
    pair, calls = make_pair(), []
    optimizer = adam(pair)
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    svi, _ = run(pair, "compiled", [(images,)] * 8, optimizer)
    assert len(calls) == 8
    assert svi.steps_taken["compiled"] == 3
    assert "outside the graph" in svi.description


def test_swapped_part_edited_buffer_and_mode_are_noticed(images):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(12, 4), nn.Dropout(0.5))
            self.register_buffer("shift", torch.zeros(()))
            self.factor = 1.0

        def model(self, x):
            with pyro.plate("images", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 4), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z.sum(-1) + self.shift * self.factor, 1.0), obs=x.sum(-1))

        def guide(self, x):
            with pyro.plate("images", len(x)):
                pyro.sample("z", dist.Normal(self.net(x), 1.0).to_event(1))

    pair = Shifted()
    optimizer = torch.optim.SGD(pair.parameters(), lr=0.0)
    svi = SVI(pair.model, pair.guide, optimizer, engine="graph", check_every=None)

    def loss():
        for _ in range(4):
            with torch.random.fork_rng():
                svi.step(images)
        torch.manual_seed(0)
        before = svi.steps_taken["graph"]
        value = svi.step(images)
        assert svi.steps_taken["graph"] == before + 1
        return value

    def by_pyro():
        torch.manual_seed(0)
        return SVI(pair.model, pair.guide, svi.optimizer, engine="pyro").step(images)

    def edit_in_place():
        pair.shift += 1.0

    def replace_buffer():
        pair.shift = torch.tensor(3.0)

    def swap():
        pair.net[0] = copy.deepcopy(pair.net[0])
        nn.init.zeros_(pair.net[0].weight)

    def change_number():
        pair.factor = 2.0

    seen = [loss()]
    for change in (edit_in_place, replace_buffer, swap, change_number, pair.eval):
        change()
        seen.append(loss())
        assert seen[-1] == pytest.approx(by_pyro(), rel=1e-5)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("engine", GRAPHS)
def test_buffers_changed_by_the_programs_are_written_back(engine, images):
    def make():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4))

    finals = {}
    for name in ("pyro", engine):
        net = make()

        def model(x):
            with pyro.plate("images", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(len(x), 4), 1.0).to_event(1))

        def guide(x, net=net):
            with pyro.plate("images", len(x)):
                pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

        svi = SVI(model, guide, torch.optim.SGD(net.parameters(), lr=1e-3), engine=name)
        for _ in range(8):
            svi.step(images)
        assert name == "pyro" or svi.steps_taken[engine] == 3
        finals[name] = net.state_dict()
    assert finals[engine]["1.num_batches_tracked"] == 8
    for key, value in finals["pyro"].items():
        assert_close(finals[engine][key], value, rtol=1e-4, atol=1e-5)


def test_new_memory_of_a_parameter_is_noticed(make_pair):
    """What `module.cpu().cuda()` does, and a CUDA graph would miss."""
    pair = make_pair()
    placement = Placement(list(pair.parameters()))
    with torch.no_grad():
        pair.encoder[0].weight.add_(1.0)
    assert not placement.changed()
    pair.encoder[0].weight.data = pair.encoder[0].weight.data.clone()
    assert placement.changed()


@pytest.mark.parametrize("engine", ["graph", pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_transposed_weight_at_the_same_address_is_read_as_it_is(engine):
    """Only its strides tell; a compiled step that was made for the old ones raised."""
    weight, x = torch.arange(16.0).reshape(4, 4), torch.randn(4)

    def model():
        z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(weight @ z, 1.0).to_event(1), obs=x)

    def guide():
        pyro.sample("z", dist.Delta(pyro.param("z_loc", torch.ones(4)), event_dim=1))

    svi = SVI(model, guide, pyro.optim.SGD({"lr": 0.0}), engine=engine)
    ones = torch.ones(4)
    prior = dist.Normal(ones, 1.0).log_prob(torch.zeros(4)).sum()
    for _ in range(3):
        expected = -prior - dist.Normal(weight @ ones, 1.0).log_prob(x).sum()
        for _ in range(6):
            assert_close(torch.tensor(svi.step()), expected, rtol=1e-5, atol=0)
        weight.data = weight.data.T
    assert svi.steps_taken[engine] >= 3


def test_what_a_graph_changes_is_known(make_pair, images):
    """A CUDA graph is made after a few calls whose changes are undone, and these only."""
    pair = make_pair()
    training = Training(
        Objective(pair.model, pair.guide, Trace_ELBO(), None, "float32", True), TorchUpdater(adam(pair)), "float32"
    )
    engine = CompiledEngine(training, None)
    engine.pyro.update((images,), {})

    def whole_step(x):
        with TracedValues() as values:
            return tree_leaves(engine._traced_step(values, x))

    stale = engine._stale()  # makes the tensors of the learning rates
    step = capture(whole_step, [images])
    assert not any(changed() for changed in stale)
    states = [value for state in training.updater.optimizer.state.values() for value in state.values()]
    assert set(map(id, step.changed)) == set(map(id, [*pair.parameters(), *states, training.healthy]))
    assert len(step.lifted) > len(step.changed)  # learning rates
    net = nn.Sequential(nn.Linear(12, 3), nn.BatchNorm1d(3))
    through = capture(lambda x: [net(x)], [images])
    assert set(map(id, through.changed)) == set(map(id, net.buffers()))


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_optimizer_state_of_a_gpu_is_brought_back(engine, make_pair, images):
    pair = make_pair()
    optimizer = adam(pair)
    optimizer.param_groups[0]["capturable"] = True  # as the checkpoint of a run on a GPU has it
    svi = SVI(pair.model, pair.guide, optimizer, engine=engine)
    assert svi.step(images) > 0


def test_a_schedule_of_other_things_than_rates_ends_by_pyro(make_pair, images, monkeypatch, caplog):
    monkeypatch.setattr("pyrovae.engine.functions.compiled", lambda captured, leaves: captured.graph)
    monkeypatch.setattr("pyrovae.engine.functions.MAX_RETRACES", 2)
    pair = make_pair()
    optimizer = adam(pair)
    svi = SVI(pair.model, pair.guide, optimizer, engine="compiled")
    for epoch in range(5):
        optimizer.param_groups[0]["betas"] = (0.85 + epoch / 100, 0.999)
        assert torch.isfinite(svi.run([(images,)] * 3).loss).all()
    assert caplog.text.count("changed more than 2 times") == 1
    assert "cycle_momentum=False" in caplog.text


def test_two_engines_side_by_side(make_pair, images):
    alone = make_pair()
    _, expected = run(alone, "graph", [(images,)] * 8)
    one, two = make_pair(), make_pair("full")
    svis = [SVI(p.model, p.guide, adam(p), engine="graph") for p in (one, two)]
    svis[1].step(images)
    torch.manual_seed(0)
    losses = []
    for _ in range(8):
        losses.append(svis[0].step(images))
        state = torch.get_rng_state()
        svis[1].step(images)
        torch.set_rng_state(state)
    assert losses == expected
    assert not pyro.get_param_store()


def test_prepare_runs_inside_the_graph(make_pair):
    levels = torch.randint(0, 256, (100, 12), dtype=torch.uint8)
    results = {}
    for engine in ("pyro", "graph"):
        pair = make_pair()

        def prepare(index, beta):
            return (levels[index].float() / 255).bernoulli(), beta

        svi = SVI(pair.model, pair.guide, adam(pair), engine=engine, prepare=prepare)
        torch.manual_seed(0)
        results[engine] = [svi.step(torch.arange(i, i + 10), torch.tensor(0.5)) for i in range(8)]
    assert results["graph"] == pytest.approx(results["pyro"], rel=1e-5)


@pytest.mark.parametrize("engine", GRAPHS)
def test_run_takes_many_steps(engine, make_pair, images):
    """What single steps give, to the bit, with a short batch among the rest; the first run makes Adam's state."""
    batches = [(images[:16],), (images[16:32],), (images[32:],)] * 5
    one, two = make_pair(), make_pair()
    _, expected = run(one, engine, batches)
    svi = SVI(two.model, two.guide, adam(two), engine=engine)
    torch.manual_seed(0)
    parts = [svi.run(batches[:2]), svi.run(batches[2:])]
    assert torch.cat([part.loss for part in parts]).tolist() == torch.tensor(expected).tolist()
    assert parts[1].log_probs["model.x"].shape == (13,)
    assert svi.steps_taken[engine] == 5
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.slow
def test_run_of_more_sizes_than_graphs(make_pair, images, monkeypatch):
    """Graphs give up before the first step of such a run, and no step is taken twice."""
    results = []
    for engine in ("pyro", "compiled"):
        pair = make_pair()
        svi = SVI(pair.model, pair.guide, torch.optim.SGD(pair.parameters(), lr=1e-3), engine=engine)
        svi.step(images)
        if engine == "compiled":
            monkeypatch.setattr("pyrovae.engine.functions.MAX_GRAPHS", 2)
        torch.manual_seed(0)
        results.append(svi.run([(images,), (images[:5],), (images[:6],)] * 5).loss)
    assert svi.steps_taken == {"pyro": 1 + 4 + 4 + 5, "compiled": 1 + 1}  # each graph was checked at 1, 2 and 4
    assert_close(results[1], results[0], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("engine", GRAPHS)
def test_evaluation_moves_nothing(engine, make_pair, images):
    pair = make_pair()
    svi, _ = run(pair, engine, [(images,)] * 2)
    before = copy.deepcopy((pair.state_dict(), svi.optimizer.state_dict()["state"]))
    for _ in range(3):
        svi.evaluate_loss(images)
    torch.manual_seed(4)
    ours = svi.evaluate_loss(images)
    torch.manual_seed(4)
    assert ours == pytest.approx(pyro.infer.Trace_ELBO().loss(pair.model, pair.guide, images), rel=1e-5)
    assert all(torch.equal(v, before[0][k]) for k, v in pair.state_dict().items())
    after = svi.optimizer.state_dict()["state"]
    assert all(torch.equal(after[i][k], v) for i, s in before[1].items() for k, v in s.items())


@pytest.mark.parametrize("engine", GRAPHS)
def test_compile_function(engine, make_pair, images):
    pair = make_pair()

    def encode(x, scale=1.0):
        return {"loc": pair.encoder(x)[:, :3] * scale, "noise": torch.randn(2)}

    fast = compile_function(encode, engine)
    torch.manual_seed(0)
    result = fast(images, scale=2.0)
    torch.manual_seed(0)
    expected = encode(images, 2.0)
    assert_close(result, expected, check_stride=False)
    with torch.no_grad():
        pair.encoder[0].weight.mul_(2.0)
    assert_close(fast(images, scale=2.0)["loc"], encode(images, 2.0)["loc"])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("engine", ["graph", "compiled"])
def test_gpu_gives_the_numbers_of_pyro(engine, make_pair, images):
    results = {}
    for name in ("pyro", engine):
        pair = make_pair().cuda()
        optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
        svi = SVI(pair.model, pair.guide, optimizer, engine=name)
        torch.manual_seed(0)
        results[name] = [svi.step(images.cuda()) for _ in range(6)]
    assert results[engine] == pytest.approx(results["pyro"], rel=1e-4)


@pytest.mark.parametrize("engine", ["graph", "compiled"])
def test_a_step_by_pyro_that_is_not_finite_undoes_no_earlier_step(engine):
    """What a program counts in a tensor is what Pyro would have counted, when the last step was Pyro's and failed."""

    def train(make):
        pyro.clear_param_store()
        count = torch.zeros(())

        def model(x):
            count.add_(1)
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

        def guide(x):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))

        svi = make(model, guide, pyro.optim.Adam({"lr": 0.1}), pyro.infer.Trace_ELBO())
        for _ in range(5):
            svi.step(torch.tensor(1.0))
        with contextlib.suppress(FloatingPointError), pyro.poutine.scale(scale=1.0), pyro.validation_enabled(False):
            svi.step(torch.tensor(math.nan))
        return count.item()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pyro's own, of a loss that is NaN
        expected = train(pyro.infer.SVI)
        assert train(lambda *given: SVI(*given, engine=engine, check_every=None)) == expected
    pyro.clear_param_store()


def test_a_copy_of_an_svi_is_a_training_of_its_own(make_pair, images):
    """What its graphs would watch are dictionaries of the original, and of nobody after the copy."""

    def trained(engine):
        pair = make_pair()
        svi = SVI(pair.model, pair.guide, adam(pair), engine=engine)
        torch.manual_seed(0)
        losses = [svi.step(images) for _ in range(4)]
        twin = copy.deepcopy(svi)
        losses += [twin.step(images) for _ in range(4)]
        own = twin.training.objective.model.__self__
        own.decoder[1] = nn.ReLU()
        losses += [twin.step(images) for _ in range(4)]
        losses += [svi.step(images) for _ in range(2)]
        return losses, pair, own

    (losses, *pairs), (expected, *theirs) = trained("graph"), trained("pyro")
    assert_close(losses, expected, rtol=1e-5, atol=0.0)
    for pair, other in zip(pairs, theirs, strict=True):
        assert_close(list(pair.parameters()), list(other.parameters()), rtol=1e-4, atol=1e-6)


def test_compile_function_inside_handlers_and_autocast():
    """They are no part of a graph: a call inside a handler runs as Python, and autocast has a graph of its own."""
    draw = compile_function(lambda: pyro.sample("u", dist.Normal(0.0, 1.0)), "graph")
    product = compile_function(lambda x: x @ x, "graph")
    x = torch.randn(3, 3)
    for _ in range(2):
        draw()
        assert product(x).dtype == torch.float32
    for value in (1.0, 2.0):
        with pyro.condition(data={"u": torch.tensor(value)}):
            assert draw() == value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(x).dtype == torch.bfloat16
    assert product(x).dtype == torch.float32
