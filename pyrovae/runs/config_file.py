"""The config.yaml of a run: written, read back, and a model built from it."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace

from pyrovae.data import ImageSet, PixelPolicy, ScalingPolicy
from pyrovae.factory.old_names import renewed
from pyrovae.factory.parser import training_parser
from pyrovae.files import replace_text
from pyrovae.runs.scaling_file import save_scaling
from pyrovae.shapes import ImageShape
from pyrovae.training import RunFolder
from pyrovae.training.run_folder import free_name

FORMAT = 1
"""Version of config.yaml; a file of a newer one is refused."""

NEEDED = {"data", "data_dir", "validation", "image_size", "model", "pixels", "seed", "name", "runs_dir"}
NEEDED_OF_RUN = {"image_shape", "class_names"}
"""What every config.yaml holds, and its section "run"."""


@dataclass(frozen=True)
class RunInfo:
    """What a run's folder knows about its data without the data.

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


def create_run(config: Namespace, data: ImageSet) -> RunFolder:
    """Make the folder of a new run, with the config.yaml that rebuilds it.

    Raises:
        ValueError: If a folder of that name is there already.
    """
    model = config.model.class_path.rpartition(".")[2].lower()
    set_name = data.name if data.scaling is None else Path(data.name.partition(":")[2]).stem
    automatic = f"{re.sub(r'[^0-9A-Za-z]+', '-', set_name).strip('-')}-{model}-{config.model.init_args.latent_dim}d"
    name = config.name or free_name(Path(config.runs_dir), automatic)
    folder = RunFolder.create(Path(config.runs_dir) / name, overwrite=config.overwrite)
    saved = config.clone()
    saved.name, saved.data, saved.overwrite = name, data.name, False
    if data.scaling is not None:
        saved.pixels = "none"  # a policy for grey levels, which values are not
        save_scaling(folder, data.scaling)
    run = {
        "format": FORMAT,
        "pyrovae": version("pyrovae"),
        "torch": str(torch.__version__),
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
    }
    _write_config(folder, saved, run)
    return folder


def continue_run(config: Namespace) -> RunFolder:
    """Keep the settings that a resumed run has changed in its config.yaml."""
    folder = RunFolder(Path(config.resume))
    saved = config.clone()
    saved.resume = None
    _write_config(folder, saved, read_config(folder)["run"])
    return folder


def _write_config(folder: RunFolder, saved: Namespace, run: dict[str, Any]) -> None:
    saved.pop("config", None)
    text = training_parser().dump(saved, skip_unset=False)
    replace_text(folder.config, text + yaml.safe_dump({"run": run}, sort_keys=False))


def read_config(folder: RunFolder) -> dict[str, Any]:
    """Read a run's config.yaml.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If it is not a run's configuration, or one of a newer version of pyrovae.
    """
    if not folder.config.exists():
        what = "holds no config.yaml: it is no run of pyrovae" if folder.path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{folder.path} {what}; runs are folders that scripts/svi_train.py made")
    try:
        raw = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder.config} is damaged: {' '.join(str(error).split())}") from error
    run = raw.get("run") if isinstance(raw, dict) else None
    if not isinstance(run, dict) or not isinstance(run.get("format"), int):
        raise ValueError(f"{folder.config} has no section 'run': it is not the configuration of a run of pyrovae")
    if run["format"] > FORMAT:
        raise ValueError(
            f"{folder.config} was written by pyrovae {run.get('pyrovae')}, newer than this {version('pyrovae')}: "
            f"upgrade with pip install -U pyrovae"
        )
    lost = sorted(NEEDED - raw.keys()) + sorted(f"run.{name}" for name in NEEDED_OF_RUN - run.keys())
    lost += [name for name, kind in (("model", dict), ("seed", int)) if not isinstance(raw.get(name, kind()), kind)]
    if lost:
        raise ValueError(f"{folder.config} has no usable {', '.join(lost)}: put back the file that the training wrote")
    return renewed(raw)


def run_info(path: str | Path) -> RunInfo:
    """What a run's folder says about its data."""
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
        skip=tuple(raw.get("data_skip") or ()),
    )
