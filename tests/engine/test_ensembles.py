"""Members of an ensemble against the same trainings alone: a generated table of programs, optimizers and schedules."""

import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pyro.infer
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor, nn

from pyrovae.engine import SVI, UntraceableError
from pyrovae.engine.batching import EnsembleError
from pyrovae.engine.ensemble import Ensemble

STEPS, ROWS, PIXELS = 10, 6, 5
Member = tuple[SVI, list[Tensor], Any]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """In float64 rounding is too small to hide a mistake."""
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    yield
    torch.set_default_dtype(torch.float32)
    pyro.clear_param_store()


class Model(nn.Module):
    """A small VAE; its parts are chosen by name."""

    def __init__(self, kind: str, number: int) -> None:
        super().__init__()
        self.kind, self.number = kind, number
        hidden: list[nn.Module] = [nn.Linear(PIXELS, 8), nn.Tanh(), nn.Linear(8, 4)]
        if kind == "batch norm":
            hidden[:1] = [nn.Linear(PIXELS, 8, bias=False), nn.BatchNorm1d(8)]  # a bias would move by rounding alone
        if kind == "layer norm":
            hidden.insert(1, nn.LayerNorm(8))
        if kind == "dropout":
            hidden.insert(2, nn.Dropout(0.3))
        if kind == "convolution":
            hidden = [nn.Unflatten(1, (1, PIXELS)), nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)]
        self.encoder = nn.Sequential(*hidden)
        self.decoder = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, PIXELS))
        self.loc = nn.Parameter(torch.randn(3, 2))
        self.flow = transforms.AffineCoupling(1, nn.Sequential(nn.Linear(1, 4), nn.Tanh(), Pair()))
        self.register_buffer("seen", torch.zeros(()))

    def latent(self, kind: str) -> dist.Distribution:
        if kind == "learned prior":
            parts = dist.Normal(self.loc, 1.0).to_event(1)
            return dist.MixtureSameFamily(dist.Categorical(logits=self.loc.sum(1)), parts)
        return dist.Normal(torch.zeros(2), 1.0).to_event(1)

    def model(self, x: Tensor, beta: Tensor) -> None:
        self._known()
        with pyro.plate("rows", len(x)):
            with pyro.poutine.scale(scale=beta):
                if self.kind == "labels":
                    z = self.loc[pyro.sample("label", dist.Categorical(torch.ones(3)))]
                elif self.kind == "switch":
                    z = pyro.sample("switch", dist.Bernoulli(0.4 * torch.ones(2)).to_event(1))
                else:
                    z = pyro.sample("z", self.latent(self.kind))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor, beta: Tensor) -> None:
        self._known()
        loc, scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("rows", len(x)), pyro.poutine.scale(scale=beta):
            if self.kind == "labels":
                logits = torch.cat([loc, scale[:, :1]], -1)
                pyro.sample("label", dist.Categorical(logits=logits))
            elif self.kind == "switch":
                pyro.sample("switch", dist.Bernoulli(logits=loc).to_event(1))
            elif self.kind == "flow":
                base = dist.Normal(loc, scale.exp()).to_event(1)
                pyro.sample("z", dist.TransformedDistribution(base, [self.flow]))
            elif self.kind == "laplace":
                pyro.sample("z", dist.Laplace(loc, scale.exp()).to_event(1))
            elif self.kind == "correlated":
                factor = torch.diag_embed(scale.exp()) + 0.1 * torch.tril(torch.ones(2, 2), -1)
                pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=factor))
            else:
                if self.kind == "counting":
                    self.seen.add_(1)
                pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    def _known(self) -> None:
        pyro.module(f"member{self.number}", self)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1)])

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads[0](h), self.heads[1](h).tanh()


