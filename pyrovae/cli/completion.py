"""Print the completion of a shell: names of commands and of their options, files, and values of which there are few.

pyrovae completion bash > ~/.local/share/bash-completion/completions/pyrovae
pyrovae completion zsh > ~/.zfunc/_pyrovae

The script knows all that it offers and starts no Python, so that it answers at once. Write it anew after an update.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from jsonargparse import ArgumentParser

from pyrovae.cli.commands import COMMANDS
from pyrovae.factory import Parser
from pyrovae.factory.names import BASES, arguments_of, part_classes, part_names


class _Found(BaseException):
    """The parser of a command, thrown where it would parse."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


@contextmanager
def _stopped_before_parsing() -> Iterator[None]:
    """Commands get as far as their parser."""

    def stop(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        raise _Found(parser)

    words, kept = sys.argv, {cls: cls.parse_args for cls in (Parser, argparse.ArgumentParser)}
    sys.argv = ["pyrovae"]
    for cls in kept:
        cls.parse_args = stop  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        sys.argv = words
        for cls, parse in kept.items():
            cls.parse_args = parse  # type: ignore[method-assign]


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    module = import_module(f"pyrovae.cli.{COMMANDS[name].module}")
    try:
        with _stopped_before_parsing():
            module.main(None)
    except _Found as found:
        return found.parser
    raise AssertionError(f"the command {name} has parsed nothing")


def _quick(parser: argparse.ArgumentParser) -> ArgumentParser:
    """The same options in a parser of jsonargparse; commands that must start quickly do without it."""
    same = ArgumentParser()
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            settings: dict[str, Any] = {"choices": action.choices} if action.choices else {}
            same.add_argument(*(action.option_strings or [action.dest]), help=action.help, **settings)
    return same


def _with_parts(parser: ArgumentParser) -> ArgumentParser:
    """The parser of a training with the names of parts and their arguments as plain options.

    What jsonargparse would find by itself are the arguments of all classes that may stand in each other's place. Some,
    such as the activations of torch, are so many that it does not end.
    """
    slots = [action.dest for action in parser._actions if action.dest in BASES]
    for name in [*slots, *(f"model.{slot}" for slot in ("prior", "likelihood", "posterior", "encoder", "decoder"))]:
        slot = name.rpartition(".")[2]
        arguments = {argument for cls in part_classes(slot) for argument in arguments_of(cls)}
        for option in (name, f"{name}.help", *(f"{name}.{argument}" for argument in sorted(arguments - set(BASES)))):
            known = parser._option_string_actions
            action = known.get(f"--{option}") or argparse.ArgumentParser.add_argument(parser, f"--{option}")
            action.choices = part_names(slot) if option in (name, f"{name}.help") else None
    return parser


def script_of(shell: str) -> str:
    """The completion of `pyrovae` for a shell."""
    whole = ArgumentParser(prog="pyrovae")
    commands = whole.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        parser = parser_of(name)
        known = parser if isinstance(parser, Parser) else _quick(parser)
        commands.add_subcommand(name, _with_parts(known) if name == "train" else known, help=command.summary)
    return str(whole.get_completion_script(f"shtab-{shell}"))


def main(description: str | None = None) -> None:
    """Print the script."""
    parser = Parser(description=description)
    parser.add_option("shell", type=Literal["bash", "zsh", "tcsh"], help="The shell: bash, zsh or tcsh.")
    options = parser.parse_args()
    if find_spec("shtab") is None:
        raise ValueError(
            "completion needs the package shtab, which is not installed: pip install 'pyrovae[completion]'"
        )
    print(script_of(options.shell))
