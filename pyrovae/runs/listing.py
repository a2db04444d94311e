"""The runs in a folder, by their small files alone: neither weights nor data are read, and torch is not imported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyrovae import lock
from pyrovae.program import in_words
from pyrovae.runs.naming import class_name, unusual_parts
from pyrovae.runs.stored import read_config
from pyrovae.training.run_folder import RunFolder

State = Literal["running", "stopped", "done", "damaged"]
DEEPEST = 4
"""Levels of folders in which runs are looked for; a study's are in the third."""
TAIL = 1 << 16
"""Bytes at the end of the metrics that are read first."""


@dataclass(frozen=True)
class ListedRun:
    """What is known of a run at a glance.

    Attributes:
        path: Its folder.
        state: running (its folder is locked), done (its training has ended), stopped, or damaged.
        changed: When something was written there last, seconds since 1970.
        data: Name of the image set.
        model: Class of the model.
        parts: Classes of the parts that are not the usual ones, by their slots.
        latent_dim: Number of dimensions of the code.
        epoch: Epochs that are trained.
        epochs: Epochs that it was to train.
        score: Name of the reconstruction term of its test images; "NLL" if the bound is one.
        test: -ELBO of the test images, in nats per image, or None if they were not measured.
        error: Its sampling error.
        trouble: What is damaged, in a line.
    """

    path: Path
    state: State
    changed: float
    data: str | None = None
    model: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    latent_dim: int | None = None
    epoch: int = 0
    epochs: int | None = None
    score: str | None = None
    test: float | None = None
    error: float | None = None
    trouble: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, for JSON."""
        return {**asdict(self), "path": str(self.path)}


def list_runs(folder: Path) -> list[ListedRun]:
    """The runs in a folder and in the folders in it, by their paths; or the one that it is itself.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give one that holds runs, or a run itself")
    return [_listed(RunFolder(path)) for path in _runs(folder, 0)]


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    """Folders with the files of a run; there are no runs inside of a run."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        if not depth:
            raise
        return  # somebody else's
    if {"config.yaml", "checkpoint.pt", "model.safetensors", lock.NAME} & set(names):
        yield folder
    elif depth < DEEPEST:
        for name in names:
            if not name.startswith(".") and (folder / name).is_dir() and not (folder / name).is_symlink():
                yield from _runs(folder / name, depth + 1)


def _listed(folder: RunFolder) -> ListedRun:
    """What the files of a run say."""
    changed = _changed(folder)
    running = lock.is_held(folder.path)
    try:
        raw = read_config(folder)
        model = raw["model"]
        arguments = model.get("init_args") or {}
        epoch, epochs = _last_epoch(folder.metrics), raw.get("epochs")
        test = json.loads(folder.test.read_text(encoding="utf-8")) if folder.test.exists() else {}
        return ListedRun(
            folder.path,
            "running" if running else _ended(folder, epoch, epochs),
            changed,
            data=raw["data"],
            model=class_name(model),
            parts=unusual_parts(arguments),
            latent_dim=arguments.get("latent_dim"),
            epoch=epoch,
            epochs=epochs,
            score=test.get("score"),
            test=test.get("negative_elbo"),
            error=(test.get("spread") or {}).get("negative_elbo"),
        )
    except (ValueError, OSError, AttributeError, TypeError, RecursionError) as error:
        what = " ".join(in_words(error).split())
        return ListedRun(folder.path, "running" if running else "damaged", changed, trouble=what)


def _ended(folder: RunFolder, epoch: int, epochs: object) -> State:
    """Whether a training that does not run was stopped: it may also have ended early by its patience."""
    if isinstance(epochs, int) and epoch >= epochs:
        return "done"
    if not folder.test.exists():
        return "stopped"
    is_newer = not folder.checkpoint.exists() or folder.test.stat().st_mtime >= folder.checkpoint.stat().st_mtime
    return "done" if is_newer else "stopped"  # resumed for more epochs, and stopped again


def _last_epoch(metrics: Path) -> int:
    """The first number in the last line of the metrics; 0 if there is none yet.

    Raises:
        ValueError: If it is no number.
    """
    if not metrics.exists():
        return 0
    with metrics.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for tail in (TAIL, size):
            file.seek(max(0, size - tail))
            lines = file.read().splitlines()
            if len(lines) > 1:
                break
    first = lines[-1].partition(b",")[0].decode("utf-8", "replace") if lines else "epoch"
    try:
        return 0 if first == "epoch" else int(float(first))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{metrics} is damaged: its last line begins with {first[:20]!r}") from error


def _changed(folder: RunFolder) -> float:
    """When one of its files was written last."""
    files = (folder.config, folder.metrics, folder.test, folder.checkpoint, folder.path)
    return max(path.stat().st_mtime for path in files if path.exists())
