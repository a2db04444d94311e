"""Many steps by one CUDA graph: those of single replays to the bit, wherever a run is cut, stopped or broken."""

import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from fake_gpu import FakeGpu
from torch import Tensor, nn

from pyrovae.engine import SVI, Step, cuda_graphs
from pyrovae.engine.compat import float32_precision
from pyrovae.engine.cuda_graphs import ALIGNMENT, TOGETHER, _rows_like

GPU = torch.device("cuda:0")
FULL, PARTIAL = 7, 4
ROWS = 60
SIZES = (16, 4)
"""How many steps a graph holds in most of these tests, so that few steps are many rows."""


class Mixture(nn.Module):
    """A small VAE of vectors, whose KL term has a weight of its own at each step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(5, 4), nn.Linear(2, 5)
        self.register_buffer("data", torch.randn(ROWS, 5))
        self.norm = nn.BatchNorm1d(5)
        self.to(GPU)

    def prepare(self, weight: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        return weight, self.data[index] + 0.1 * torch.randn(len(index), 5, device=GPU)

    def model(self, weight: Tensor, x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            with pyro.poutine.scale(scale=weight):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, device=GPU), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.norm(self.decoder(z)), 1.0).to_event(1), obs=x)

    def guide(self, weight: Tensor, x: Tensor) -> None:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("rows", len(x)), pyro.poutine.scale(scale=weight):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Training:
    """A model, its optimizer and its engine."""

    def __init__(self, make: Callable[[Any], Any] | None = None, **options: Any) -> None:
        self.model = Mixture()
        self.optimizer = (make or (lambda p: torch.optim.Adam(p, lr=1e-2)))(self.model.parameters())
        options = {"engine": "compiled", "check_every": None, "prepare": self.model.prepare} | options
        self.svi = SVI(self.model.model, self.model.guide, self.optimizer, **options)
        torch.cuda.manual_seed(3)

    def run(self, batches: list[tuple]) -> Step:
        return self.svi.run(batches)

    def state(self) -> list[Tensor]:
        """Weights, running means, optimizer and generator."""
        averages = [v for s in self.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        return [t.detach().cpu().clone() for t in (*self.model.state_dict().values(), *averages)] + [
            torch.cuda.get_rng_state()
        ]


def batches(seed: int, count: int, cut: Callable[[random.Random, int], bool] = lambda r, i: False) -> list[tuple]:
    """Arguments of steps: a weight that changes with each, and rows in any order, fewer where the batch is cut."""
    drawn = random.Random(seed)
    found = []
    for i in range(count):
        rows = drawn.sample(range(ROWS), PARTIAL if cut(drawn, i) else FULL)
        found.append((torch.tensor(drawn.random(), device=GPU), torch.tensor(rows, device=GPU)))
    return found


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a.nan_to_num(77.0), b.nan_to_num(77.0)) for a, b in zip(one, other, strict=True))


@contextlib.contextmanager
def one_by_one(only: bool = True) -> Iterator[None]:
    """Inside, no graph holds more than one step."""
    with pytest.MonkeyPatch.context() as patch:
        if only:
            patch.setattr(cuda_graphs, "TOGETHER", ())
        yield


def replays(gpu: FakeGpu) -> int:
    return sum(graph.replays for graph in gpu.recorder.graphs)


@pytest.mark.parametrize("seed", range(4))
def test_any_run_is_that_of_single_steps_to_the_bit(gpu: FakeGpu, seed: int) -> None:
    """Of any length, with partial batches anywhere, a weight of each step, rates changed between runs."""
    drawn = random.Random(seed)
    lengths = [drawn.randint(1, 14), drawn.randint(14, 34), drawn.randint(1, 14)]
    often = drawn.choice([0.0, 0.05, 0.2])
    check = drawn.choice([None, 1000, 13])
    outcomes = []
    for only in (False, True):
        training = Training(check_every=check)
        steps = []
        with one_by_one(only):
            for number, length in enumerate(lengths):
                training.optimizer.param_groups[0]["lr"] = 1e-2 / (1 + number)
                given = batches(100 * seed + number, length, lambda r, i: r.random() < often)
                steps.append(training.run(given))
        logs = [torch.cat([s.log_probs[name] for s in steps]).cpu() for name in steps[0].log_probs]
        outcomes.append(
            ([torch.cat([s.loss for s in steps]).cpu(), *logs, *training.state()], training.svi.steps_taken)
        )
    (found, taken), (expected, taken_alone) = outcomes
    assert same(found, expected)
    assert taken == taken_alone, "Pyro checks the same steps"
    assert len(found[0]) == sum(lengths)


def test_an_epoch_is_a_few_replays(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "TOGETHER", TOGETHER)
    training = Training()
    training.run(batches(0, 76))
    given = batches(1, 1 + 64 + 8 + 3)
    before, waited, launched = replays(gpu), gpu.waits - gpu.constants, gpu.launched
    training.run(given)
    assert replays(gpu) - before == 1 + 1 + 1 + 3
    assert gpu.waits - gpu.constants == waited
    assert gpu.launched - launched < len(given), "one by one there are six for each step"


def test_a_run_that_is_resumed_in_mid_row(gpu: FakeGpu) -> None:
    given = batches(5, 40)
    whole = Training(check_every=30)
    expected = whole.run(given)
    state = whole.state()
    first = Training(check_every=30)
    found = [first.run(given[:21]).loss]
    drawn = torch.cuda.get_rng_state()
    second = Training(check_every=30)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.svi.load_state_dict(first.svi.state_dict())
    torch.cuda.set_rng_state(drawn)
    found.append(second.run(given[21:]).loss)
    assert torch.equal(torch.cat(found).cpu(), expected.loss.cpu())
    assert same(second.state(), state)


@pytest.mark.parametrize("place", [1, 6, 21])
def test_nan_in_mid_row_stops_at_its_step(gpu: FakeGpu, place: int) -> None:
    training = Training()
    training.run(batches(0, 20))
    given = batches(1, 24)
    given[place] = (given[place][0] * torch.nan, given[place][1])
    weights = [p.detach().clone() for p in training.model.parameters()]
    losses = training.run(given).loss
    assert losses.isfinite().tolist() == [i < place for i in range(24)]
    after = [p.detach().clone() for p in training.model.parameters()]
    assert all(p.isfinite().all() for p in after)
    assert any(not torch.equal(old, new) for old, new in zip(weights, after, strict=True))
    alone = Training()
    with one_by_one():
        alone.run(batches(0, 20))
        alone.run(given[:place])
    assert all(torch.equal(a.cpu(), b.detach().cpu()) for a, b in zip(after, alone.model.parameters(), strict=True))


def test_what_needs_the_host_goes_one_by_one(gpu: FakeGpu) -> None:
    """An update that no graph can hold, and a branch that each step's values may take anew."""
    hooked = Training(lambda p: _with_hook(torch.optim.Adam(p, lr=1e-2)))
    hooked.run(batches(0, 20))
    branching = Training()
    plain = branching.model.model

    def model(weight: Tensor, x: Tensor) -> None:
        plain(weight if x.mean() < 100 else 2 * weight, x)

    branching.svi = SVI(
        model, branching.model.guide, branching.optimizer, engine="compiled", check_every=None,
        prepare=branching.model.prepare,
    )  # fmt: skip
    branching.run(batches(0, 20))
    assert branching.svi.steps_taken["compiled"] > 15
    assert hooked.svi.steps_taken["compiled"] > 15
    sizes = {len(graph.operations) for graph in gpu.recorder.graphs}
    assert len(gpu.recorder.graphs) == 2, sizes


