"""Trainings of a study: skipped when done, gone on with when cut off, refused when others."""

from pathlib import Path

import pytest

from pyrovae.study.budgets import BUDGETS, Recipe
from pyrovae.study.experiments import EXPERIMENTS
from pyrovae.study.runs import Runs, read_test, total_cost
from pyrovae.training import Interrupted
from pyrovae.training.loop import Loop
from pyrovae.training.progress import Progress

OPTIONS = (
    "--data",
    "digits",
    "--epochs",
    "3",
    "--batch_size",
    "300",
    "--engine",
    "graph",
    "--model.encoder.hidden",
    "[8]",
)
RECIPE = Recipe("small", OPTIONS, 2)


def quiet(total: int = 100) -> Progress:
    return Progress(total, enabled=False)


def test_a_training_is_done_once(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    fresh = runs.look(RECIPE)
    assert (fresh.finished, fresh.steps, total_cost([fresh])) == (False, 15, 30)
    bar = quiet()
    runs.train(fresh, bar)
    assert bar._done == 30
    done = runs.look(RECIPE)
    assert done.finished
    assert [row["epoch"] for row in done.folder.rows()] == [1, 2, 3]
    assert read_test(done.folder)["images"] == 300


def test_what_was_cut_off_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch) -> None:
    whole = Runs(tmp_path / "whole")
    whole.train(whole.look(RECIPE), quiet())
    runs = Runs(tmp_path / "cut")
    update = Loop._update

    def interrupted(self, chunk):
        if self.epoch == 1:
            self._save()
            raise Interrupted(2)
        return update(self, chunk)

    monkeypatch.setattr(Loop, "_update", interrupted)
    with pytest.raises(Interrupted):
        runs.train(runs.look(RECIPE), quiet())
    monkeypatch.undo()
    half = runs.look(RECIPE)
    assert (half.finished, half.steps_left) == (False, 10)
    runs.train(half, quiet())
    same = [(folder / "small" / "model.safetensors").read_bytes() for folder in (tmp_path / "whole", tmp_path / "cut")]
    assert same[0] == same[1]


def test_a_run_that_broke_before_its_first_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.yaml").write_text("run: cut off")
    runs.train(runs.look(RECIPE), quiet())
    assert runs.look(RECIPE).finished


def test_other_settings_are_refused_and_more_epochs_are_not(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.train(runs.look(RECIPE), quiet())
    with pytest.raises(ValueError, match=r"run of other settings than this study's .*batch_size.* remove that folder"):
        runs.look(Recipe("small", (*OPTIONS, "--batch_size", "200")))
    assert runs.look(Recipe("small", (*OPTIONS, "--epochs", "4"))).steps_left == 5


@pytest.mark.parametrize("name", BUDGETS)
def test_every_run_that_an_experiment_needs_is_trained(name: str) -> None:
    budget = BUDGETS[name]
    names = [recipe.name for recipe in budget.recipes()]
    assert len(set(names)) == len(names)
    needed = {run for experiment in EXPERIMENTS for run in experiment.needs(budget)}
    assert needed == set(names)
