"""`SVI.run` on the CPU: rows of compiled steps are single updates to the bit, wherever one is cut or broken."""

import random
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyrovae.engine import SVI
from pyrovae.engine.functions import Plan
from pyrovae.engine.programs import UntraceableError

ROWS, FULL, PARTIAL = 60, 7, 4


class Net(nn.Module):
    """A small VAE of vectors with running means, whose KL term has a weight of its own at each step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder, self.norm = nn.Linear(5, 4), nn.Linear(2, 5), nn.BatchNorm1d(5)
        self.register_buffer("data", torch.randn(ROWS, 5))

    def prepare(self, weight: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        return weight, self.data[index] + 0.1 * torch.randn(len(index), 5)

    def model(self, weight: Tensor, x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            with pyro.poutine.scale(scale=weight):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.norm(self.decoder(z)), 1.0).to_event(1), obs=x)

    def guide(self, weight: Tensor, x: Tensor) -> None:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("rows", len(x)), pyro.poutine.scale(scale=weight):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Training:
    """A model, its optimizer and its engine."""

    def __init__(self, check_every: int | None = None) -> None:
        self.net = Net()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-2)
        self.svi = SVI(
            self.net.model, self.net.guide, self.optimizer, engine="compiled", check_every=check_every,
            prepare=self.net.prepare,
        )  # fmt: skip
        torch.manual_seed(3)

    def state(self) -> list[Tensor]:
        """Weights, running means, optimizer and generator."""
        averages = [v for s in self.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        return [t.detach().clone() for t in (*self.net.state_dict().values(), *averages)] + [torch.get_rng_state()]

    def one_by_one(self, given: list[tuple]) -> Tensor:
        return torch.stack([self.svi.update(*batch).loss for batch in given])


def batches(seed: int, count: int, often: float = 0.0) -> list[tuple]:
    """Arguments of steps: a weight that changes with each, and rows in any order, fewer in some."""
    drawn = random.Random(seed)
    sizes = [PARTIAL if drawn.random() < often else FULL for _ in range(count)]
    return [(torch.tensor(drawn.random()), torch.tensor(drawn.sample(range(ROWS), size))) for size in sizes]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a.nan_to_num(77.0), b.nan_to_num(77.0)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_a_run_is_its_steps_to_the_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any length, with partial batches anywhere, checks by Pyro, a rate of each run, and a weight that is NaN."""
    rows = _rows(monkeypatch)
    drawn = random.Random(seed)
    lengths = [drawn.randint(1, 40) for _ in range(4)]
    often, check = drawn.choice([0.0, 0.05, 0.2]), drawn.choice([None, 1000, 13])
    outcomes = []
    for together in (True, False):
        training = Training(check)
        losses = []
        for number, length in enumerate(lengths):
            training.optimizer.param_groups[0]["lr"] = 1e-2 / (1 + number)
            given = batches(100 * seed + number, length, often)
            if number == 3 and seed % 2:
                given[length // 2] = (given[length // 2][0] * torch.nan, given[length // 2][1])
            losses.append(training.svi.run(given).loss if together else training.one_by_one(given))
        outcomes.append(([torch.cat(losses), *training.state()], training.svi.steps_taken))
    assert same(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1], "Pyro takes the same steps"
    assert sum(rows) > 10, "few steps were taken in rows"


@pytest.mark.parametrize("length", [1, 20])
def test_a_generator_of_batches_may_change_anything(length: int) -> None:
    """It fills the same memory anew for each step, and reassigns what the model reads."""
    outcomes = []
    for together in (True, False):
        training, given, memory = Training(), batches(4, length), torch.zeros(FULL, dtype=torch.int64)

        def changing(training=training, given=given, memory=memory):
            for weight, index in given:
                memory.copy_(index)
                training.net.norm.eps = 1.0 + float(weight)
                yield weight, memory

        training.one_by_one(batches(5, 10))
        run = training.svi.run if together else (lambda made, training=training: training.one_by_one(made))
        found = run(changing())
        outcomes.append([found.loss if together else found, *training.state()])
    assert same(*outcomes)


def test_a_batch_that_is_no_tuple_is_refused() -> None:
    training = Training()
    with pytest.raises(
        TypeError, match=r"must be a tuple of a step's arguments, got a Tensor: of one argument it is \(x,\)"
    ):
        training.svi.run([torch.zeros(1, 5)])
    with pytest.raises(ValueError, match="at least one batch"):
        training.svi.run(iter(()))
    assert training.svi.steps_taken == {}


@pytest.mark.parametrize("place", [3, 11, 19])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_row_that_is_cut_off_leaves_whole_steps(place: int, error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps before it count; a graph that fails leaves generator and weights as they were before its step."""
    given = batches(1, 24)
    expected = Training()
    expected.svi.run(batches(0, 10))
    expected.one_by_one(given[: 1 + place])
    state = expected.state()
    training = Training()
    training.svi.run(batches(0, 10))
    _breaking(monkeypatch, place, error)
    with pytest.raises((KeyboardInterrupt, UntraceableError), match="broken off"):
        training.svi.run(given)
    assert training.svi.steps_taken == expected.svi.steps_taken
    found = training.state()
    assert same(found[:-1], state[:-1])
    assert torch.equal(found[-1], state[-1]) == (error is RuntimeError)


def _rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the rows from now on."""
    found: list[int] = []
    plain = Plan.in_turn

    def counted(plan: Plan, inputs: Any, take: Any) -> None:
        found.append(0)

        def count(*given: Any) -> None:
            found[-1] += 1
            take(*given)

        plain(plan, inputs, count)

    monkeypatch.setattr(Plan, "in_turn", counted)
    return found


def _breaking(monkeypatch: pytest.MonkeyPatch, place: int, error: type) -> None:
    """From now on the call at a place of a row fails half-way, when it has drawn."""
    plain = Plan.in_turn

    def cut(plan: Plan, inputs: Any, take: Any) -> None:
        call, calls = plan.call, []

        def breaking(*tensors: Tensor) -> Any:
            calls.append(1)
            if len(calls) > place:
                torch.rand(3)
                raise error("broken off")
            return call(*tensors)

        monkeypatch.setattr(plan, "call", breaking)
        plain(plan, inputs, take)

    monkeypatch.setattr(Plan, "in_turn", cut)
