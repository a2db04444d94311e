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
from pyrovae.studies.seeds.budgets import BUDGETS
from pyrovae.studies.seeds.runs import Runs
from pyrovae.studies.seeds.study import Study

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


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_not_finite_is_found(gpu: FakeGpu, engine: str, few_digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=r"not finite|to satisfy|NaN|nan"):
        fit(few_digits, engine=engine, spoil=True)


def test_images_on_the_host_are_sent_without_waiting(
    gpu: FakeGpu, few_digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = fit(few_digits, engine="compiled")
    gpu.waits.clear()
    monkeypatch.setattr("pyrovae.training.batches._fits", lambda images, device: False)
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