def _with_hook(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    optimizer.register_step_post_hook(lambda *given: None)
    return optimizer


def test_a_recording_of_several_that_fails_is_said_once(
    gpu: FakeGpu, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = gpu.recorder.recording
    made = []

    def few(graph: Any, **options: Any) -> Any:
        made.append(graph)
        if len(made) > 1:
            raise RuntimeError("out of memory")
        return record(graph, **options)

    monkeypatch.setattr(torch.cuda, "graph", few)
    training = Training()
    with caplog.at_level(logging.WARNING):
        losses = [training.run(batches(i, 15)).loss for i in range(3)]
    said = [record.message for record in caplog.records if "CUDA graph" in record.message]
    assert len(said) == 1
    assert "one by one: no CUDA graph of 4 could be recorded (out of memory)" in said[0]
    alone = Training()
    made.clear()
    with one_by_one():
        expected = [alone.run(batches(i, 15)).loss for i in range(3)]
    assert torch.equal(torch.cat(losses).cpu(), torch.cat(expected).cpu())


def test_products_are_recorded_in_the_precision_that_was_asked_for(gpu: FakeGpu, monkeypatch: Any) -> None:
    """The library chooses its kernels when a graph is recorded."""
    seen = []
    record = gpu.recorder.recording
    monkeypatch.setattr(
        torch.cuda, "graph", lambda graph, **options: (seen.append(float32_precision()[0]), record(graph, **options))[1]
    )
    Training(precision="tf32").run(batches(0, 40))
    Training().run(batches(0, 40))
    assert seen == [True, True, True, False, False, False]


def test_large_arguments_are_sent_one_by_one(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "HELD_BYTES", 10 * 8 * FULL)
    Training().run(batches(0, 40))
    assert len(gpu.recorder.graphs) == 2, "one of a step, and one of four"


def test_arguments_of_another_kind_end_a_row(gpu: FakeGpu) -> None:
    """Parameters as arguments, tensors that want a gradient, other strides, and numbers."""
    outcomes = []
    for only in (False, True):
        training = Training()
        given = batches(0, 36)
        weight = given[12][0]
        given[12] = (weight.clone().requires_grad_(), given[12][1])
        given[20] = (training.model.norm.bias.detach()[0], given[20][1])
        given[29] = (weight, torch.arange(2 * FULL, device=GPU)[::2])
        with one_by_one(only):
            outcomes.append([training.run(given).loss.cpu(), *training.state()])
    assert same(*outcomes)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(2.0), torch.arange(7), torch.ones(3, 5).t(), torch.ones(1, dtype=torch.uint8)],
    ids=["number", "odd", "transposed", "byte"],
)
def test_rows_are_like_the_tensor(tensor: Tensor) -> None:
    rows = _rows_like(tensor, 5)
    for row in rows:
        assert torch.equal(row, tensor)
        assert row.stride() == tensor.stride()
        assert (row.data_ptr() - rows.data_ptr()) % ALIGNMENT == 0
    torch.stack([tensor + i for i in range(5)], out=rows)
    assert all(torch.equal(row, tensor + i) for i, row in enumerate(rows))


def test_a_control_without_repeats_would_be_seen(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results in the wrong rows do not pass for those of single steps."""
    plain = cuda_graphs.Replay.replay_together
    expected = _losses(20)
    monkeypatch.setattr(
        cuda_graphs.Replay, "replay_together", lambda self, given: [r.flip(0) for r in plain(self, given)]
    )
    assert not torch.equal(_losses(20), expected)


def _losses(count: int) -> Tensor:
    return Training().run(batches(0, count)).loss.cpu()


@pytest.fixture(autouse=True)
def _short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "TOGETHER", SIZES)
