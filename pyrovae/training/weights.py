"""Weights as safetensors, with a digest by which damage is found when they are read."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pyrovae.digests import digest
from pyrovae.files import replace_stream
from pyrovae.program import command_line


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as safetensors, each tensor on its own even where two share memory.

    Raises:
        OSError: If they cannot be written; the old ones are untouched then.
    """
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    content = save(whole, metadata={"digest": digest(whole)})
    replace_stream(path, lambda file: file.write(content))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read weights, and hold them against their digest; those that version 0.1 wrote have none.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If there is no right to read it.
        ValueError: If the file is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run was stopped before its first checkpoint")
    if not path.is_file():  # others are never read to an end
        raise ValueError(_damaged(path, "it is no file"))
    if str(path) != str(path).encode("utf-8", "replace").decode():
        raise ValueError(f"{path} must be a path in UTF-8 for safetensors to read it: rename its folder")
    path.open("rb").close()  # safetensors calls a file without rights one that is not there
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            found: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ValueError(_damaged(path, " ".join(str(error).split())[:200])) from error
    if metadata is not None and metadata.get("digest") != digest(found):
        raise ValueError(_damaged(path, "its digest is another than that of its numbers"))
    return found


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights into a model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or belongs to another model.
    """
    weights = read_weights(path)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2])
        raise ValueError(f"{path} holds the weights of another model than its config.yaml: {reason}") from error


def finite(weights: dict[str, Tensor]) -> bool:
    """Whether every number is."""
    return all(bool(torch.isfinite(value).all()) for value in weights.values())


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path} is damaged ({reason}): restore it, or have it written anew from the run's checkpoint by "
        f"{command_line('train', '--resume', path.parent)}"
    )
