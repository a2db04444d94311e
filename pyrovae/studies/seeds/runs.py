"""The runs of a study. Finished runs are not trained again, and interrupted ones continue."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyrovae.data import ImageSet, load_images
from pyrovae.models import LatentVariableModel
from pyrovae.runs.executors import ExecutorSource
from pyrovae.runs.jobs import Job, train_runs
from pyrovae.studies.seeds.budgets import Recipe
from pyrovae.training import History, RunFolder
from pyrovae.training.checkpoint import load_checkpoint


class Runs:
    """The runs of a study.

    Args:
        folder: The parent of the runs' folders.
        data_dir: Folder of the image sets, or None for the usual one.
        device: Where to train; see `Trainer`.
    """

    def __init__(self, folder: Path, data_dir: str | None = None, device: str = "auto") -> None:
        self.folder = folder
        self.data_dir = data_dir
        self.device = device
        self._sets: dict[str, ImageSet] = {}

    def __getitem__(self, name: str) -> RunFolder:
        return RunFolder(self.folder / name)

    def data(self, name: str) -> ImageSet:
        """An image set, loaded once."""
        if name not in self._sets:
            self._sets[name] = load_images(name, self.data_dir)
        return self._sets[name]

    def at_hand(self, name: str) -> bool:
        """Whether the files of an image set exist, so that nothing is downloaded."""
        try:
            if name not in self._sets:
                self._sets[name] = load_images(name, self.data_dir, download=False)
        except (FileNotFoundError, ValueError):  # too few fonts
            return False
        return True

    def train(
        self,
        recipes: Iterable[Recipe],
        *,
        workers: int | None = None,
        executor: ExecutorSource | None = None,
        progress: bool = True,
    ) -> None:
        """Train the missing runs, several at a time. The last weights are tested, since the claims use them.

        Raises:
            ValueError: If a run of that name has other settings.
            KeyboardInterrupt: When stopped by the user, after every running training has written its checkpoint.
        """
        where = () if self.data_dir is None else ("--data_dir", self.data_dir)
        jobs = [
            Job(self[recipe.name], (*recipe.options, "--device", self.device, *where), "last", recipe.cost)
            for recipe in recipes
        ]
        train_runs(jobs, workers=workers, executor=executor, progress=progress)


def read_test(folder: RunFolder) -> dict[str, Any]:
    """The bound of a run's test images, as it was written when the run had ended.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        return json.loads(folder.test.read_text(encoding="utf-8"))
    except ValueError as error:
        cure = f"remove {folder.command}, and give the same command again"
        raise ValueError(f"{folder.test} is damaged ({error}): {cure}") from error


def history_of(path: Path, model: LatentVariableModel) -> History:
    """What a run has logged, by its checkpoint, which has a digest; metrics.csv is for people to read."""
    folder = RunFolder(path)
    rows = load_checkpoint(folder)["rows"] if folder.can_resume else folder.rows()
    return History(model.likelihood.score, rows)
