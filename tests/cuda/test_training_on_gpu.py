"""Whole trainings on a GPU: resumed, with images on the host, not finite, by schedules; and every command."""

import importlib
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_gpu import FakeGpu

sys.path.insert(0, str(Path(__file__).parents[1] / "campaigns"))

from command_lines import World, make_world
from command_options import COMMANDS

from pyrovae import VAE, Trainer, networks
from pyrovae.data import ImageSet
from pyrovae.engine import cuda_graphs
from pyrovae.inference import estimate_elbo
from pyrovae.objectives import TraceELBO
from pyrovae.studies.seeds.budgets import BUDGETS
from pyrovae.studies.seeds.runs import Runs
from pyrovae.studies.seeds.study import Study
from pyrovae.training.batches import Batches
from pyrovae.training.history import elbo_columns
from pyrovae.training.measures import Measures

ENGINES = ["pyro", "graph", "compiled"]


def fit(images: ImageSet, folder: Path | None = None, *, spoil: bool = False, **settings: Any) -> list[float]:
    """The losses of the epochs of a tiny training."""
    torch.manual_seed(0)
    torch.cuda.manual_seed(0)
    model = VAE(
        images.image_shape,
        2,
        encoder=partial(networks.MLPEncoder, hidden=(8,)),
        decoder=partial(networks.MLPDecoder, hidden=(8,)),
    )
    if spoil:
        next(model.posterior.parameters()).data.fill_(torch.nan)
    trainer = Trainer(**({"epochs": 2, "batch_size": 64, "device": "cuda"} | settings))
    resume = folder is not None and (folder / "checkpoint.pt").exists()
    history = trainer.fit(model, images, folder, resume=resume, progress=False)
    return [row["loss"] for row in history.rows]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_resumed_training_is_the_same_to_the_bit(
    gpu: FakeGpu, engine: str, few_digits: ImageSet, tmp_path: Path
) -> None:
    whole = fit(few_digits, epochs=3, engine=engine)
    fit(few_digits, tmp_path / "run", epochs=1, engine=engine)
    assert fit(few_digits, tmp_path / "run", epochs=3, engine=engine)[-1] == whole[-1]


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_not_finite_in_mid_row_names_its_step(
    gpu: FakeGpu, few_digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of steps that one graph took."""
    monkeypatch.setattr(cuda_graphs, "TOGETHER", (16, 4))
    monkeypatch.setattr("pyrovae.training.loop.READ_EVERY", 1000.0)
    steps = -(-len(few_digits.splits["train"]) // 4)
    monkeypatch.setattr(TraceELBO, "beta_at", lambda self, done: torch.nan if round(done * steps) == 25 else 1.0)
    with pytest.raises(ValueError, match=f"training broke in epoch 1, step 25 of {steps}"):
        fit(few_digits, epochs=1, batch_size=4, engine="compiled")
    assert len(gpu.recorder.graphs[-1].operations) > 2 * len(gpu.recorder.graphs[0].operations)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_not_finite_is_found(gpu: FakeGpu, engine: str, few_digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=r"not finite|to satisfy|NaN|nan"):
        fit(few_digits, engine=engine, spoil=True)


def test_images_on_the_host_are_sent_without_waiting(
    gpu: FakeGpu, few_digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = fit(few_digits, engine="compiled")
    gpu.waits.clear()
    monkeypatch.setattr("pyrovae.training.batches.fits", lambda images, device: False)
    assert fit(few_digits, engine="compiled") == pytest.approx(resident, rel=1e-5)
    assert not [line for line in gpu.waits if line.startswith("training/batches")]


@pytest.mark.parametrize(
    "scheduler",
    [
        partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
        torch.optim.lr_scheduler.ReduceLROnPlateau,
    ],
    ids=["exponential", "plateau"],
)
def test_schedules_reach_the_recorded_step(gpu: FakeGpu, scheduler: Any, few_digits: ImageSet) -> None:
    by_pyro = fit(few_digits, epochs=3, engine="pyro", scheduler=scheduler)
    assert fit(few_digits, epochs=3, engine="compiled", scheduler=scheduler) == pytest.approx(by_pyro, rel=1e-4)
    assert sum(graph.replays for graph in gpu.recorder.graphs) > 3


def measured(images: ImageSet, together: int) -> tuple[VAE, Measures, Batches]:
    """A model, and what its epochs are measured by, with so many images at a time."""
    torch.manual_seed(0)
    model = VAE(images.image_shape, 2, encoder=partial(networks.MLPEncoder, hidden=(8,))).to("cuda")
    batches = Batches(images, "threshold", 50, 0, torch.device("cuda"))
    measures = Measures(model, batches, seed=3)
    measures._together = together
    return model, measures, batches


def test_an_evaluation_is_a_replay_a_batch(gpu: FakeGpu, few_digits: ImageSet) -> None:
    """Of the numbers that Pyro computes, whatever the epoch, and with as many waits for many batches as for few."""
    waits = []
    for together in (20, 50):
        model, measures, batches = measured(few_digits, together)
        splits = batches.evaluated()
        expected: dict[str, float] = {}
        for name, split in splits.items():
            expected |= elbo_columns(name, estimate_elbo(model, split, batch_size=together, seed=3))
        state = torch.cuda.get_rng_state()
        first = measures.row()
        assert first == pytest.approx(expected, rel=1e-6)
        gpu.waits.clear()
        before = sum(graph.replays for graph in gpu.recorder.graphs)
        assert measures.row() == first
        assert torch.equal(torch.cuda.get_rng_state(), state)
        waits.append(gpu.waits.total())
        pieces = [-(-len(split) // together) for split in splits.values()]
        again = [-(-len(range(0, len(s), max(1, min(10, len(s) // 100)))) // together) for s in splits.values()]
        assert sum(graph.replays for graph in gpu.recorder.graphs) - before == sum(pieces) + sum(again)
    assert waits[0] == waits[1] <= 20


def test_an_evaluation_that_is_not_finite_is_pyros(gpu: FakeGpu, few_digits: ImageSet) -> None:
    model, measures, _ = measured(few_digits, 50)
    measures.row()
    next(model.posterior.parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"to satisfy|nan"):
        measures.row()


def test_what_cannot_be_traced_is_evaluated_by_pyro(gpu: FakeGpu, few_digits: ImageSet) -> None:
    """A user's part may branch on values."""
    model, measures, batches = measured(few_digits, 50)
    plain = model.posterior.forward
    model.posterior.forward = lambda x, y=None: plain(x if x.mean() > 0 else -x, y)
    expected = estimate_elbo(model, batches.evaluated()["train"], batch_size=50, seed=3)
    assert measures.row()["train_negative_elbo"] == expected.negative_elbo.value


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command(
    gpu: FakeGpu, name: str, runs: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command = COMMANDS[name]
    kind = command.runs[0]
    run = tmp_path / kind
    shutil.copytree(runs.runs[kind], run)
    places = runs.places(tmp_path, kind) | {"{run:" + kind + "}": str(run)}
    words = [f"[{run}]" if name == "side_by_side" else str(run), *command.base]
    words += ["--device", "cuda"] if "device" in command.options else []
    for place, path in places.items():
        words = [word.replace(place, path) for word in words]
    monkeypatch.setattr(sys, "argv", [name, *words])
    importlib.import_module(f"pyrovae.cli.{name}").main()
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize(("device", "expected"), [("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")])
def test_a_study_looks_at_its_models_on_the_device_that_was_asked_for(
    gpu: FakeGpu, device: str, expected: str, runs: World
) -> None:
    study = Study(next(iter(BUDGETS.values())), Runs(runs.root / "runs", None, device), None)  # type: ignore[arg-type]
    model = study.model("vae")
    assert {str(parameter.device) for parameter in model.parameters()} == {expected}
