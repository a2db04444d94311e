"""The config.yaml of a run: written, read back, and a model built from it."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from pyrovae.config.mistakes import check_arguments, clear
from pyrovae.config.names import OURS, explain
from pyrovae.config.parser import add_model_arguments, build_model, training_parser, underscored
from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split, load_images
from pyrovae.files import replace_text
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import choose_device
from pyrovae.shapes import ImageShape
from pyrovae.training import RunFolder
from pyrovae.training.run_folder import free_name, load_weights

FORMAT = 1
"""Version of config.yaml; a file of a newer one is refused."""

NEEDED = {"data", "data_dir", "validation", "image_size", "model", "pixels", "seed", "name", "runs_dir"}
NEEDED_OF_RUN = {"image_shape", "class_names"}
"""What every config.yaml holds, and its section "run"."""

CHANGEABLE = {"epochs", "patience", "device", "engine", "data_dir", "checkpoint_every", "tensorboard", "progress"}
"""Settings that may differ when a run is resumed."""


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
    """

    data: str
    image_shape: ImageShape
    class_names: tuple[str, ...]
    pixels: PixelPolicy
    data_dir: str | None
    validation: float | int
    image_size: int | None


def parse_training(argv: Sequence[str] | None = None, description: str | None = None) -> Namespace:
    """Parse the command line of a training; `--resume RUN` brings the settings of that run.

    Options may be written with dashes or underscores. What is wrong ends in one line and exit status 2.

    Raises:
        ValueError: If the run to resume has no usable config.yaml, or a setting differs that must not.
    """
    arguments = [underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    parser = training_parser(description)
    explanation = explain(arguments)
    if explanation:
        print(explanation)
        raise SystemExit(0)
    check_arguments(parser.get_defaults(), arguments)
    config = parser.parse_args(arguments)
    if config.resume is None:
        return config
    folder = RunFolder(Path(config.resume))
    saved = parser.parse_object(read_config(folder))
    resumed = parser.parse_args(["--config", str(folder.config), *arguments])
    before, after = (parser.dump(c, skip_unset=False).splitlines() for c in (saved, resumed))
    ignored = (*CHANGEABLE, "resume", "config")
    changed = [
        new.strip()
        for old, new in zip(before, after, strict=False)
        if old != new and not new.startswith(tuple(f"{name}:" for name in ignored))
    ]
    if changed or len(before) != len(after):
        raise ValueError(
            f"a resumed run keeps its settings, and here {', '.join(changed[:3]) or 'some'} would change: "
            f"leave that out (only {', '.join(sorted(CHANGEABLE))} may differ), or train a new run"
        )
    return resumed


def create_run(config: Namespace, data: ImageSet) -> RunFolder:
    """Make the folder of a new run, with the config.yaml that rebuilds it.

    Raises:
        ValueError: If a folder of that name is there already.
    """
    model = config.model.class_path.rpartition(".")[2].lower()
    automatic = f"{re.sub(r'[^0-9A-Za-z]+', '-', data.name).strip('-')}-{model}-{config.model.init_args.latent_dim}d"
    name = config.name or free_name(Path(config.runs_dir), automatic)
    folder = RunFolder.create(Path(config.runs_dir) / name, overwrite=config.overwrite)
    saved = config.clone()
    saved.name, saved.data, saved.overwrite = name, data.name, False
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
    return raw


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
    )


def load_data(path: str | Path, data_dir: str | None = None) -> ImageSet:
    """Load the images that a run was trained on, cut into the same splits.

    Args:
        path: The run's folder.
        data_dir: Folder where image sets are found; by default the one that the run was told.

    Raises:
        FileNotFoundError: If the run or its images do not exist.
        ValueError: If the images are no longer those of the run.
    """
    info = run_info(path)
    data = load_images(info.data, data_dir or info.data_dir, validation=info.validation, image_size=info.image_size)
    if (data.image_shape, data.class_names) != (info.image_shape, info.class_names):
        raise ValueError(
            f"{path} was trained on images of {info.image_shape} in {len(info.class_names)} classes, and {info.data} "
            f"now has {data.image_shape} in {data.num_classes}: give the folder of the old ones (--data_dir)"
        )
    return data


@dataclass(frozen=True, eq=False)
class OpenRun:
    """A run as the scripts look at it.

    Attributes:
        path: Its folder.
        model: Its model, the best weights.
        data: Its images.
        pixels: How its images became pixels.
    """

    path: Path
    model: LatentVariableModel
    data: ImageSet
    pixels: PixelPolicy

    def split(self, name: str) -> Split:
        """Images of a split, binarised once as the run was trained."""
        return fixed_split(self.data.split(name), self.pixels)