KINDS = [
    "normal", "learned prior", "flow", "laplace", "correlated", "layer norm", "batch norm", "dropout", "convolution",
    "counting", "switch", "labels",
]  # fmt: skip
LOSSES: dict[str, Callable[[], Any]] = {
    "trace": pyro.infer.Trace_ELBO,
    "particles": partial(pyro.infer.Trace_ELBO, num_particles=2),
    "mean field": pyro.infer.TraceMeanField_ELBO,
    "graph": pyro.infer.TraceGraph_ELBO,
    "importance": partial(pyro.infer.RenyiELBO, alpha=0, num_particles=3),
    "side by side": partial(pyro.infer.Trace_ELBO, num_particles=2, vectorize_particles=True, max_plate_nesting=1),
}
OPTIMIZERS: dict[str, Callable[[float], Any]] = {
    "Adam": lambda rate: partial(torch.optim.Adam, lr=rate),
    "AdamW": lambda rate: partial(torch.optim.AdamW, lr=rate, amsgrad=True),
    "NAdam": lambda rate: partial(torch.optim.NAdam, lr=rate),
    "RMSprop": lambda rate: partial(torch.optim.RMSprop, lr=rate, momentum=0.5),
    "SGD": lambda rate: partial(torch.optim.SGD, lr=rate / 10, momentum=0.9),
    "plain SGD": lambda rate: partial(torch.optim.SGD, lr=rate / 10),
    "Adagrad": lambda rate: partial(torch.optim.Adagrad, lr=rate),
    "Pyro's Adam": lambda rate: pyro.optim.Adam({"lr": rate}),
    "ClippedAdam": lambda rate: pyro.optim.ClippedAdam({"lr": rate, "clip_norm": 0.5, "lrd": 0.99}),
    "clipped": lambda rate: pyro.optim.Adam({"lr": rate}, {"clip_norm": 0.5}),
}
SCHEDULES: dict[str, Callable[[int], float]] = {"constant": lambda step: 1.0, "falling": lambda step: 0.9**step}
ANNEALINGS: dict[str, Callable[[int], float]] = {"whole": lambda step: 1.0, "annealed": lambda step: 0.1 * (step + 1)}


def member(number: int, case: dict[str, Any], engine: str) -> Member:
    """A training, the same one each time: its SVI, its parameters, and its schedule or None."""
    torch.manual_seed(100 + number)
    model = Model(case["kind"], number)
    optim = OPTIMIZERS[case["optimizer"]](0.01 * (1 + number))
    schedule = None
    if not isinstance(optim, pyro.optim.PyroOptim):
        optim = optim(model.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optim, SCHEDULES[case["schedule"]])
    loss = LOSSES[case["loss"]]()
    guide = config_enumerate(model.guide) if isinstance(loss, TraceEnum_ELBO) else model.guide
    svi = SVI(model.model, guide, optim, loss, engine=engine, check_every=None)
    return svi, [*model.parameters(), *model.buffers()], schedule


def batch(number: int, step: int, case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * number + step)
    smaller = step in (5, 8, 9) and case["annealing"] == "annealed"  # such as the last batch of an epoch
    rows = ROWS - 2 if smaller else ROWS
    x = torch.rand(rows, PIXELS, generator=generator).round()
    return x, torch.tensor((0.5 + number) * ANNEALINGS[case["annealing"]](step))


def alone(number: int, case: dict[str, Any], engine: str = "pyro") -> tuple[list[float], list[Tensor], Tensor]:
    """Losses, parameters and the generator's state of a training by itself."""
    pyro.clear_param_store()
    svi, tensors, schedule = member(number, case, engine)
    torch.manual_seed(number)
    losses = []
    for step in range(STEPS):
        losses.append(float(svi.update(*batch(number, step, case)).loss))
        if schedule is not None:
            schedule.step()
    return losses, [t.detach().clone() for t in tensors], torch.get_rng_state()


def together(
    members: int, case: dict[str, Any], engine: str = "graph", check_every: int | None = None
) -> tuple[list[list[float]], list[list[Tensor]], list[Tensor]]:
    """The same of an ensemble."""
    pyro.clear_param_store()
    made = [member(number, case, "graph") for number in range(members)]
    losses: list[list[float]] = [[] for _ in range(members)]
    with Ensemble([svi for svi, _, _ in made], seeds=range(members), engine=engine, check_every=check_every) as all_:
        for step in range(STEPS):
            found = all_.update([batch(number, step, case) for number in range(members)])
            for number, (_, _, schedule) in enumerate(made):
                losses[number].append(float(found[number].loss))  # type: ignore[union-attr]
                if schedule is not None:
                    schedule.step()
        sizes = 2 if case["annealing"] == "annealed" else 1
        assert made[0][0].steps_taken["together"] == STEPS - 2 * sizes, "the first two with each size are Pyro's"
        states = [random.state()["cpu"] for random in all_.random]
    return losses, [[t.detach() for t in tensors] for _, tensors, _ in made], states


def cases(seed: int, count: int) -> list[dict[str, Any]]:
    """So many cases, among them each kind, loss, optimizer, schedule and annealing."""
    source = random.Random(seed)
    tables = {"kind": KINDS, "loss": LOSSES, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "annealing": ANNEALINGS}
    columns = {name: itertools.cycle(source.sample(list(table), len(table))) for name, table in tables.items()}
    return [{name: next(column) for name, column in columns.items()} for _ in range(count)]


