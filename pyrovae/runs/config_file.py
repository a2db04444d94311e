"""The config.yaml of a run: written, and what it says of the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace

from pyrovae.checks import checked
from pyrovae.data import ImageSet, PixelPolicy, ScalingPolicy, policy_of
from pyrovae.digests import digest
from pyrovae.factory.parser import training_parser
from pyrovae.factory.yaml_file import parse_yaml
from pyrovae.files import replace_text
from pyrovae.lock import InUseError
from pyrovae.runs.naming import automatic_name, class_name
from pyrovae.runs.scaling_file import scaling_text
from pyrovae.runs.stored import FORMAT, read_config
from pyrovae.shapes import ImageShape
from pyrovae.training import RunFolder
from pyrovae.training.run_folder import TakenError, free_names


@dataclass(frozen=True)
class RunInfo:
    """Description of a run's data, from its folder alone.

    Attributes:
        data: Name of the image set.
        image_shape: Channels, height and width of one image.
        class_names: Names of the classes.
        pixels: How images became pixels; see `pyrovae.data.pixels`.
        data_dir: Folder of the image set as the run was told, or None.
        validation: Share or number of training images that were kept for validation.
        image_size: Side in pixels that images were scaled to, or None.
        label: Column of the labels of a table, or None.
        scaling: How its values were scaled.
        skip: Columns that were left out.
        labels: How many training images kept their label, or None if all did.
        seed: Seed of the training, by which these were drawn.
    """

    data: str
    image_shape: ImageShape
    class_names: tuple[str, ...]
    pixels: PixelPolicy
    data_dir: str | None
    validation: float | int
    image_size: int | None
    label: str | None = None
    scaling: ScalingPolicy = "standard"
    skip: tuple[str, ...] = ()
    labels: int | None = None
    seed: int = 0


@contextmanager
def new_run(config: Namespace, data: ImageSet) -> Iterator[RunFolder]:
    """Make the folder of a new run, with the config.yaml that rebuilds it, and let nobody else write to it meanwhile.

    Raises:
        ValueError: If a run of that name is there already.
    """
    set_name = data.name if data.scaling is None else Path(data.name.partition(":")[2]).stem
    chosen = config.as_dict()
    arguments, objective = chosen["model"].get("init_args") or {}, class_name(chosen["objective"])
    automatic = automatic_name(set_name, str(class_name(chosen["model"])), arguments, objective)
    saved = config.clone()
    saved.data, saved.overwrite = data.name, False
    saved.pixels = policy_of(data, saved.pixels)  # what the images say is a setting of the run
    run = {
        "format": FORMAT,
        "pyrovae": version("pyrovae"),
        "torch": str(torch.__version__),
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
    }
    with ExitStack() as stack:
        yield _made(config, automatic, saved, run, scaling_text(data), stack)


def _made(
    config: Namespace, automatic: str, saved: Namespace, run: dict[str, Any], scaling: str | None, stack: ExitStack
) -> RunFolder:
    """The folder of a new run: of the name that was asked for, or of the first that is free."""
    parent = Path(config.runs_dir)
    for name in [config.name] if config.name else free_names(parent, automatic):
        saved.name = name
        text = _config_text(saved, run)
        making = RunFolder.making(parent / name, text, scaling=scaling, overwrite=config.overwrite)
        try:
            return stack.enter_context(making)
        except (TakenError, InUseError):
            if config.name:
                raise  # otherwise somebody else was faster, and the next name is tried
    raise AssertionError("there are as many names as numbers")


def create_run(config: Namespace, data: ImageSet) -> RunFolder:
    """Make the folder of a new run; see `new_run`."""
    with new_run(config, data) as folder:
        return folder


def continue_run(config: Namespace) -> RunFolder:
    """Keep the settings that a resumed run has changed in its config.yaml, and where it is now if it was moved."""
    folder = RunFolder(Path(config.resume))
    saved = config.clone()
    saved.resume = None
    saved.name, saved.runs_dir = folder.path.resolve().name, str(folder.path.parent)
    if saved.name != folder.path.name:  # such as "."
        saved.runs_dir = str(folder.path.resolve().parent)
    run = read_config(folder)["run"]
    replace_text(folder.config, _config_text(saved, {**run, "format": FORMAT}))
    return folder


def _config_text(saved: Namespace, run: dict[str, Any]) -> str:
    """The text of a config.yaml, its digest before what a file that was cut off would lack."""
    settings = saved.clone()
    settings.pop("config", None)
    text = training_parser().dump(settings, skip_unset=False)
    own = {name: value for name, value in run.items() if name != "digest"}
    content = parse_yaml(text + yaml.safe_dump({"run": own}, sort_keys=False))
    return text + yaml.safe_dump({"run": {"digest": digest(content), **own}}, sort_keys=False)


@checked
def run_info(path: str | Path) -> RunInfo:
    """The description of a run's data, from its folder."""
    raw = read_config(RunFolder(Path(path)))
    run = raw["run"]
    return RunInfo(
        data=raw["data"],
        image_shape=tuple(run["image_shape"]),
        class_names=tuple(run["class_names"]),
        pixels=raw["pixels"],
        data_dir=raw["data_dir"],
        validation=raw["validation"],
        image_size=raw["image_size"],
        label=raw.get("data_label"),
        scaling=raw.get("data_scaling", "standard"),
        skip=tuple(map(str, raw.get("data_skip") or ())),
        labels=raw.get("data_labels"),
        seed=raw["seed"],
    )
