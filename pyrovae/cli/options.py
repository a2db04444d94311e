"""Options shared by several commands, each declared once."""

from collections.abc import Sequence
from typing import Any, Literal

from pyrovae.checks import Seed
from pyrovae.factory import Parser

SplitName = Literal["train", "validation", "test"]
GraphEngine = Literal["compiled", "graph"]

SHARED: dict[str, dict[str, Any]] = {
    "split": {"type": SplitName, "default": "test", "help": "Which images."},
    "engine": {"type": GraphEngine, "default": "graph", "help": "compiled pays for large jobs."},
    "seed": {"type": Seed, "default": 0, "help": "Seed of everything drawn."},
    "data_dir": {"type": str | None, "default": None, "help": "Folder of the images."},
    "device": {"type": str, "default": "auto", "help": "auto, cpu or cuda."},
    "output": {"type": str | None, "default": None, "help": "Picture; by default in the run's figures."},
}
"""The shared options by name."""


def add_shared(parser: Parser, *names: str, **helps: str) -> None:
    """Add some of the shared options to a parser; keywords give another help text."""
    for name in (*names, *helps):
        parser.add_option(f"--{name}", **SHARED[name] | ({"help": helps[name]} if name in helps else {}))


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