@pytest.mark.parametrize("case", cases(7, 12), ids=lambda case: "-".join(case.values()))
def test_a_member_is_its_own_training(case: dict[str, Any]) -> None:
    losses, tensors, states = together(2, case)
    for number in range(2):
        expected, own, state = alone(number, case)
        assert losses[number] == pytest.approx(expected, rel=1e-9)
        for mine, reference in zip(tensors[number], own, strict=True):
            torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-9)
        assert torch.equal(states[number], state), "as many random numbers are drawn"


NORMAL = {"kind": "normal", "loss": "trace", "optimizer": "Adam", "schedule": "falling", "annealing": "annealed"}


def test_a_compiled_ensemble() -> None:
    losses, tensors, _ = together(3, NORMAL, "compiled")
    for number in range(3):
        expected, own, _ = alone(number, NORMAL)
        assert losses[number] == pytest.approx(expected, rel=1e-9)
        for mine, reference in zip(tensors[number], own, strict=True):
            torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-9)


def one(loc: Tensor, optim: Any = None, *, engine: str = "graph", **changes: Any) -> SVI:
    """A training of one parameter; its program and what goes wrong there by keywords."""

    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, changes.get("width", 1.0)))
        if "poison" in changes and bool(x.sum() > 100):
            pass
        x_loc = z / (x.sum() < 150) if "breaks" in changes else z
        pyro.sample("x", dist.Normal(x_loc, 1.0), obs=x.mean())

    def guide(x: Tensor) -> None:
        if changes.get("gamma"):
            pyro.sample("z", dist.Gamma(loc.exp(), 1.0))
        else:
            pyro.sample("z", dist.Normal(loc, 1.0))

    optim = optim or torch.optim.Adam([loc], lr=0.1)
    return SVI(model, guide, optim, engine=engine, check_every=changes.get("check_every"))


def parameters(count: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor(0.5 * number)) for number in range(count)]


def take(ensemble: Ensemble, steps: int, *batch: Tensor) -> None:
    for _ in range(steps):
        ensemble.update([batch] * len(ensemble.members))


def refusal(members: list[SVI], steps: int = 3) -> str:
    """What an ensemble says of members that are not to be had together."""
    ensemble = Ensemble(members, seeds=range(len(members)), engine="graph")
    with pytest.raises(EnsembleError, match="train them one by one") as caught, ensemble:
        take(ensemble, steps, torch.ones(3))
    assert isinstance(caught.value, UntraceableError)
    return str(caught.value)


def test_what_differs_in_more_than_tensors_is_refused_by_name() -> None:
    first, second = parameters(2)
    adam = torch.optim.Adam
    assert "constant" in refusal([one(first), one(second, width=2.0)])
    assert "constant" in refusal([one(first), one(second, adam([second], lr=0.1, betas=(0.8, 0.99)))])
    assert "operation" in refusal([one(first), one(second, torch.optim.SGD([second], lr=0.1, momentum=0.5))])
    assert "operation" in refusal([one(first), one(second, gamma=True)])


def test_shapes_that_differ_are_refused() -> None:
    first, second = (Model("normal", number) for number in range(2))
    second.decoder[0] = nn.Linear(2, 7)
    second.decoder[2] = nn.Linear(7, PIXELS)
    members = [SVI(m.model, m.guide, torch.optim.SGD(m.parameters(), lr=0.1), engine="graph") for m in (first, second)]
    ensemble = Ensemble(members, seeds=[0, 1], engine="graph")
    with pytest.raises(EnsembleError, match=r"different shapes or types|constant"), ensemble:
        take(ensemble, 3, torch.ones(ROWS, PIXELS), torch.tensor(1.0))


def test_a_parameter_of_several_members_is_refused() -> None:
    (shared,) = parameters(1)
    assert "share a tensor" in refusal([one(shared), one(shared)])


def test_branches_on_values_are_refused() -> None:
    assert "branch" in refusal([one(loc, poison=True) for loc in parameters(2)])


def test_draws_that_depend_on_what_was_learned_are_refused() -> None:
    assert "_standard_gamma" in refusal([one(loc, gamma=True) for loc in parameters(2)])


def test_a_part_of_a_larger_tensor_is_refused() -> None:
    whole = torch.zeros(4)
    parts = [nn.Parameter(whole[number]) for number in range(2)]
    assert "part of a larger one" in refusal([one(loc) for loc in parts])


def test_losses_by_pyro_alone_and_wrong_arguments_are_refused() -> None:
    (loc,) = parameters(1)
    svi = SVI(lambda: None, lambda: None, torch.optim.Adam([loc]), loss=pyro.infer.TraceTMC_ELBO())
    with pytest.raises(EnsembleError, match="TraceTMC_ELBO"):
        Ensemble([svi], seeds=[0])
    with pytest.raises(ValueError, match="a seed for each member, got 1 members, 2 seeds"):
        Ensemble([one(loc)], seeds=[0, 1])
    with pytest.raises(ValueError, match="engine must be one of"):
        Ensemble([one(loc)], seeds=[0], engine="pyro")


