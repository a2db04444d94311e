"""Models that are trained as one program, against the same trainings alone."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrovae import CVAE, VAE, FreeBits, ImportanceWeighted, TraceELBO, Trainer, networks, priors
from pyrovae.data import ImageSet
from pyrovae.engine.batching import EnsembleError
from pyrovae.models import LatentVariableModel
from pyrovae.training import History, RunFolder
from pyrovae.training.ensemble import BrokenMembersError, fit_ensemble

MEMBERS = 2
SMALL = {"encoder": partial(networks.MLPEncoder, hidden=(8,)), "decoder": partial(networks.MLPDecoder, hidden=(8,))}


@pytest.fixture
def images(few_digits: ImageSet) -> ImageSet:
    return few_digits


def model_of(images: ImageSet, number: int, kind: str = "vae") -> LatentVariableModel:
    torch.manual_seed(number)
    if kind == "cvae":
        return CVAE(images.image_shape, images.num_classes, 2, **SMALL)
    if kind == "learned prior":
        return VAE(images.image_shape, 2, prior=priors.VampPrior, **SMALL)
    return VAE(images.image_shape, 2, **SMALL)


def trainer_of(number: int, **settings: Any) -> Trainer:
    """Members differ in seed, learning rate and the weight of the KL term."""
    rate, beta = 1e-3 * (1 + number), [0.5, 1, 4][number]
    objective = settings.pop("objective", partial(TraceELBO, warmup=0.5))
    chosen = {"batch_size": 50, "epochs": 2, "engine": "graph"} | settings
    return Trainer(objective(beta), partial(torch.optim.Adam, lr=rate), seed=number, **chosen)


def rows(history: History) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history.rows]


def together(images: ImageSet, folders: list[Path] | None = None, kind: str = "vae", **settings: Any) -> list[History]:
    resume = [folder.exists() for folder in folders] if folders else False
    models = [model_of(images, number, kind) for number in range(MEMBERS)]
    trainers = [trainer_of(number, **settings) for number in range(MEMBERS)]
    return fit_ensemble(trainers, models, images, folders, resume=resume, progress=False)


def assert_same(mine: History, alone: History, tolerance: float = 1e-4) -> None:
    assert len(mine) == len(alone) > 0
    for row, reference in zip(rows(mine), rows(alone), strict=True):
        assert row == pytest.approx(reference, rel=tolerance, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vae", {}),
        ("cvae", {"scheduler": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)}),
        ("learned prior", {"objective": lambda beta: FreeBits(beta, particles=2, per="code")}),
        ("vae", {"objective": lambda beta: ImportanceWeighted(3)}),
    ],
    ids=["vae", "schedule", "learned-prior", "importance-weighted"],
)
def test_each_member_is_as_if_alone(images: ImageSet, kind: str, settings: dict[str, Any]) -> None:
    found = together(images, kind=kind, **settings)
    for number in range(MEMBERS):
        alone = trainer_of(number, **settings).fit(model_of(images, number, kind), images, progress=False)
        assert_same(found[number], alone)


def test_a_resumed_ensemble_is_the_same_to_the_bit_and_a_member_goes_on_alone(images: ImageSet, tmp_path: Path) -> None:
    whole = together(images, epochs=3, objective=TraceELBO)
    folders = [tmp_path / str(number) for number in range(MEMBERS)]
    together(images, folders, epochs=1, objective=TraceELBO)
    shutil.copytree(folders[1], tmp_path / "alone")
    resumed = together(images, folders, epochs=3, objective=TraceELBO)
    assert [rows(history) for history in resumed] == [rows(history) for history in whole]
    alone = trainer_of(1, epochs=3, objective=TraceELBO).fit(
        model_of(images, 1), images, RunFolder(tmp_path / "alone"), resume=True, progress=False
    )
    assert_same(alone, whole[1])
    steps = json.loads((folders[1] / "training.json").read_text())["steps_taken"]
    assert steps["pyro"] == 2 + 4, "the first two, and those that were compared: the 1st, 2nd, 4th and 8th"
    assert steps["together"] == whole[0].rows[-1]["step"] - 6
    sizes = {(folder / "checkpoint.pt").stat().st_size for folder in (*folders, tmp_path / "alone")}
    assert max(sizes) < 1.2 * min(sizes), "no member's checkpoint holds the others' weights"


def test_members_at_different_steps_catch_up(images: ImageSet, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(MEMBERS)]
    settings = {"objective": TraceELBO, "batch_size": 60}
    together(images, folders, epochs=1, **settings)
    ahead = trainer_of(1, epochs=2, **settings)
    ahead.fit(model_of(images, 1), images, RunFolder(folders[1]), resume=True, progress=False)
    resumed = together(images, folders, epochs=3, **settings)
    for number, mine in enumerate(resumed):
        alone = trainer_of(number, epochs=3, **settings).fit(model_of(images, number), images, progress=False)
        assert_same(mine, alone)


def test_a_member_that_breaks_is_named_and_the_others_are_whole(images: ImageSet) -> None:
    models = [model_of(images, number) for number in range(3)]
    trainers = [trainer_of(number) for number in range(3)]
    object.__setattr__(trainers[1], "optimizer", partial(torch.optim.SGD, lr=1e30))
    for number in (0, 2):
        object.__setattr__(trainers[number], "optimizer", partial(torch.optim.SGD, lr=1e-4))
    with pytest.raises(
        BrokenMembersError, match=r"1 of 3 trainings broke, and the others are whole: member 2"
    ) as found:
        fit_ensemble(trainers, models, images, progress=False)
    assert list(found.value.broken) == [1]
    for number in (0, 2):
        alone = trainers[number].fit(model_of(images, number), images, progress=False)
        assert_same(found.value.histories[number], alone)


def test_patience_ends_members_by_themselves(images: ImageSet) -> None:
    found = together(images, epochs=6, patience=1, objective=lambda beta: TraceELBO(beta))
    for number in range(MEMBERS):
        trainer = trainer_of(number, epochs=6, patience=1, objective=lambda beta: TraceELBO(beta))
        assert_same(found[number], trainer.fit(model_of(images, number), images, progress=False))


def test_what_cannot_be_trained_together_is_refused(images: ImageSet, tmp_path: Path) -> None:
    one, two = trainer_of(0), trainer_of(1)
    models = [model_of(images, number) for number in range(2)]
    with pytest.raises(ValueError, match="have the same batch_size, got 50, 20"):
        fit_ensemble([one, trainer_of(1, batch_size=20)], models, images)
    with pytest.raises(ValueError, match="engine pyro makes none"):
        fit_ensemble([trainer_of(0, engine="pyro"), trainer_of(1, engine="pyro")], models, images)
    with pytest.raises(ValueError, match="got 2 trainers, 1 models"):
        fit_ensemble([one, two], models[:1], images)
    with pytest.raises(ValueError, match="got 2 trainers, 2 models, 1 folders"):
        fit_ensemble([one, two], models, images, [tmp_path / "one"])
    with pytest.raises(ValueError, match="one for each of 2 members, got 1"):
        fit_ensemble([one, two], models, images, [tmp_path / "one", tmp_path / "two"], resume=[False])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="was given twice"):
        fit_ensemble([one, two], models[:1] * 2, images)
    wider = VAE(images.image_shape, 3, **SMALL)
    with pytest.raises(EnsembleError, match="train them one by one"):
        fit_ensemble([one, two], [models[0], wider], images, progress=False)
