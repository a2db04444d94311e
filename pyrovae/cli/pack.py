"""Pack images or values into a folder that is mapped into memory, so that a set of any size can be trained on.

pyrovae pack photos packed --image_size 64
pyrovae pack array:faces.npy faces-packed --labels labels.npy
pyrovae pack dataset:mymodule.Faces faces-packed
pyrovae train --data pack:faces-packed --model.likelihood DiscretizedLogistic
pyrovae pack faces-packed --check true
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pyrovae.checks import Count
from pyrovae.cli.command import repeatable
from pyrovae.cli.options import SHARED
from pyrovae.data import ScalingPolicy, pack
from pyrovae.data.images import VALIDATION_SHARE
from pyrovae.data.manifest import Manifest
from pyrovae.data.packed import check_digests
from pyrovae.factory import Parser
from pyrovae.program import command_line


def _options(description: str | None) -> Namespace:
    """What the command line says."""
    parser = Parser(description=description)
    parser.add_option("source", type=str, help="A name as for --data, a folder, a .npy file, or dataset:MODULE.NAME.")
    parser.add_option("output", type=str | None, nargs="?", default=None, help="Folder of the pack.")
    parser.add_option("--labels", type=str | None, default=None, help="A .npy file of the labels of array:FILE.npy.")
    parser.add_option("--label", type=str | None, default=None, help="Column of labels of a table.")
    parser.add_option("--scaling", type=ScalingPolicy, default="standard", help="How values become x.")
    parser.add_option("--skip", type=list[str | int | float], default=[], help="Columns of a table that are left out.")
    parser.add_option("--image_size", type=Count | None, default=None, help="Side to which images are scaled.")
    parser.add_option("--validation", type=int | float, default=VALIDATION_SHARE, help="Share or number of rows.")
    parser.add_option("--data_dir", **SHARED["data_dir"])
    parser.add_option(
        "--check", type=bool, default=False, help="Compare the digests of the pack SOURCE; write nothing."
    )
    parser.add_option("--progress", type=bool, default=True, help="Whether to show progress.")
    return parser.parse_args()


def main(description: str | None = None) -> None:
    """Pack, or check a pack."""
    options = _options(description)
    if options.check:
        folder = Path(options.source.removeprefix("pack:"))
        check_digests(folder, Manifest.read(folder))
        print(f"{folder} is as it was written")
        return
    if options.output is None:
        raise ValueError(f"OUT, the folder of the pack, must be given: {command_line('pack', options.source, 'OUT')}")
    source = options.source
    family, _, name = source.partition(":")
    if family == "dataset":
        source = _dataset(name)
    loading = {name: getattr(options, name) for name in ("label", "image_size", "data_dir")}
    loading["skip"] = [str(column) for column in options.skip]  # some are named by numbers
    with repeatable("packed"):
        packed = pack(
            source,
            options.output,
            labels=options.labels,
            scaling=options.scaling,
            validation=options.validation,
            progress=options.progress,
            **loading,
        )
    print(f"{packed}\ntrain on it: {command_line('train', '--data', f'pack:{options.output}')}")


def _dataset(name: str) -> Any:
    """A Dataset of the user's own module, or what a class or a function of it makes without arguments.

    Raises:
        ValueError: If there is none.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
        return found() if callable(found) else found
    except Exception as error:  # a module of the user's may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"dataset:MODULE.NAME must name a Dataset, or what makes one without arguments, in a module of the working "
            f"folder, got dataset:{name} ({reason})"
        ) from error
