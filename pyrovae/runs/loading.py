"""Loading of runs: the model, the images, or several runs at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, ArgumentParser

from pyrovae.checks import checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split, keep_labels, load_images
from pyrovae.digests import digest
from pyrovae.factory.build import build_model
from pyrovae.factory.mistakes import clear
from pyrovae.factory.names import OURS
from pyrovae.factory.parser import add_model_arguments
from pyrovae.inference.classes import with_predicted_labels
from pyrovae.models import LatentVariableModel
from pyrovae.runs.config_file import run_info
from pyrovae.runs.scaling_file import check_scaling
from pyrovae.runs.stored import read_config
from pyrovae.runtime import choose_device
from pyrovae.training import RunFolder
from pyrovae.training.weights import load_weights


def load_data(path: str | Path, data_dir: str | None = None) -> ImageSet:
    """Load the images that a run was trained on, with the same splits.

    Args:
        path: The run's folder.
        data_dir: Folder where image sets are found; by default the one that the run was told.

    Raises:
        FileNotFoundError: If the run or its images do not exist.
        ValueError: If the images are no longer those of the run.
    """
    info = run_info(path)
    data = load_images(
        info.data,
        data_dir or info.data_dir,
        validation=info.validation,
        image_size=info.image_size,
        label=info.label,
        scaling=info.scaling,
        skip=info.skip,
    )
    if (data.image_shape, data.class_names) != (info.image_shape, info.class_names):
        raise ValueError(
            f"{path} was trained on images of {info.image_shape} in {len(info.class_names)} classes, and {info.data} "
            f"now has {data.image_shape} in {data.num_classes}: give the folder of the old ones (--data_dir)"
        )
    check_scaling(RunFolder(Path(path)), data)
    return data if info.labels is None else keep_labels(data, info.labels, info.seed)


@dataclass(frozen=True, eq=False)
class Run:
    """A loaded run: model, images and settings.

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

    @property
    def rows(self) -> str:
        """What its images are, in words: the name of the set and, of values, how they were scaled."""
        scaling = self.data.scaling
        if scaling is None:
            return self.data.name
        numbers = [f"{value:.6g}" for value in (*scaling.shift.flatten(), *scaling.scale.flatten())]
        return f"{self.data.name} scaled by {scaling.policy} ({digest([*scaling.columns, *numbers])[-6:]})"

    def split(self, name: str) -> Split:
        """Images of a split, binarised once as the run was trained; hidden labels as the model predicts them."""
        return with_predicted_labels(self.model, fixed_split(self.data.split(name), self.pixels))

    def true_labels(self, name: str) -> Split:
        """The same images as far as their labels are known.

        Raises:
            NotApplicable: If none is.
        """
        known = self.data.split(name).with_known_labels()
        if not len(known):
            hidden = len(self.data.splits[name])
            raise NotApplicable(
                f"the labels of all {hidden:,} {name} images are hidden from this run, so there is no truth to compare "
                f"with: look at another split ({'--split test' if name != 'test' else '--split train'})"
            )
        return fixed_split(known, self.pixels)


def analysis_device(name: str = "auto") -> str:
    """The name of the device of an analysis: "auto" is CUDA if there is one, otherwise the CPU.

    Raises:
        ValueError: If the device cannot do it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("mps"):  # analyses sum in float64, which Apple's MPS has not
        raise ValueError(f"an analysis needs float64, which Apple's MPS has not: the device must be cpu, got {name!r}")
    return name


def open_run(path: str | Path, data_dir: str | None = None, device: str = "auto", *, allow_code: bool = True) -> Run:
    """Load a run's model and its images. On a command line the user names the run, so its code is trusted."""
    model = load(path, device=analysis_device(device), allow_code=allow_code)
    return Run(Path(path), model, load_data(path, data_dir), run_info(path).pixels)


