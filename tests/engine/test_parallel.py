"""SVI alone by several processes: the same losses as by one, and what does not divide is refused by name."""

from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.distributed
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal, AutoNormalMessenger
from several import together
from torch import nn

from pyrovae.engine import SVI, DataParallel

positive = dist.constraints.positive


class Regression(nn.Module):
    """Global and local latents, noise of the network's own, and batches that are prepared with noise."""

    def __init__(self, family: str = "normal", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.family, self.dtype = family, dtype
        self.encode, self.decode = nn.Linear(5, 4, dtype=dtype), nn.Linear(2, 5, dtype=dtype)
        self.noise = nn.Dropout(0.3)

    def model(self, x: torch.Tensor) -> None:
        pyro.module("parts", self)
        shift = pyro.sample("shift", dist.Normal(torch.zeros((), dtype=self.dtype), 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self._prior(x))
            pyro.sample("x", dist.Normal(self.decode(z) + shift, 1.0).to_event(1), obs=x)

    def _prior(self, x: torch.Tensor) -> Any:
        one = torch.ones(len(x), 2, dtype=self.dtype)
        return {"normal": dist.Normal(0 * one, one), "gamma": dist.Gamma(one, one), "beta": dist.Beta(one, one)}[
            self.family
        ].to_event(1)

    def guide(self, x: torch.Tensor) -> None:
        pyro.module("parts", self)
        loc = pyro.param("loc", torch.tensor(0.3, dtype=self.dtype))
        scale = pyro.param("scale", torch.tensor(0.3, dtype=self.dtype), constraint=positive)
        pyro.sample("shift", dist.Normal(loc, scale))
        with pyro.plate("data", len(x)):
            a, b = self.encode(self.noise(x)).chunk(2, -1)
            positive_b = nn.functional.softplus(b) + 0.1
            family = {"normal": dist.Normal, "gamma": dist.Gamma, "beta": dist.Beta}[self.family]
            first = a if self.family == "normal" else nn.functional.softplus(a) + 0.1
            pyro.sample("z", family(first, positive_b).to_event(1))


class Mixture(nn.Module):
    """A discrete latent of each row: enumerated, or drawn."""

    def __init__(self, drawn: bool) -> None:
        super().__init__()
        self.drawn = drawn
        self.means = nn.Parameter(torch.randn(3, 5))
        self.guess = nn.Linear(5, 3)

    def model(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(torch.full((3,), 1 / 3)))
            pyro.sample("x", dist.Normal(self.means[k], 1.0).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("k", dist.Categorical(logits=self.guess(x)))


def _noisy(x: torch.Tensor) -> torch.Tensor:
    return x + 0.1 * torch.randn_like(x)


def made(name: str) -> tuple[Callable, Callable, Any, nn.Module, torch.dtype]:
    """A model, a guide, a loss and the module of a case."""
    if name in ("drawn", "enumerated"):
        mixture = Mixture(name == "drawn")
        if mixture.drawn:
            return mixture.model, mixture.guide, Trace_ELBO(), mixture, torch.float32
        loss = TraceEnum_ELBO(max_plate_nesting=1)
        return mixture.model, config_enumerate(mixture.guide, "parallel"), loss, mixture, torch.float32
    dtype = torch.float64 if name == "float64" else torch.float32
    parts = Regression(name if name in ("gamma", "beta") else "normal", dtype)
    losses = {"graph": TraceGraph_ELBO(), "mean field": TraceMeanField_ELBO()}
    return parts.model, parts.guide, losses.get(name, Trace_ELBO()), parts, dtype


CASES = [
    ("normal", "pyro"),
    ("normal", "graph"),
    ("float64", "graph"),
    ("gamma", "pyro"),
    ("beta", "graph"),
    ("graph", "graph"),
    ("mean field", "graph"),
    ("enumerated", "graph"),
    ("drawn", "pyro"),
]


def train(rank: int, size: int, cases: list[tuple[str, str]]) -> list[list[float]]:
    """Losses of each case: batches of 32 and 3 rows, in turn, and an evaluation of all at the end."""
    found = []
    for name, engine in cases:
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        model, guide, loss, parts, dtype = made(name)
        data = torch.randn(100, 5, dtype=dtype)
        parallel = DataParallel("data") if size > 1 else None
        optim = (
            pyro.optim.Adam({"lr": 0.01})
            if name not in ("drawn", "enumerated")
            else torch.optim.Adam(parts.parameters(), 0.01)
        )
        svi = SVI(model, guide, optim, loss, engine=engine, prepare=_noisy, parallel=parallel)
        order = torch.Generator().manual_seed(1)
        losses = []
        for step in range(14):
            index = torch.randperm(100, generator=order)[: 32 if step % 4 else 3]
            losses.append(svi.step(data[index]))
        losses += [svi.evaluate_loss(data), float(torch.rand(()))]
        assert svi.steps_taken["graph"] == 0 or engine == "graph"
        found.append(losses)
    return found


@pytest.mark.slow
def test_several_processes_equal_one() -> None:
    """Global latents are counted once, rows are drawn from one stream, and it ends at the same place."""
    (one,) = together(1, train, CASES)
    for size in (2, 4):
        several = together(size, train, CASES)
        for found in several:
            assert isinstance(found, list), found
            for case, losses, alone in zip(CASES, found, one, strict=True):
                precise = 1e-12 if case[0] == "float64" else 1e-5
                assert losses == pytest.approx(alone, rel=precise), case
            assert found == several[0]


def differ(rank: int, size: int, what: str) -> str:
    """Train where one process is not like the others; the words of the refusal."""
    pyro.set_rng_seed(0 if what != "seed" else rank)
    torch.manual_seed(0 if what != "seed" else rank)
    parts = Mixture(drawn=True)
    if what == "weights":
        parts.means.data += rank
    data = torch.ones(8, 5) * (1 + (rank if what == "batch" else 0))

    def model(x: torch.Tensor) -> None:
        if what == "raises" and rank == 1:
            raise ValueError("only here")
        parts.model(x)

    svi = SVI(
        model, parts.guide, torch.optim.SGD(parts.parameters(), 0.1), parallel=DataParallel("data"), engine="pyro"
    )
    try:
        for step in range(3):
            if what == "draws" and step == 1 and rank:
                torch.rand(1)
            svi.step(data)
    except ValueError as error:
        return str(error)
    return ""


REFUSALS = {
    "seed": "process 1 has other random numbers than process 0",
    "weights": "process 1 begins with another means than process 0",
    "batch": "process 1 begins with another argument 0 than process 0",
    "raises": "only here",
    "draws": "the processes take different steps",
}


def differ_in_all(rank: int, size: int, cases: list[str]) -> list[str]:
    return [differ(rank, size, what) for what in cases]


def test_processes_that_differ_are_refused_by_all() -> None:
    for found in together(2, differ_in_all, list(REFUSALS)):
        assert isinstance(found, list), found
        for words, said in zip(REFUSALS.values(), found, strict=True):
            assert words in said


def overflow(rank: int, size: int, engine: str) -> list[Any]:
    """Train with a batch whose last row, of the last process, overflows; what is raised, and whether weights moved."""
    pyro.set_rng_seed(0)
    parts, data = Mixture(drawn=False), torch.randn(8, 5)
    bad = data.clone()
    bad[-1] = 1e30
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    optim = torch.optim.Adam(parts.parameters(), 0.01)
    guide = config_enumerate(parts.guide, "parallel")
    svi = SVI(parts.model, guide, optim, loss, engine=engine, parallel=DataParallel("data"))
    said = []
    for step in range(8):
        before = [p.detach().clone() for p in parts.parameters()]
        try:
            svi.step(bad if step % 4 == 3 else data)
        except FloatingPointError as error:
            said.append(str(error))
            assert all(torch.equal(p, old) for p, old in zip(parts.parameters(), before, strict=True))
    return [*said, svi.steps_taken["graph"] > 0]


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_a_loss_that_is_not_finite_stops_all_and_is_named_by_all(engine: str) -> None:
    found = together(2, overflow, engine)
    assert found[0] == found[1]
    *said, by_graph = found[0]
    assert len(said) == 2, found
    assert all("the loss is not finite: log-probability of site 'x' in the model" in text for text in said)
    assert by_graph == (engine == "graph")


# ---- what does not divide, which one process can show


@pytest.fixture
def group() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _svi(model: Callable, guide: Callable, plate: str = "data", **options: Any) -> SVI:
    module = nn.Linear(1, 1)
    optim = options.pop("optim", torch.optim.SGD(module.parameters(), 0.1))
    return SVI(model, guide, optim, engine="pyro", parallel=DataParallel(plate), **options)


def _model(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def _guide(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0 * x, 1.0))


def _subsampling(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x), subsample_size=2) as index:
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[index])


def _looping(x: torch.Tensor) -> None:
    for i in pyro.plate("data", len(x)):
        pyro.sample(f"x{i}", dist.Normal(0.0, 1.0), obs=x[i])


def _of_other_length(x: torch.Tensor) -> None:
    with pyro.plate("data", 2 * len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def _globally_enumerated(x: torch.Tensor) -> None:
    k = pyro.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(k, 1.0), obs=x)


def _with_baseline(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0 * x, 1.0), infer={"baseline": {"use_decaying_avg_baseline": True}})


