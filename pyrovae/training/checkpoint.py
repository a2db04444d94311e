"""Checkpoints: the state by which a resumed run equals an uninterrupted one."""

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrovae.files import replace_file
from pyrovae.training.run_folder import RunFolder, save_weights

FORMAT = "pyrovae checkpoint 1"


class Checkpointer:
    """Writes weights and checkpoints into a run folder at intervals; without a folder it writes nothing.

    Args:
        folder: The folder, or None.
        every: Seconds between two checkpoints.
    """

    def __init__(self, folder: RunFolder | None, every: float) -> None:
        self.folder, self._every = folder, every
        self._best: dict[str, Tensor] | None = None
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._last >= self._every

    def remember_best(self, weights: dict[str, Tensor]) -> None:
        """Mark the present weights as the best; they are written with the next checkpoint."""
        if self.folder is not None:
            self._best = {name: value.detach().clone() for name, value in weights.items()}

    def save(self, weights: dict[str, Tensor], state: dict[str, Any]) -> bool:
        """Write weights and checkpoint, and report it. Weights that are not finite never replace good ones."""
        if self.folder is None:
            return True
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            return False
        if self._best is not None:
            save_weights(self.folder.best_weights, self._best)
            self._best = None
        save_weights(self.folder.last_weights, weights)
        save_checkpoint(self.folder, state)
        self._last = time.monotonic()
        return True

    def load(self) -> dict[str, Any]:
        """The last checkpoint.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, or there is no folder.
        """
        if self.folder is None:
            raise ValueError("there is nothing to resume without a run folder: pass folder=RunFolder(path)")
        return load_checkpoint(self.folder)

    @property
    def place(self) -> Path | None:
        """Path of the last checkpoint, if there is one."""
        return self.folder.checkpoint if self.folder is not None and self.folder.checkpoint.exists() else None

    @property
    def last_good(self) -> str:
        """The same as the end of a message; empty if there is none."""
        return "" if self.place is None else f"; the last good checkpoint is {self.place}"


def save_checkpoint(folder: RunFolder, state: dict[str, Any]) -> None:
    """Write a checkpoint and keep the previous one.

    Raises:
        OSError: If it cannot be written; the old ones are untouched then.
    """

    def write(beside: Path) -> None:
        torch.save({"format": FORMAT, **state}, beside)

    if folder.checkpoint.exists():
        replace_file(folder.previous_checkpoint, lambda beside: shutil.copyfile(folder.checkpoint, beside))
    replace_file(folder.checkpoint, write)


def load_checkpoint(folder: RunFolder) -> dict[str, Any]:
    """Read a run's last checkpoint. Only tensors and plain containers are unpickled.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or not a checkpoint of ours.
    """
    path = folder.checkpoint
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: there is nothing to resume; train the run anew")
    rescue = (
        f"the one before it is whole: mv {folder.previous_checkpoint} {path}, then resume again"
        if folder.previous_checkpoint.exists()
        else "train the run anew with --overwrite true"
    )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {rescue}") from error
    except Exception as error:  # torch raises many kinds for a file that is not what it should be
        raise ValueError(f"{path} is damaged or no checkpoint; {rescue}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path} is not a {FORMAT!r} (found {found!r}); {rescue}")
    return state
