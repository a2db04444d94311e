"""From a command line and YAML to objects: the only place where a string becomes a class."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import SUPPRESS, ActionConfigFile, ArgumentParser, Namespace
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.data import ImageSet
from pyrovae.data.images import VALIDATION_SHARE
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import choose_device, seeded
from pyrovae.shapes import ImageShape
from pyrovae.training import Interrupted, RunFolder, Trainer
from pyrovae.training.files import replace_text
from pyrovae.training.run_folder import free_name, load_weights

FORMAT = 1
"""Version of config.yaml; a file of a newer one is refused."""

CHANGEABLE = {"epochs", "patience", "device", "engine", "data_dir", "checkpoint_every", "tensorboard", "progress"}
"""Settings that may differ when a run is resumed."""

_BASES: dict[str, type] = {
    "model": LatentVariableModel,
    "prior": priors.Prior,
    "likelihood": likelihoods.Likelihood,
    "posterior": posteriors.Posterior,
    "encoder": networks.Encoder,
    "decoder": networks.Decoder,
    "activation": torch.nn.Module,
    "optimizer": Optimizer,
    "scheduler": LRScheduler,
}
_OURS = ("pyrovae.", "torch.", "pyro.")


# -- the command line ----------------------------------------------------------------------------------------------


class Parser(ArgumentParser):
    """A parser whose errors are one line with the nearest name and what there is."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with status 2."""
        fail(_clear(message, [name for action in self._actions for name in action.option_strings]))


def fail(message: str) -> NoReturn:
    """Print one line to standard error and exit with status 2."""
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def run_command(command: Callable[[], None]) -> None:
    """Run a script's main function; what the user got wrong ends in one line and exit status 2."""
    # A script's own folder is on the path; the user's own parts are in the current one.
    sys.path.append(str(Path.cwd()))
    try:
        command()
    except Interrupted as stopped:
        raise SystemExit(128 + stopped.args[0]) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        fail(str(error))


def training_parser(description: str | None = None) -> Parser:
    """The parser of a training: data, model, every setting of `Trainer`, and where the run goes."""
    parser = Parser(description=description)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of settings; --print_config prints one.")
    parser.add_argument(
        "--data",
        default="auto",
        help="Image set: auto (MNIST where it is at hand, else digits), mnist, fashion-mnist, kmnist, emnist:SPLIT, "
        "celeba:ATTRIBUTE, digits (8x8, embedded), folder:PATH.",
    )
    parser.add_argument(
        "--data_dir",
        type=str | None,
        default=None,
        help="Folder where image sets are found or put; by default $PYROVAE_DATA, else a cache folder.",
    )
    parser.add_argument(
        "--validation",
        type=int | float,
        default=round(VALIDATION_SHARE, 4),
        help="Share (below 1) or number of the training images that are kept for validation.",
    )
    parser.add_argument(
        "--image_size",
        type=int | None,
        default=None,
        help="Side in pixels that images of celeba (default 64) or of a folder (default: as they are) are scaled to.",
    )
    parser.add_subclass_arguments(
        LatentVariableModel,
        "model",
        skip={"image_shape", "num_classes"},
        instantiate=False,
        default={"class_path": "pyrovae.models.VAE"},
        help="VAE, CVAE, Autoencoder or a class of your own; see --model.help VAE.",
    )
    parser.add_class_arguments(Trainer)
    parser.add_argument("--name", type=str | None, default=None, help="Name of the run; by default from data, model.")
    parser.add_argument("--runs_dir", type=str, default="runs", help="Folder that run folders are in.")
    parser.add_argument("--overwrite", type=bool, default=False, help="Whether a run of the same name may be replaced.")
    parser.add_argument("--resume", type=str | None, default=None, help="Run folder to go on with, such as runs/NAME.")
    parser.add_argument("--tensorboard", type=bool, default=False, help="Whether to write TensorBoard events too.")
    parser.add_argument("--progress", type=bool, default=True, help="Whether to show progress.")
    parser.add_argument("--run", type=dict | None, default=None, help=SUPPRESS)
    return parser


def parse_training(argv: Sequence[str] | None = None, description: str | None = None) -> Namespace:
    """Parse the command line of a training; `--resume RUN` brings the settings of that run.

    Options may be written with dashes or underscores. What is wrong ends in one line and exit status 2.

    Raises:
        ValueError: If the run to resume has no usable config.yaml, or a setting differs that must not.
    """
    arguments = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    parser = training_parser(description)
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


