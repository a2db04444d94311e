"""Every part, objective and optimiser trains on a GPU: losses are Pyro's, and a recorded step waits for nothing.

The cases are those of the tables of `test_parts.py` and `test_combinations.py`, so that a new part is among them.
"""

from functools import partial
from typing import Any

import pytest
import torch
from fake_gpu import FakeGpu
from test_combinations import ADAM, ALLOWED, OBJECTIVES, batch, build, covering, is_refused
from test_parts import LIKELIHOODS, Row

from pyrovae import CVAE, likelihoods, posteriors
from pyrovae.data import ImageSet
from pyrovae.engine import SVI
from pyrovae.objectives import Contractive, Objective, TraceELBO

BERNOULLI = next(row for row in LIKELIHOODS if row.part is likelihoods.Bernoulli)
STEPS = 5


def losses(
    gpu: FakeGpu,
    program: tuple[type, Row, Row, Row],
    engine: str,
    digits: ImageSet,
    objective: Objective,
    optimizer: Any = ADAM,
    precision: str = "float32",
) -> list[float]:
    """Steps on batches that are gathered in the graph, as in training."""
    cls, prior, likelihood, posterior = program
    model = build(cls, prior, likelihood, posterior)
    if is_refused(objective, model):
        pytest.skip("refused on the CPU too")
    if isinstance(model.posterior, posteriors.SemiAmortised) or isinstance(objective, Contractive):
        pytest.skip("the simulated GPU has no gradients of gradients")
    x, y = (tensor.to("cuda") for tensor in batch(digits, likelihood))
    svi = SVI(
        objective.weighted(model.to("cuda").model),
        objective.weighted(model.guide),
        optimizer(model.parameters()),
        loss=objective.elbo(),
        engine=engine,
        prepare=lambda beta, index: (beta, x[index], y[index]),
        precision=precision,
        check_every=None,
    )
    torch.cuda.manual_seed(1)
    order = [torch.arange(8, device="cuda") + i for i in range(STEPS)]
    found = svi.run([(torch.full((), 0.5, device="cuda"), index) for index in order])
    assert found.loss.device == torch.device("cuda:0")
    assert engine == "pyro" or svi.steps_taken[engine] == STEPS - 2, svi.steps_taken
    assert all(tensor.device.type == "cuda" for tensor in model.state_dict().values())
    return found.loss.tolist()


def agree(gpu: FakeGpu, program: tuple[type, Row, Row, Row], digits: ImageSet, *given: Any, **settings: Any) -> None:
    """The losses of graph and recorded step are Pyro's."""
    by_pyro = losses(gpu, program, "pyro", digits, *given, **settings)
    near = 2e-2 if settings.get("precision") == "bfloat16" else 1e-3
    for engine in ("graph", "compiled"):
        gpu.recorder.graphs.clear()
        assert losses(gpu, program, engine, digits, *given, **settings) == pytest.approx(by_pyro, rel=near), engine
    assert sum(graph.replays for graph in gpu.recorder.graphs) == STEPS - 2
    assert not gpu.constants or max(gpu.constants.values()) < 100


@pytest.mark.parametrize("program", covering(), ids=lambda program: "-".join(map(repr, program[1:])))
def test_every_part(gpu: FakeGpu, program: tuple[type, Row, Row, Row], digits: ImageSet) -> None:
    agree(gpu, program, digits, TraceELBO())


PLAIN = next((cls, prior, BERNOULLI, posterior) for cls, prior, posterior in ALLOWED if cls is CVAE)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_every_objective(gpu: FakeGpu, objective: Objective, digits: ImageSet) -> None:
    agree(gpu, PLAIN, digits, objective)


def recordable() -> dict[str, Any]:
    """The optimisers of torch that take a gradient alone, and their variants."""
    classes = {name: vars(torch.optim)[name] for name in torch.optim.__all__ if name[0].isupper()}
    without = {"Optimizer", "LBFGS", "SparseAdam", "Muon"}  # a closure, sparse gradients, matrices alone
    found = {name: partial(cls, lr=1e-3) for name, cls in classes.items() if name not in without}
    return found | {
        "SGD momentum": partial(torch.optim.SGD, lr=1e-3, momentum=0.9),
        "AdamW amsgrad": partial(torch.optim.AdamW, amsgrad=True),
        "Adam foreach": partial(torch.optim.Adam, foreach=True),
        "Adam lr tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(1e-3), capturable=True),
    }


OFTEN = ("Adafactor", "Adam", "Adam lr tensor", "SGD")
"""The others are the long rest."""


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.full) for name in recordable()]
)
def test_every_optimizer(gpu: FakeGpu, name: str, digits: ImageSet) -> None:
    by_pyro = losses(gpu, PLAIN, "pyro", digits, TraceELBO(), recordable()[name])
    compiled = losses(gpu, PLAIN, "compiled", digits, TraceELBO(), recordable()[name])
    assert compiled == pytest.approx(by_pyro, rel=1e-3)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_every_precision(gpu: FakeGpu, precision: str, digits: ImageSet) -> None:
    agree(gpu, PLAIN, digits, TraceELBO(), precision=precision)
