"""Checkpoints: the state by which a resumed run equals an uninterrupted one."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrovae.digests import digest
from pyrovae.files import replace_stream, replace_text
from pyrovae.training.run_folder import RunFolder
from pyrovae.training.state import check_state
from pyrovae.training.weights import finite, save_weights

FORMAT = "pyrovae checkpoint 2"
OLD_FORMAT = "pyrovae checkpoint 1"
"""That of version 0.1: without a digest and without the best weights."""


class Checkpointer:
    """Keeps checkpoints in a run folder, so often; without a folder it keeps nothing.

    The checkpoint is the truth of a run. Weights and metrics follow from it; they are written after it, and anew when
    the run is resumed.

    Args:
        folder: The folder, or None.
        every: Seconds between two checkpoints.

    Attributes:
        notice: What the user should know of the checkpoint that was loaded, or None.
    """

    def __init__(self, folder: RunFolder | None, every: float) -> None:
        self.folder, self._every = folder, every
        self.notice: str | None = None
        self._best: dict[str, Tensor] | None = None
        self._last = time.monotonic()
        self._last_is_whole = True

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._last >= self._every

    def remember_best(self, weights: dict[str, Tensor]) -> None:
        """Mark the present weights as the best; they are written with the next checkpoint."""
        if self.folder is not None:
            self._best = {name: value.detach().clone() for name, value in weights.items()}

    def save(self, weights: dict[str, Tensor], state: dict[str, Any]) -> bool:
        """Write checkpoint and weights, and say so; weights that are not finite are never written over good ones."""
        if self.folder is None:
            return True
        if not finite(weights):
            return False
        machine = {
            "device": str(next(iter(weights.values())).device) if weights else "cpu",
            "threads": torch.get_num_threads(),
            "processor": platform.processor() or platform.machine(),
            "torch": str(torch.__version__),
        }
        content = {**state, "best_weights": self._best, "machine": machine}
        save_checkpoint(self.folder, content, keep=self._last_is_whole)
        self._last_is_whole = True
        self._write_derived(content)
        self._last = time.monotonic()
        return True

    def load(self) -> dict[str, Any]:
        """The last checkpoint that is whole.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If all are damaged, or there is no folder.
        """
        if self.folder is None:
            raise ValueError("there is nothing to resume without a run folder: pass folder=RunFolder(path)")
        state, self.notice = find_checkpoint(self.folder)
        self._last_is_whole = self.notice is None
        self._best = state.get("best_weights")
        threads = state.get("machine", {}).get("threads", torch.get_num_threads())
        if threads != torch.get_num_threads():
            more = f"trained by {threads} threads so far and now by {torch.get_num_threads()}: rounding may differ"
            self.notice = f"{self.notice}; {more}" if self.notice else more
        return state

    def mend(self, state: dict[str, Any]) -> None:
        """Write anew what follows from a checkpoint that was loaded: it may be ahead of it, behind it or damaged."""
        self._write_derived(state)

    def _write_derived(self, state: dict[str, Any]) -> None:
        """The weights, and which engine took the steps, for people to read."""
        assert self.folder is not None
        if "model" in state:
            save_weights(self.folder.last_weights, state["model"])
        if self._best is not None:
            save_weights(self.folder.best_weights, self._best)
        engine = {name: state.get("engine", {}).get(name) for name in ("engine", "reason", "steps_taken")}
        replace_text(self.folder.training, json.dumps({**engine, **state.get("machine", {})}, indent=1) + "\n")

    @property
    def place(self) -> Path | None:
        """Where the last checkpoint that is whole is, if there is one."""
        if self.folder is None or not self.folder.can_resume:
            return None
        whole = self._last_is_whole and self.folder.checkpoint.exists()
        return self.folder.checkpoint if whole else self.folder.previous_checkpoint

    @property
    def last_good(self) -> str:
        """The same as the end of a message; empty if there is none."""
        return "" if self.place is None else f"; the last good checkpoint is {self.place}"


def save_checkpoint(folder: RunFolder, state: dict[str, Any], *, keep: bool = True) -> None:
    """Write a checkpoint.

    Args:
        folder: The run's folder.
        state: What is kept: tensors and plain containers.
        keep: Whether the checkpoint that is there is kept as the one before.

    Raises:
        OSError: If it cannot be written; what was there is untouched then.
    """
    content = {**state, "format": FORMAT}
    content["digest"] = digest(content)
    before = folder.previous_checkpoint if keep else None
    replace_stream(folder.checkpoint, lambda file: torch.save(content, file), before)


def load_checkpoint(folder: RunFolder) -> dict[str, Any]:
    """Read a run's last checkpoint that is whole; see `find_checkpoint`."""
    return find_checkpoint(folder)[0]


def find_checkpoint(folder: RunFolder) -> tuple[dict[str, Any], str | None]:
    """Read a run's last checkpoint that is whole. Nothing is unpickled but tensors and plain containers.

    Returns:
        The checkpoint, and what was wrong with a later one, or None.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If all are damaged or none of ours.
    """
    if not folder.can_resume:
        raise FileNotFoundError(f"{folder.checkpoint} does not exist: there is nothing to resume; train the run anew")
    reasons = []
    for path in (folder.checkpoint, folder.previous_checkpoint):
        try:
            state = read_checkpoint(path)
        except ValueError as error:
            reasons.append(str(error))
        else:
            note = f"{reasons[0]}; going on from {path.name}" if reasons else None
            return state, note
    raise ValueError(f"{', and '.join(reasons)}: restore one of them, or train the run anew with --overwrite true")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one checkpoint, and hold it against its digest.

    Raises:
        ValueError: If there is none, or it is damaged or none of ours.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    except Exception as error:  # torch raises many kinds for a file that is not what it should be
        raise ValueError(f"{path} is damaged or no checkpoint") from error
    if not isinstance(state, dict) or state.get("format") not in (FORMAT, OLD_FORMAT):
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path} is not a {FORMAT!r} (found {found!r:.80})")
    given = state.pop("digest", None)
    if (given is not None or state["format"] != OLD_FORMAT) and given != digest(state):
        raise ValueError(f"{path} is damaged: its digest is another than that of its content")
    try:
        check_state(state)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return state
