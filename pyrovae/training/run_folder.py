"""The folder that a run leaves behind, and where in it things are."""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pyrovae.files import replace_file


@dataclass(frozen=True)
class RunFolder:
    """Paths inside of a run's folder.

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
        return self.path / "scaling.json"

    @property
    def metrics(self) -> Path:
        """One row for each epoch."""
        return self.path / "metrics.csv"

    def rows(self) -> list[dict[str, float]]:
        """The rows of the metrics, oldest first; none if there is no such file yet."""
        if not self.metrics.exists():
            return []
        with self.metrics.open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]

    @property
    def test(self) -> Path:
        """The bound of the test images."""
        return self.path / "test.json"

    @property
    def command(self) -> Path:
        """The options that one of several trainings was made by, written when it has ended."""
        return self.path / "command.json"

    @property
    def last_weights(self) -> Path:
        """Weights at the last checkpoint."""
        return self.path / "model.safetensors"

    @property
    def best_weights(self) -> Path:
        """Weights with the best bound on the validation images; only of a run that has such images."""
        return self.path / "model.best.safetensors"

    @property
    def checkpoint(self) -> Path:
        """All that a resumed run needs."""
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the last one, in case that the last one is damaged."""
        return self.path / "checkpoint.previous.pt"

    @property
    def figures(self) -> Path:
        """Pictures."""
        return self.path / "figures"

    @classmethod
    def create(cls, path: Path, *, overwrite: bool = False) -> "RunFolder":
        """Make an empty run folder.

        Args:
            path: The folder.
            overwrite: Whether a folder that holds a run may be emptied first.

        Raises:
            ValueError: If the folder is there and holds something that must not be overwritten.
        """
        folder = cls(path)
        if path.is_dir() and any(path.iterdir()):
            if not folder.config.exists():
                raise ValueError(
                    f"{path} is not empty and holds no run of pyrovae: choose another folder (--name, --runs_dir)"
                )
            if not overwrite:
                raise ValueError(
                    f"{path} already holds a run: choose another --name, continue it with --resume {path}, "
                    f"or replace it with --overwrite true"
                )
            shutil.rmtree(path)
        elif path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, not a folder: choose another --name or --runs_dir")
        folder.figures.mkdir(parents=True, exist_ok=True)
        return folder


def free_name(parent: Path, name: str) -> str:
    """`name`, or the first of `name-2`, `name-3`, ... of which there is no folder yet."""
    number = 1
    while (parent / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return name if number == 1 else f"{name}-{number}"


def save_weights(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write weights as safetensors, each tensor on its own even where two share memory."""
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    replace_file(path, lambda beside: save_file(whole, beside))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights into a model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or belongs to another model.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run was stopped before its first checkpoint")
    try:
        model.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): restore it or train the run again") from error
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2])
        raise ValueError(f"{path} holds the weights of another model than its config.yaml: {reason}") from error
