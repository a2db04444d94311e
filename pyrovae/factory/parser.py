"""The command line of a training, and the objects that it describes."""

from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

from jsonargparse import SUPPRESS, ActionConfigFile, ArgumentParser, DefaultHelpFormatter, Namespace

from pyrovae.checks import check_value
from pyrovae.data.images import VALIDATION_SHARE
from pyrovae.data.scaling import ScalingPolicy
from pyrovae.factory.mistakes import clear
from pyrovae.models import LatentVariableModel
from pyrovae.program import fail
from pyrovae.training import Trainer


class _AsWritten(DefaultHelpFormatter):
    """Keeps the lines of a description: the examples stand as they were written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.strip().splitlines(keepends=True))


class Parser(ArgumentParser):
    """A parser whose errors are one line with the nearest name and what there is, and whose numbers have ranges.

    The type of what `add_option` adds may be one of `pyrovae.checks`, such as `Count`, or a list of these. A list is
    not empty, unless that is its default.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._rules: dict[str, Any] = {}
        self._checks: list[Callable[[Namespace], None]] = []
        super().__init__(*args, **{"formatter_class": _AsWritten, **kwargs})

    def add_option(self, name: str, *, type: Any, **settings: Any) -> None:
        """Add an option, or a word without a name; the settings are those of `add_argument`."""
        self._rules[name.removeprefix("--")] = type
        self.add_argument(name, type=_plain(type), **settings)

    def add_check(self, check: Callable[[Namespace], None]) -> None:
        """Add a function that raises a ValueError if options are wrong together, or with what is on the disk."""
        self._checks.append(check)

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """Parse, and check ranges."""
        found = super().parse_args(*args, **kwargs)
        try:
            for name, rule in self._rules.items():
                value = found.get(name)
                if value == [] and self.get_default(name) != []:
                    raise ValueError(f"{name} must be a list of at least one value, got []")
                if rule != _plain(rule):
                    check_value(name, value, rule)
            for check in self._checks:
                check(found)
            if found.get("style"):
                from pyrovae.plots import use_style  # matplotlib takes a quarter of a second

                use_style(found.style)
        except ValueError as error:
            self.error(str(error))
        return found

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with status 2."""
        fail(clear(message, [name for action in self._actions for name in action.option_strings]))


def _plain(kind: Any) -> Any:
    """A type without ranges, as jsonargparse knows it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _plain(arguments[0])
    if origin in (Union, UnionType):
        return Union[tuple(_plain(each) for each in arguments)]  # noqa: UP007 - of a tuple
    if origin in (list, tuple):
        return origin[tuple(_plain(each) for each in arguments)]
    return kind


def training_parser(description: str | None = None) -> Parser:
    """The parser of a training: data, model, all settings of `Trainer`, and the run folder."""
    parser = Parser(description=description)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of settings; --print_config prints one.")
    parser.add_argument(
        "--data",
        type=str,
        default="auto",
        help="Image set: auto (MNIST where it is at hand, else digits), mnist, fashion-mnist, kmnist, emnist:SPLIT, "
        "celeba:ATTRIBUTE, digits (8x8, embedded), folder:PATH, pack:FOLDER (written by pack), "
        "fonts:auto, shapes; or values: table:FILE (CSV, Parquet, .npy, .npz), "
        "array:FILE, sequences:FILE (.npy, .npz).",
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
        default=VALIDATION_SHARE,
        help="Share (below 1) or number of the training images that are kept for validation.",
    )
    parser.add_argument(
        "--image_size",
        type=int | None,
        default=None,
        help="Side in pixels that images of celeba (default 64) or of a folder (default: as they are) are scaled to.",
    )
    parser.add_argument(
        "--data_label", type=str | None, default=None, help="Column (or array in a .npz) that holds the labels."
    )
    parser.add_argument(
        "--data_scaling",
        type=ScalingPolicy,
        default="standard",
        help="How values become x: standard (mean 0 and scale 1), unit (0 to 1) or none (counts).",
    )
    parser.add_argument(
        "--data_labels",
        type=int | None,
        default=None,
        help="How many training images keep their label, drawn by the seed, as many of each class; by default all.",
    )
    parser.add_argument("--data_skip", type=list[str | int | float], default=[], help="Columns that are left out.")
    add_model_arguments(parser)
    parser.add_class_arguments(Trainer)
    parser.set_defaults({"objective": {"class_path": "pyrovae.TraceELBO"}})
    parser.add_argument("--name", type=str | None, default=None, help="Name of the run; by default from data, model.")
    parser.add_argument("--runs_dir", type=str, default="runs", help="Folder that run folders are in.")
    parser.add_argument("--overwrite", type=bool, default=False, help="Whether a run of the same name may be replaced.")
    parser.add_argument("--resume", type=str | None, default=None, help="Run folder to go on with, such as runs/NAME.")
    parser.add_argument("--tensorboard", type=bool, default=False, help="Whether to write TensorBoard events too.")
    parser.add_argument("--progress", type=bool, default=True, help="Whether to show progress.")
    parser.add_argument("--run", type=dict | None, default=None, help=SUPPRESS)
    return parser


def add_model_arguments(parser: ArgumentParser) -> None:
    """Add a model with all arguments of its parts to a parser. Image shape and classes come from the data."""
    parser.add_subclass_arguments(
        LatentVariableModel,
        "model",
        skip={"image_shape", "num_classes"},
        instantiate=False,
        fail_untyped=False,
        default={"class_path": "pyrovae.models.VAE"},
        help="VAE, CVAE, SemiSupervisedVAE, HierarchicalVAE, Autoencoder or a class of your own; see --model.help VAE.",
    )


def underscored(word: str) -> str:
    """`--data-dir=x-y` as `--data_dir=x-y`; all else unchanged."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value
