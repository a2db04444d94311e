"""The config.yaml of a run, read back and checked. It needs neither torch nor Pyro, so that runs are listed at once."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyrovae.digests import digest
from pyrovae.factory.old_names import renewed
from pyrovae.factory.yaml_file import parse_yaml
from pyrovae.program import command_line
from pyrovae.shapes import is_whole
from pyrovae.training.run_folder import RunFolder

FORMAT = 2
"""Version of config.yaml; a file of a newer one is refused. The first had no digest."""

Check = Callable[[object], bool]


def _text(value: object) -> bool:
    return isinstance(value, str)


def _text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _share(value: object) -> bool:
    return is_whole(value, 0) or (isinstance(value, float) and 0 <= value < 1)


PIXEL_POLICIES = ("dynamic", "fixed", "threshold", "none")
"""Those of `pyrovae.data`, whose import takes seconds; a test holds them together."""
NEEDED: dict[str, Check] = {
    "data": _text,
    "data_dir": _text_or_none,
    "validation": _share,
    "image_size": lambda value: value is None or is_whole(value, 1),
    "model": lambda value: isinstance(value, dict) and _text(value.get("class_path")),
    "pixels": lambda value: value in PIXEL_POLICIES,
    "seed": lambda value: is_whole(value, 0),
    "name": _text_or_none,
    "runs_dir": _text,
}
"""What every config.yaml holds, and what is usable there."""
NEEDED_OF_RUN: dict[str, Check] = {
    "image_shape": lambda value: isinstance(value, list) and len(value) == 3 and all(is_whole(n, 1) for n in value),
    "class_names": lambda value: isinstance(value, list) and len(value) > 0 and all(map(_text, value)),
}
"""The same of its section "run"."""


def read_config(folder: RunFolder) -> dict[str, Any]:
    """Read a run's config.yaml.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If it is not a run's configuration, was changed, or is one of a newer version of pyrovae.
    """
    path = folder.config
    if not path.is_file():
        there = "is no folder" if folder.path.exists() else "does not exist"
        what = "holds no config.yaml: it is no run of pyrovae" if folder.path.is_dir() else there
        if folder.last_weights.is_file():
            raise FileNotFoundError(
                f"{folder.path} holds no config.yaml, as a training in Python writes none: build the model again and "
                f"give it the weights, model.load_state_dict(safetensors.torch.load_file('{folder.last_weights}'))"
            )
        raise FileNotFoundError(f"{folder.path} {what}; runs are folders that {command_line('train')} made")
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    run = raw.get("run") if isinstance(raw, dict) else None
    if not isinstance(run, dict) or not is_whole(run.get("format"), 1):
        raise ValueError(f"{path} has no section 'run' with a format: it is not the configuration of a run of pyrovae")
    if run["format"] > FORMAT:
        raise ValueError(
            f"{path} was written by pyrovae {run.get('pyrovae')!s:.40}, newer than this {version('pyrovae')}: "
            f"upgrade with pip install -U pyrovae"
        )
    lost = [name for name, is_usable in NEEDED.items() if name not in raw or not is_usable(raw[name])]
    lost += [f"run.{name}" for name, is_usable in NEEDED_OF_RUN.items() if name not in run or not is_usable(run[name])]
    if lost:
        raise ValueError(f"{path} has no usable {', '.join(lost)}: put back the file that the training wrote")
    _check_digest(path, raw)
    return renewed(raw)


def _check_digest(path: Path, raw: dict[str, Any]) -> None:
    """Refuse settings that are not those that the training wrote; in a file of the first format nobody can know."""
    run = raw["run"]
    given = run.get("digest")
    own = {name: value for name, value in run.items() if name != "digest"}
    if (given is not None or run["format"] > 1) and given != digest({**raw, "run": own}):
        raise ValueError(
            f"{path} is not as the training wrote it, by its digest: put that file back, or, if the change is meant, "
            f"take the line 'digest' out of it and write 'format: 1'"
        )
