"""Names of older versions, in config files and on the command line, and the present ones."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pyrovae.factory.yaml_file import parse_yaml

OLD_CLASSES: dict[str, str] = {}
"""Class paths, by their old path."""

OLD_ARGUMENTS: dict[str, dict[str, str]] = {"pyrovae.priors.GaussianMixture": {"spread": "init_scale"}}
"""Arguments of each class, by their old name."""

OLD_OPTIONS = {"--model.prior.spread": "--model.prior.init_scale"} | {
    f"--data.{name}": f"--data_{name}" for name in ("label", "labels", "scaling", "skip")
}
"""Options of the command line, by their old name; and options of `--data`, which is one word and has none below it."""


def renewed(node: Any) -> Any:
    """A configuration, in plain containers, with the present names."""
    if isinstance(node, list):
        return [renewed(value) for value in node]
    if not isinstance(node, dict):
        return node
    found = {name: renewed(value) for name, value in node.items()}
    if isinstance(found.get("class_path"), str):
        found["class_path"] = OLD_CLASSES.get(found["class_path"], found["class_path"])
        names = OLD_ARGUMENTS.get(found["class_path"], {})
        if isinstance(found.get("init_args"), dict):
            found["init_args"] = {names.get(name, name): value for name, value in found["init_args"].items()}
    return found


def renewed_words(words: Sequence[str]) -> list[str]:
    """A command line with the present names, in its options and in its config files."""
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--config" and equals:
            value = _renewed_file(value)
        elif found and found[-1] == "--config":
            name = _renewed_file(name) if not equals else name
        found.append(OLD_OPTIONS.get(name, name) + equals + value)
    return found


def _renewed_file(path: str) -> str:
    """The path of a file of settings, or its text if that had to be changed.

    Raises:
        ValueError: If it is a pipe or a device, no YAML, holds no settings, or grows when it is read.
    """
    file = Path(path)
    try:
        if file.exists() and not (file.is_file() or file.is_dir() or file.samefile(os.devnull)):  # it may have no end
            raise ValueError(
                f"config must be a file of settings (YAML) that can be read, got {path!r}, a pipe or a device: "
                f"write the settings into a file"
            )
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # the parser says what is wrong with it
        return path
    try:
        before = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path} is no file of settings: {error}") from error
    if before is None:  # it is empty, or all comments
        return "{}"
    if not isinstance(before, dict):
        what = f"lines such as 'epochs: 10', and holds {before!r:.40}"
        raise ValueError(f"{path} is no file of settings, which has {what}")
    after = renewed(before)
    return path if after == before else yaml.safe_dump(after, sort_keys=False)