def open_runs(paths: Sequence[str | Path], data_dir: str | None = None, device: str = "auto") -> list[Run]:
    """Load several runs of the same images.

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
    runs = [open_run(path, data_dir, device) for path in paths]
    for run, info in zip(runs, infos, strict=True):
        _check_alike(runs[0], run, infos[0].label, info.label)
    return runs


def _check_alike(first: Run, other: Run, label: str | None, other_label: str | None) -> None:
    """Refuse runs whose values are in other units, or whose labels mean something else to a model that reads them.

    Raises:
        ValueError: If they are.
    """
    if first.rows != other.rows:
        raise ValueError(
            f"runs are looked at together on the same values: {first.path} is of {first.rows} and {other.path} of "
            f"{other.rows}; train both with the same columns, scaling and validation rows"
        )
    read = first.model.shapes.num_classes or other.model.shapes.num_classes
    if read and (label, first.data.class_names) != (other_label, other.data.class_names):
        raise ValueError(
            f"runs are looked at together with the same labels: those of {first.path} are {label or 'none'} and those "
            f"of {other.path} {other_label or 'none'}; train both with the same --data_label"
        )


@checked
def load(
    path: str | Path, *, which: str | None = None, device: str = "cpu", allow_code: bool = False
) -> LatentVariableModel:
    """Load the model of a run. It needs no data set and no training; nothing is unpickled.

    Args:
        path: The folder of a run of `pyrovae train`, whose settings rebuild the model.
        which: "best" (on the validation images) or "last" weights; by default the best where there are any.
        device: Where the model shall live: "cpu", "cuda", "mps" or "auto".
        allow_code: Whether modules other than pyrovae, torch and pyro, which the run names, may be imported.

    Returns:
        The model, in evaluation mode.

    Raises:
        FileNotFoundError: If the run or its weights do not exist.
        ValueError: If a file is damaged, or the run needs code that is not allowed.
    """
    if which not in (None, "best", "last"):
        raise ValueError(f"which must be 'best' or 'last', got {which!r}")
    folder = RunFolder(Path(path))
    raw = read_config(folder)
    _import_foreign(folder, raw, allow_code)
    model = _described(folder, raw)
    best = which == "best" or (which is None and folder.best_weights.exists())
    load_weights(folder.best_weights if best else folder.last_weights, model)
    return model.to(choose_device(device)).eval()


def _import_foreign(folder: RunFolder, raw: dict[str, Any], allow_code: bool) -> None:
    """Import the modules that a run names and that are not ours, if that is allowed.

    Raises:
        ValueError: If it is not, or one cannot be imported.
    """
    foreign = sorted({p.rpartition(".")[0] for p in _class_paths(raw["model"]) if not p.startswith(OURS)} - {""})
    if foreign and not allow_code:
        raise ValueError(
            f"{folder.path} needs code that is not pyrovae's: {', '.join(foreign)}; "
            f"if you trust it, pyrovae.load({str(folder.path)!r}, allow_code=True) imports it"
        )
    for module in foreign:
        try:
            import_module(module)
        except ImportError as error:
            raise ValueError(
                f"{folder.path} needs the module {module}, which cannot be imported ({error}): run this from the "
                f"folder that holds it, or put that folder on PYTHONPATH"
            ) from error


def _described(folder: RunFolder, raw: dict[str, Any]) -> LatentVariableModel:
    """The model that a run's settings describe, with weights drawn from its seed.

    Raises:
        ValueError: If they describe none.
    """
    parser = ArgumentParser(exit_on_error=False)
    add_model_arguments(parser)
    try:
        section = parser.instantiate(parser.parse_object({"model": raw["model"]})).model
        return build_model(section, raw["run"]["image_shape"], len(raw["run"]["class_names"]), raw["seed"])
    except (ArgumentError, TypeError, ValueError, AttributeError, ImportError) as error:
        reason = " ".join(clear(str(error), []).split())
        raise ValueError(f"{folder.config} describes no model of this pyrovae: {reason}") from error


def _class_paths(node: object) -> list[str]:
    """Every class path in a configuration."""
    if isinstance(node, dict):
        own = [node["class_path"]] if isinstance(node.get("class_path"), str) else []
        return own + [path for value in node.values() for path in _class_paths(value)]
    if isinstance(node, list):
        return [path for value in node for path in _class_paths(value)]
    return []
