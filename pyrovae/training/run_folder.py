"""The folder of a run and the paths in it."""

import csv
import itertools
import math
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyrovae import lock
from pyrovae.files import replace_text, unfinished
from pyrovae.program import command_line

SCALING = "scaling.json"


@dataclass(frozen=True)
class RunFolder:
    """Paths in a run's folder.

    Args:
        path: The folder, `runs/<name>`.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def config(self) -> Path:
        """Settings that rebuild the run exactly."""
        return self.path / "config.yaml"

    @property
    def scaling(self) -> Path:
        """How the values of a table or an array became x; of a run on values only."""
        return self.path / SCALING

    @property
    def metrics(self) -> Path:
        """One row for each epoch."""
        return self.path / "metrics.csv"

    def rows(self) -> list[dict[str, float]]:
        """The rows of the metrics, oldest first; none if there is no such file yet.

        Raises:
            ValueError: If the file is damaged.
        """
        if not self.metrics.exists():
            return []
        try:
            with self.metrics.open(encoding="utf-8", newline="") as file:
                rows = [_row(row) for row in csv.DictReader(file)]
            if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
                raise ValueError("its epochs do not count from 1")
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            reason = " ".join(str(error).split())
            again = command_line("train", "--resume", self.path)
            raise ValueError(f"{self.metrics} is damaged ({reason}): {again} writes it anew") from error
        return rows

    @property
    def test(self) -> Path:
        """The bound of the test images."""
        return self.path / "test.json"

    @property
    def training(self) -> Path:
        """Which engine took the steps, and on what machine."""
        return self.path / "training.json"

    @property
    def command(self) -> Path:
        """The options of one of several trainings, written at its end."""
        return self.path / "command.json"

    @property
    def last_weights(self) -> Path:
        """Weights at the last checkpoint."""
        return self.path / "model.safetensors"

    @property
    def best_weights(self) -> Path:
        """Weights with the best bound on the validation images, if there are any."""
        return self.path / "model.best.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The state for resuming."""
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The previous checkpoint, for the case that the last one is damaged."""
        return self.path / "checkpoint.previous.pt"

    @property
    def figures(self) -> Path:
        """Pictures."""
        return self.path / "figures"

    @property
    def can_resume(self) -> bool:
        """Whether there is a checkpoint."""
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    def check_resumable(self) -> None:
        """Refuse to begin anew where that would replace weights.

        Raises:
            ValueError: If there are weights, but no checkpoint.
        """
        if not self.can_resume and (self.last_weights.exists() or self.best_weights.exists()):
            raise ValueError(
                f"{self.path} has weights but no checkpoint.pt or checkpoint.previous.pt any more, from which it "
                f"could go on: restore one of them, or train it anew with --overwrite true"
            )

    def locked(self) -> AbstractContextManager[None]:
        """Be the only one who writes here; see `pyrovae.lock`."""
        return lock.locked(self.path)

    @classmethod
    def create(cls, path: Path, *, overwrite: bool = False) -> "RunFolder":
        """Make an empty run folder; see `making`."""
        with cls.making(path, overwrite=overwrite) as folder:
            return folder

    @classmethod
    @contextmanager
    def making(
        cls, path: Path, settings: str | None = None, *, scaling: str | None = None, overwrite: bool = False
    ) -> Iterator["RunFolder"]:
        """Make a run folder, and be the only one who writes to it meanwhile.

        The settings are what is written last: a folder without them was never finished, and is taken by the next one
        who asks for it.

        Args:
            path: The folder.
            settings: Text of its config.yaml.
            scaling: Text of its scaling.json.
            overwrite: Whether a folder that holds a run may be emptied first.

        Raises:
            ValueError: If the folder holds something that must not be overwritten, or another process writes there.
        """
        folder = cls(path)
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, not a folder: choose another --name or --runs_dir")
        if path.is_dir():
            folder._check_free(overwrite)
        path.mkdir(parents=True, exist_ok=True)
        with folder.locked():
            folder._check_free(overwrite)  # now that nobody else can change it
            folder._empty()
            folder.figures.mkdir(exist_ok=True)
            if scaling is not None:
                replace_text(folder.scaling, scaling)
            if settings is not None:
                replace_text(folder.config, settings)
            yield folder

    def _check_free(self, overwrite: bool) -> None:
        if is_free(self.path):
            return
        if not self.config.exists():
            raise ValueError(
                f"{self.path} is not empty and holds no run of pyrovae: choose another folder (--name, --runs_dir)"
            )
        if not overwrite:
            raise TakenError(
                f"{self.path} already holds a run: choose another --name, continue it with --resume {self.path}, "
                f"or replace it with --overwrite true"
            )

    def _empty(self) -> None:
        """Remove everything but the lock; the settings last, by which a folder is known as a run."""
        for path in sorted(self.path.iterdir(), key=lambda path: path == self.config):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != lock.NAME:
                path.unlink(missing_ok=True)


class TakenError(ValueError):
    """A run of that name is there already, or is being made."""


def is_free(path: Path) -> bool:
    """Whether a new run may have a folder: there is none, or one that was never finished."""
    if not path.is_dir():
        return not path.exists()
    left = {lock.NAME, *(file.name for file in unfinished(path))}
    if (path / lock.NAME).exists():
        left.add(SCALING)  # which is written before the settings
    rest = [entry for entry in path.iterdir() if entry.name not in left]
    return all(entry.name == "figures" and entry.is_dir() and is_free(entry) for entry in rest)


def free_names(parent: Path, name: str) -> Iterator[str]:
    """Those of `name`, `name-2`, `name-3`, ... that are free."""
    for number in itertools.count(1):
        found = name if number == 1 else f"{name}-{number}"
        if is_free(parent / found):
            yield found


def _row(row: dict[str, str]) -> dict[str, float]:
    if None in row or None in row.values():
        raise ValueError("a row has another length than the header")
    found = {name: float(value) for name, value in row.items() if value}
    if math.isnan(found["epoch"]):
        raise ValueError("an epoch is no number")
    return found