def _underscored(word: str) -> str:
    """`--data-dir=x-y` as `--data_dir=x-y`; anything that is no long option as it is."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _clear(message: str, options: list[str]) -> str:
    """Say in one line what jsonargparse says in many: the nearest name, and what there is."""
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown:
        name = unknown[1].partition("=")[0]
        return f"there is no option {name}{_nearest(name, options)}; --help lists them all"
    slots = re.findall(r'[Kk]ey "([\w.]+)"', message)
    slot = slots[-1].rpartition(".")[2] if slots else ""
    classes = re.findall(r"class_path[ =]'([\w.]+)'", message)
    argument = re.search(r"Option '([\w.]+)' is not accepted", message)
    if argument and classes:
        names = _arguments(classes[-1])
        short = classes[-1].rpartition(".")[2]
        listed = ", ".join(names) or "none"
        return f"{short} has no argument {argument[1]!r}{_nearest(argument[1], names)}; it takes: {listed}"
    part = re.search(r"Expected a dot import path string: (\S+)", message)
    if part and slot in _BASES:
        names = part_names(slot)
        listed = ", ".join(names) if slot != "activation" else "any module of torch.nn"
        return (
            f"there is no {slot} {part[1]!r}{_nearest(part[1], names)}; there are: {listed}; "
            f"or module.Class of your own"
        )
    choices = re.search(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (\S+)", message)
    if choices:
        names = re.findall(r"'([^']+)'", choices[1])
        return f"{slot} must be one of {', '.join(names)}, got {choices[2]!r}{_nearest(choices[2], names)}"
    given = re.search(r"Given value: (\S+)", message) or re.search(r"Got value: (\S+)", message)
    kinds = list(dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", message)))
    if slot and given and kinds:
        wanted = " or ".join("none" if kind == "NoneType" else kind for kind in kinds)
        return f"{slot} must be {wanted}, got {given[1]!r}"
    return message.replace("Parser key", "option")


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    found = [n for n in names if close and n.lower() == close[0]]
    return f"; did you mean {found[0]}?" if found else ""


def part_names(slot: str) -> list[str]:
    """Names of the classes that a slot of the command line takes: "prior", "model", "optimizer" and so on."""
    base = _BASES[slot]
    found = [base]
    for cls in found:
        found += [sub for sub in cls.__subclasses__() if sub not in found]
    home = base.__module__.partition(".")[0]
    return sorted({c.__name__ for c in found[1:] if c.__module__.startswith(home) and not c.__name__.startswith("_")})


def _arguments(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    cls = getattr(import_module(module), name)
    supplied = {"self", "image_shape", "num_classes"}
    if not issubclass(cls, LatentVariableModel):
        supplied |= {"shapes", "encoder", "decoder", "params", "optimizer"}
    if issubclass(cls, networks.Decoder):
        supplied.add("channels")
    return [name for name in inspect.signature(cls.__init__).parameters if name not in supplied]


# -- building ------------------------------------------------------------------------------------------------------


def build_model(section: Namespace, image_shape: ImageShape, num_classes: int, seed: int) -> LatentVariableModel:
    """Build the model of a configuration, its weights drawn from `seed`.

    Args:
        section: The parser's `model`: a class path, and init_args with the factories of its parts.
        image_shape: Channels, height and width of the images.
        num_classes: Number of classes of the images.
        seed: Seed of the initial weights.
    """
    module, _, name = section.class_path.rpartition(".")
    cls = getattr(import_module(module), name)
    arguments = dict(section.get("init_args") or {})
    if "num_classes" in inspect.signature(cls.__init__).parameters:
        arguments["num_classes"] = num_classes
    with seeded(seed):
        return cls(image_shape=image_shape, **arguments)


def build_trainer(settings: Namespace) -> Trainer:
    """The trainer that an instantiated configuration describes."""
    return Trainer(**{field.name: settings[field.name] for field in fields(Trainer)})


def instantiate(config: Namespace) -> Namespace:
    """Turn a parsed configuration's class paths into factories and objects."""
    return training_parser().instantiate(config)


# -- a run's configuration -----------------------------------------------------------------------------------------


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
    pixels: str
    data_dir: str | None
    validation: float | int
    image_size: int | None


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
    saved.pop("config", None)
    run = {
        "format": FORMAT,
        "pyrovae": version("pyrovae"),
        "torch": str(torch.__version__),
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
    }
    text = training_parser().dump(saved, skip_unset=False)
    replace_text(folder.config, text + yaml.safe_dump({"run": run}, sort_keys=False))
    return folder


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
    foreign = sorted({p.rpartition(".")[0] for p in _class_paths(raw["model"]) if not p.startswith(_OURS)})
    if foreign and not allow_code:
        raise ValueError(
            f"{folder.path} needs code that is not pyrovae's: {', '.join(foreign)}; "
            f"if you trust it, pyrovae.load({str(path)!r}, allow_code=True) imports it"
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LatentVariableModel, "model", skip={"image_shape", "num_classes"}, instantiate=False)
    section = parser.instantiate(parser.parse_object({"model": raw["model"]})).model
    model = build_model(section, tuple(raw["run"]["image_shape"]), len(raw["run"]["class_names"]), raw["seed"])
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