def picture(run: str | Path, output: str | None, name: str) -> Path:
    """Where a script's picture goes: as the user says, or into the run's figures."""
    return Path(output) if output else RunFolder(Path(run)).figures / f"{name}.png"


def analysis_device(name: str = "auto") -> str:
    """The name of the device of an analysis: "auto" is CUDA where there is one and otherwise the CPU.

    Raises:
        ValueError: If the device cannot do it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("mps"):  # analyses sum in float64, which Apple's MPS has not
        raise ValueError(f"an analysis needs float64, which Apple's MPS has not: the device must be cpu, got {name!r}")
    return name


def open_run(
    path: str | Path, data_dir: str | None = None, device: str = "auto", *, allow_code: bool = True
) -> OpenRun:
    """Load a run's model and its images; on a command line the user has said which run, so its code is allowed."""
    model = load(path, device=analysis_device(device), allow_code=allow_code)
    return OpenRun(Path(path), model, load_data(path, data_dir), run_info(path).pixels)


def open_runs(paths: Sequence[str | Path], data_dir: str | None = None) -> list[OpenRun]:
    """Load several runs, to look at the same images with each.

    Raises:
        ValueError: If there are none, or they are of different image sets.
    """
    if not paths:
        raise ValueError("there are no runs to look at: give at least one run folder")
    infos = [run_info(path) for path in paths]
    for path, info in zip(paths, infos, strict=True):
        if (info.data, info.image_shape) != (infos[0].data, infos[0].image_shape):
            raise ValueError(
                f"runs are looked at together on the same images: {paths[0]} is of {infos[0].data} "
                f"{infos[0].image_shape} and {path} of {info.data} {info.image_shape}"
            )
    return [open_run(path, data_dir) for path in paths]


def load(
    path: str | Path, *, which: str | None = None, device: str = "cpu", allow_code: bool = False
) -> LatentVariableModel:
    """Load the model of a run: no data set, no training step, nothing unpickled.

    Args:
        path: The run's folder.
        which: "best" (on the validation images) or "last" weights; by default the best where there are any.
        device: Where the model shall live: "cpu", "cuda", "mps" or "auto".
        allow_code: Whether modules other than pyrovae, torch and pyro, which the run names, may be imported.

    Raises:
        FileNotFoundError: If the run or its weights do not exist.
        ValueError: If a file is damaged, or the run needs code that is not allowed.
    """
    folder = RunFolder(Path(path))
    raw = read_config(folder)
    foreign = sorted({p.rpartition(".")[0] for p in _class_paths(raw["model"]) if not p.startswith(OURS)})
    if foreign and not allow_code:
        raise ValueError(
            f"{folder.path} needs code that is not pyrovae's: {', '.join(foreign)}; "
            f"if you trust it, pyrovae.load({str(path)!r}, allow_code=True) imports it"
        )
    for module in foreign:
        try:
            import_module(module)
        except ImportError as error:
            raise ValueError(
                f"{folder.path} needs the module {module}, which cannot be imported ({error}): run this from the "
                f"folder that holds it, or put that folder on PYTHONPATH"
            ) from error
    parser = ArgumentParser(exit_on_error=False)
    add_model_arguments(parser)
    try:
        section = parser.instantiate(parser.parse_object({"model": raw["model"]})).model
    except ArgumentError as error:
        reason = " ".join(clear(str(error), []).split())
        raise ValueError(f"{folder.config} describes no model of this pyrovae: {reason}") from error
    model = build_model(section, raw["run"]["image_shape"], len(raw["run"]["class_names"]), raw["seed"])
    if which not in (None, "best", "last"):
        raise ValueError(f"which must be 'best' or 'last', got {which!r}")
    best = which == "best" or (which is None and folder.best_weights.exists())
    load_weights(folder.best_weights if best else folder.last_weights, model)
    return model.to(choose_device(device)).eval()


def _class_paths(node: object) -> list[str]:
    """Every class path in a configuration."""
    if isinstance(node, dict):
        own = [node["class_path"]] if isinstance(node.get("class_path"), str) else []
        return own + [path for value in node.values() for path in _class_paths(value)]
    if isinstance(node, list):
        return [path for value in node for path in _class_paths(value)]
    return []
