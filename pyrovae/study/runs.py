"""The trainings of a study: what is there is skipped, what was cut off goes on, and one bar counts them all."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrovae import config
from pyrovae.data import ImageSet, fixed_split, load_images
from pyrovae.evaluation import estimate_elbo
from pyrovae.models import LatentVariableModel
from pyrovae.study.budgets import Recipe
from pyrovae.training import History, RunFolder
from pyrovae.training.files import replace_text
from pyrovae.training.progress import Progress

MADE_BY = "study.json"
"""File of a run's folder that a study writes when the run is finished: the options that it was made by."""


@dataclass(frozen=True, eq=False)
class Training:
    """One training that a study needs, as far as it has come.

    Attributes:
        recipe: What to train.
        folder: Where it is kept.
        steps: Steps of the whole training.
        steps_left: Those that are not done, by the last row that was logged.
        evaluated: Whether its bound of the test images is there, which is the last thing that a training writes.
        settings: Its parsed command line; None where it was not needed to find that it is finished.
    """

    recipe: Recipe
    folder: RunFolder
    steps: int
    steps_left: int
    evaluated: bool
    settings: Any = None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.evaluated and not self.steps_left


class Runs:
    """The runs of a study.

    Args:
        folder: The folder that their folders are in.
        data_dir: Folder of the image sets, or None for the usual one.
        device: Where to train; see `Trainer`.
    """

    def __init__(self, folder: Path, data_dir: str | None = None, device: str = "auto") -> None:
        self.folder = folder
        self.data_dir = data_dir
        self.device = device
        self._sets: dict[str, ImageSet] = {}

    def data(self, name: str) -> ImageSet:
        """An image set, loaded once."""
        if name not in self._sets:
            self._sets[name] = load_images(name, self.data_dir)
        return self._sets[name]

    def at_hand(self, name: str) -> bool:
        """Whether an image set can be had without a download."""
        try:
            if name not in self._sets:
                self._sets[name] = load_images(name, self.data_dir, download=False)
        except FileNotFoundError:
            return False
        return True

    def look(self, recipe: Recipe) -> Training:
        """Find out how far a training has come.

        Raises:
            ValueError: If a run of that name has other settings.
        """
        folder = RunFolder(self.folder / recipe.name)
        steps = _steps_of_same(recipe, folder)
        if steps is not None:
            return Training(recipe, folder, steps, 0, evaluated=True)
        settings = self._settings(recipe, folder)
        images = len(self.data(settings.data).splits["train"])
        steps = settings.epochs * math.ceil(images / settings.batch_size)
        evaluated = folder.test.exists()
        return Training(recipe, folder, steps, max(0, steps - _steps_done(folder)), evaluated, settings)

    def train(self, training: Training, bar: Progress) -> None:
        """Train a model to its end, from where it is.

        Raises:
            Interrupted: After Ctrl-C or SIGTERM, when its checkpoint is written.
        """
        settings, data = training.settings, self.data(training.settings.data)
        resume = training.folder.checkpoint.exists()
        if not resume:
            config.create_run(settings, data)
        built = config.instantiate(settings)
        trainer = config.build_trainer(built)
        model = config.build_model(built.model, data.image_shape, data.num_classes, trainer.seed)
        with bar.part(training.recipe.name, training.recipe.cost):
            trainer.fit(model, data, training.folder, resume=resume, progress=bar)
        test = estimate_elbo(model, fixed_split(data.split("test"), trainer.pixels), seed=0)
        replace_text(training.folder.test, json.dumps(test.to_dict(), indent=2) + "\n")
        made = {"options": training.recipe.options, "steps": training.steps}
        replace_text(training.folder.path / MADE_BY, json.dumps(made, indent=1) + "\n")

    def _settings(self, recipe: Recipe, folder: RunFolder) -> Any:
        where = [] if self.data_dir is None else ["--data_dir", self.data_dir]
        options = [*recipe.options, "--device", self.device, *where]
        if folder.checkpoint.exists():
            try:
                return config.parse_training([*options, "--resume", str(folder.path)])
            except ValueError as error:
                raise ValueError(
                    f"{folder.path} holds a run of other settings than this study's ({error}): "
                    f"remove that folder, or choose another --output_dir"
                ) from error
        # A folder without a checkpoint was cut off in its first epoch: nothing is lost.
        fresh = ["--name", recipe.name, "--runs_dir", str(self.folder), "--overwrite", "true"]
        return config.parse_training([*options, *fresh])


def total_cost(trainings: Sequence[Training]) -> int:
    """What is left to do, in steps of the cheapest net."""
    return sum(training.recipe.cost * training.steps_left for training in trainings)


def read_test(folder: RunFolder) -> dict[str, Any]:
    """The bound of a run's test images, as it was written when the run had ended."""
    return json.loads(folder.test.read_text(encoding="utf-8"))


def history_of(path: Path, model: LatentVariableModel) -> History:
    """What a run has logged."""
    return History(getattr(model.likelihood, "score", "NLL"), RunFolder(path).rows())


def _steps_of_same(recipe: Recipe, folder: RunFolder) -> int | None:
    """Steps of a run that a study has finished with the same options, without a look at its configuration."""
    made = folder.path / MADE_BY
    kept = json.loads(made.read_text(encoding="utf-8")) if made.exists() else {}
    return kept["steps"] if kept.get("options") == list(recipe.options) else None


def _steps_done(folder: RunFolder) -> int:
    rows = folder.rows() if folder.checkpoint.exists() else []
    return int(rows[-1]["step"]) if rows else 0
