"""Options shared by several commands, each declared once."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from jsonargparse import Namespace

from pyrovae.checks import Count, Seed, Within
from pyrovae.factory import Parser
from pyrovae.plots import Figure, save_figure
from pyrovae.plots.style import FILE_FORMATS
from pyrovae.training import RunFolder

SplitName = Literal["train", "validation", "test"]
GraphEngine = Literal["compiled", "graph"]
Side = Annotated[float, Within(1, 100)]
"""Of a picture, in inches."""
MOST_PIXELS = 2 * 10**8
"""Of a picture, whose drawing takes eight bytes for each."""
FigureFormat = Literal["png", "svg", "pdf"]

TRAININGS = "Trainings at a time on this machine; by default one a core."
"""What --workers is where runs are trained."""

SHARED: dict[str, dict[str, Any]] = {
    "split": {"type": SplitName, "default": "test", "help": "Images to use: train, validation or test."},
    "engine": {"type": GraphEngine, "default": "graph", "help": "compiled is faster for large jobs only."},
    "seed": {"type": Seed, "default": 0, "help": "Seed of all random draws."},
    "data_dir": {"type": str | None, "default": None, "help": "Folder of the image sets; by default as in training."},
    "device": {"type": str, "default": "auto", "help": "auto, cpu or cuda."},
    "workers": {"type": Count | None, "default": None, "help": "Number of processes on this machine."},
    "cluster": {
        "type": str | None,
        "default": None,
        "help": "Address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers do it instead.",
    },
    "output": {"type": str | None, "default": None, "help": "File of the picture; by default in RUN/figures."},
    "size": {
        "type": tuple[Side, Side] | None,
        "default": None,
        "help": "Width and height of the picture in inches, such as [6,4]; by default what its content needs.",
    },
    "format": {
        "type": FigureFormat | None,
        "default": None,
        "help": "Format of the picture; by default that of --output, or png.",
    },
    "style": {
        "type": str | None,
        "default": None,
        "help": "Style of matplotlib for the picture: a name, such as ggplot, or a file of settings.",
    },
    "dpi": {"type": Annotated[int, Within(10, 1200)], "default": 150, "help": "Resolution, in pixels per inch."},
}
"""The shared options by name."""


def add_shared(parser: Parser, *names: str, **helps: str) -> None:
    """Add some of the shared options to a parser; keywords give another help text."""
    for name in (*names, *helps):
        parser.add_option(f"--{name}", **SHARED[name] | ({"help": helps[name]} if name in helps else {}))


def add_figure(parser: Parser, output: str = SHARED["output"]["help"]) -> None:
    """Add the options of a picture: its file, size, format, style and resolution."""
    add_shared(parser, "size", "format", "style", "dpi", output=output)
    parser.add_check(_check_output)


def _check_output(options: Namespace) -> None:
    """Refuse a file that could not be written, before hours of work are done for it.

    Raises:
        ValueError: If it is of no format of pictures, or lies where nothing can be written.
    """
    if options.output is not None:
        path = Path(options.output)
        if path.suffix not in FILE_FORMATS:
            raise ValueError(f"output must be a file that ends in {', '.join(FILE_FORMATS)}, got {options.output!r}")
    elif "run" in options:
        path = RunFolder(Path(options.run)).figures / "picture"
        if not path.parents[1].is_dir():
            return  # it will be said that there is no such run
    else:
        return
    check_place(path, "output")


def check_place(path: Path, option: str | None = None) -> None:
    """Refuse a place for a file where nothing can be written.

    Args:
        path: The file.
        option: Name of the option by which another place is chosen, if there is one.

    Raises:
        ValueError: If it is a folder or in none, or there is no right to write there.
    """
    cure = f"choose another --{option}" if option else "get that right, or copy the run"
    if path.is_dir():
        raise ValueError(f"{path} is a folder, where a file shall be written: {cure}")
    there = next(parent for parent in path.parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "it is no folder" if not there.is_dir() else "there is no right to write there"
        raise ValueError(f"nothing can be put into {there}: {why}; {cure}")


def figure_path(options: Namespace, name: str, folder: Path | None = None) -> Path:
    """Where a picture goes: the user's choice, or a folder, by default that of the run's figures.

    Raises:
        ValueError: If the user chose a file of another format than the one that was asked for.
    """
    chosen = options.get("output")
    if chosen is None:
        return (folder or RunFolder(Path(options.run)).figures) / f"{name}.{options.format or 'png'}"
    path = Path(chosen)
    if options.format and path.suffix != f".{options.format}":
        raise ValueError(f"--output {chosen} is no file of --format {options.format}: leave one of the two out")
    return path


def save_picture(figure: Figure, path: Path, options: Namespace) -> None:
    """Save a picture in the size and the resolution that were asked for.

    Raises:
        ValueError: If it would have more pixels than fit into memory.
    """
    width, height = (int(side * options.dpi) for side in options.size or figure.get_size_inches())
    if path.suffix == ".png" and width * height > MOST_PIXELS:
        raise ValueError(
            f"a picture has at most {MOST_PIXELS:,} pixels, and this one would have {width:,} × {height:,}: choose a "
            f"smaller --dpi or --size, or --format pdf"
        )
    save_figure(figure, path, size=options.size, dpi=options.dpi)


def run_parser(description: str | None, run: str = "Run folder, such as runs/NAME.") -> Parser:
    """A parser whose first argument is a run folder."""
    parser = Parser(description=description)
    parser.add_option("run", type=str, help=run)
    return parser


def divide_words(words: Sequence[str], own: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into a script's own options, each with its value, and those of a training.

    Args:
        words: The command line.
        own: Names of the script's own options, such as "--betas".

    Returns:
        The words of its own options, and the others.
    """
    mine: list[str] = []
    others: list[str] = []
    value_follows = False
    for word in words:
        named = word.partition("=")[0] in own
        (mine if named or value_follows else others).append(word)
        value_follows = named and "=" not in word
    return mine, others