@pytest.mark.parametrize("check_every", [None, 1])
def test_a_member_that_breaks_stops_alone(check_every: int | None) -> None:
    """Its parameter stays as it was before the loss that is not finite; the others are as if it had not been there."""

    def run(breaking: bool, numbers: range) -> list[Tensor]:
        locs, before = parameters(3), torch.empty(0)
        members = [one(locs[number], breaks=True) for number in numbers]
        with Ensemble(members, seeds=list(numbers), engine="graph", check_every=check_every) as ensemble:
            for step in range(8):
                spoilt = torch.full((3,), 100.0 if breaking and step == 5 else 1.0)
                batches = [(spoilt if number == 1 else torch.ones(3),) for number in numbers]
                found = ensemble.update(batches)
                before = locs[1].detach().clone() if step <= 4 else before
                if breaking and step >= 5:
                    assert not torch.isfinite(found[1].loss), "it says so, and goes on saying so"
                    assert all(torch.isfinite(found[number].loss) for number in (0, 2))
            if breaking:
                assert torch.equal(locs[1], before)
        return [locs[0].detach(), locs[2].detach()]

    assert [t.item() for t in run(True, range(3))] == pytest.approx([t.item() for t in run(False, range(3))], rel=1e-12)


def test_a_member_may_sit_out_and_steps_are_the_same_in_one_run() -> None:
    """Members take any steps of theirs in any company."""
    alone = parameters(2)
    for number, loc in enumerate(alone):
        svi = one(loc, engine="pyro")
        torch.manual_seed(number)
        for step in range(6 + 2 * number):
            svi.update(torch.full((3,), float(step)))
    locs = parameters(2)
    with Ensemble([one(loc) for loc in locs], seeds=[0, 1], engine="graph") as ensemble:
        batches = [(torch.full((3,), float(step)),) for step in range(8)]
        assert ensemble.update([None, batches[0]])[0] is None
        for step in range(1, 3):
            ensemble.update([None, batches[step]])
        losses = ensemble.run([batches[:5], batches[3:8]])
        assert [own.loss.shape for own in losses] == [(5,), (5,)]
        losses = ensemble.run([batches[5:6], None])
        assert losses[1] is None
    assert [loc.item() for loc in locs] == pytest.approx([loc.item() for loc in alone], rel=1e-9)


def test_modules_and_optimizers_show_what_is_trained_and_may_change_it() -> None:
    """Parameters that are set or moved elsewhere, and rates that are changed, count for the next step."""
    locs, alone = parameters(2), parameters(2)
    optims = [torch.optim.SGD([loc], lr=0.1) for loc in locs]
    others = [torch.optim.SGD([loc], lr=0.1) for loc in alone]
    members = [one(loc, optim) for loc, optim in zip(locs, optims, strict=True)]
    reference = [one(loc, optim, engine="pyro") for loc, optim in zip(alone, others, strict=True)]
    states = [torch.Generator().manual_seed(number).get_state() for number in range(2)]
    with Ensemble(members, seeds=[0, 1], engine="graph") as ensemble:
        for step in range(8):
            for loc, optim in [*zip(locs, optims, strict=True), *zip(alone, others, strict=True)]:
                if step == 4:
                    loc.data = torch.tensor(7.0)
                if step == 5:
                    optim.param_groups[0]["lr"] = 0.02
                if step == 6:
                    with torch.no_grad():
                        loc.mul_(2)
            ensemble.update([(torch.ones(3),)] * 2)
            for number, svi in enumerate(reference):
                torch.set_rng_state(states[number])
                svi.update(torch.ones(3))
                states[number] = torch.get_rng_state()
            assert [loc.item() for loc in locs] == pytest.approx([loc.item() for loc in alone], rel=1e-9)
    assert all(loc.untyped_storage().nbytes() == 8 for loc in locs), "each has its own memory again"


def test_a_wrong_step_is_found_by_the_comparison_with_pyro(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyrovae.engine.batching as batching

    real = batching._apply

    def wrong(node: Any, values: Any) -> Any:
        value, rows = real(node, values)
        return (
            (value * 1.01, rows)
            if "aten.sub.Tensor" in str(node.target) and isinstance(value, Tensor)
            else (value, rows)
        )

    monkeypatch.setattr(batching, "_apply", wrong)
    ensemble = Ensemble([one(loc) for loc in parameters(2)], seeds=[0, 1], engine="graph")
    with pytest.raises(EnsembleError, match="member 1 and Pyro's differ"), ensemble:
        take(ensemble, 8, torch.ones(3))