def _scored_beside_a_global(x: torch.Tensor) -> None:
    pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(0.5 + 0 * x))


def _nothing(x: torch.Tensor) -> None:
    pass


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("model", "guide", "options", "words"),
    [
        (
            _model,
            _guide,
            {"plate": "images"},
            "no site of the programs is in the plate 'images' of the data; their plates",
        ),
        (_model, _guide, {"loss": RenyiELBO(num_particles=2)}, "the loss RenyiELBO is not known to be a sum over the"),
        (_model, _guide, {"loss": lambda *args: torch.zeros(())}, "the loss function is not known to be a sum"),
        (_subsampling, _nothing, {}, "the plate 'data' draws 2 of 6 indices itself"),
        (_looping, _nothing, {}, "the plate 'data' of the data is a loop"),
        (
            _of_other_length,
            _of_other_length,
            {},
            "the plate 'data' has 12 rows, and this process's part of the batch has 6",
        ),
        (
            _globally_enumerated,
            _nothing,
            {"loss": TraceEnum_ELBO(max_plate_nesting=1)},
            "the site 'k' outside of the plate",
        ),
        (_model, _with_baseline, {}, "the site 'z' keeps a baseline"),
        (_scored_beside_a_global, _scored_beside_a_global, {}, "the site 'z' is drawn without a gradient through its"),
    ],
)
def test_what_does_not_divide_is_refused(model: Callable, guide: Callable, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        _svi(model, guide, **options).step(torch.ones(6))


@pytest.mark.usefixtures("group")
def test_parameters_of_rows_are_refused() -> None:
    guide = AutoNormal(_model)
    with pytest.raises(ValueError, match="has a value for each row of the plate 'data'"):
        _svi(_model, guide, optim=pyro.optim.Adam({"lr": 0.1})).step(torch.ones(6))


@pytest.mark.usefixtures("group")
def test_handlers_and_batch_norm_are_refused() -> None:
    with pytest.raises(ValueError, match="the guide AutoNormalMessenger is a handler around the model"):
        _svi(_model, AutoNormalMessenger(_model))
    norm = nn.BatchNorm1d(1)

    def normed(x: torch.Tensor) -> None:
        _model(norm(x[:, None])[:, 0])

    with pytest.raises(ValueError, match="BatchNorm1d takes its mean and its variance over a whole batch"):
        _svi(normed, _guide)
    norm.eval()
    _svi(normed, _guide)


@pytest.mark.usefixtures("group")
def test_arguments_hold_the_same_rows() -> None:
    parallel = DataParallel("data")
    with pytest.raises(ValueError, match="and have 2 and 3 rows: say which arguments hold rows"):
        parallel.rows(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="and have no tensors"):
        parallel.rows(1.0, torch.ones(()))
    sizes, x, weight, number = parallel.rows(torch.arange(3), torch.ones(()), 2)
    assert (sizes, x.tolist(), weight.shape, number) == (torch.Size([3]), [0, 1, 2], (), 2)
    chosen = DataParallel("data", arguments=[0]).rows(torch.arange(3), torch.ones(7))
    assert chosen[2].shape == (7,)


def test_without_a_process_group_nothing_is_parallel() -> None:
    with pytest.raises(ValueError, match="start the script with torchrun"):
        DataParallel("data")
