"""Checkpoints: everything that makes a resumed run end as one that was never stopped."""

import shutil
from pathlib import Path
from typing import Any

import torch

from pyrovae.files import replace_file
from pyrovae.training.run_folder import RunFolder

FORMAT = "pyrovae checkpoint 1"


def save_checkpoint(folder: RunFolder, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one before it is kept beside it.

    Raises:
        OSError: If it cannot be written; the old ones are untouched then.
    """

    def write(beside: Path) -> None:
        torch.save({"format": FORMAT, **state}, beside)

    if folder.checkpoint.exists():
        replace_file(folder.previous_checkpoint, lambda beside: shutil.copyfile(folder.checkpoint, beside))
    replace_file(folder.checkpoint, write)


def load_checkpoint(folder: RunFolder) -> dict[str, Any]:
    """Read a run's last checkpoint. Nothing is unpickled but tensors and plain containers.

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
