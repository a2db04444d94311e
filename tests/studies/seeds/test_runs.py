"""What a study trains; that trainings are skipped, resumed and refused is tested with `pyrovae.runs.jobs.Job`."""

from pathlib import Path

import numpy as np
import pytest

from pyrovae.data import from_values
from pyrovae.studies.seeds.budgets import BUDGETS, Recipe
from pyrovae.studies.seeds.experiments import EXPERIMENTS
from pyrovae.studies.seeds.run import fit_budget
from pyrovae.studies.seeds.runs import Runs, read_test

OPTIONS = ("--data", "digits", "--epochs", "1", "--batch_size", "300", "--engine", "graph")


@pytest.mark.slow
def test_a_study_trains_its_recipes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path / "runs", device="cpu")
    recipes = [Recipe("small", (*OPTIONS, "--model.encoder.hidden", "[8]"), 2)]
    runs.train(recipes, progress=False)
    assert [row["epoch"] for row in runs["small"].rows()] == [1]
    assert read_test(runs["small"])["images"] == 300
    monkeypatch.setattr("pyrovae.runs.jobs.Job.train", None)
    runs.train(recipes, progress=False)


def test_an_image_set_that_is_not_there_is_not_at_hand(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs", str(tmp_path))
    assert runs.at_hand("digits")
    assert not runs.at_hand("emnist:balanced")


def test_a_budget_fits_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path / "runs", str(tmp_path))
    monkeypatch.setattr(Runs, "at_hand", lambda runs, name: name == "fonts:auto")
    found = fit_budget(BUDGETS["standard"], "digits", runs.data("digits"), runs)
    assert (found.data, found.pixels, found.many_labels) == ("digits", 64, "fonts:auto")
    assert fit_budget(BUDGETS["quick"], "digits", runs.data("digits"), runs) == BUDGETS["quick"]
    assert all("mnist" not in recipe.options for recipe in found.recipes())
    colours = from_values(np.zeros((40, 3, 8, 8), np.uint8), labels=np.arange(40) % 10)
    few = from_values(np.zeros((40, 1, 8, 8), np.uint8), labels=np.arange(40) % 4)
    for images, words in ((colours, "10 classes of 3 channels"), (few, "4 classes of 1 channels")):
        with pytest.raises(ValueError, match=f"grey images of at least 10 classes.*and mine has {words}"):
            fit_budget(BUDGETS["quick"], "mine", images, runs)


@pytest.mark.parametrize("name", BUDGETS)
def test_every_run_that_an_experiment_needs_is_trained(name: str) -> None:
    budget = BUDGETS[name]
    names = [recipe.name for recipe in budget.recipes()]
    assert len(set(names)) == len(names)
    needed = {run for experiment in EXPERIMENTS for run in experiment.needs(budget)}
    assert needed == set(names)
