"""`pyrovae COMMAND`: finds the command and runs it. Nothing here imports torch."""

import os
import sys
from importlib import import_module
from importlib.metadata import version

from pyrovae.cli.commands import COMMANDS, EXAMPLES, GROUPS, Command
from pyrovae.cli.interrupted import end_quietly
from pyrovae.cli.surroundings import end_unread, flush, prepare_streams, working_folder
from pyrovae.hints import nearest
from pyrovae.program import fail, in_words


def main() -> None:
    """Run the command that the first word names; who has read enough of it, such as `head`, ends it quietly."""
    prepare_streams()
    os.environ.pop("MPLBACKEND", None)  # of windows; commands draw into files
    try:
        _main()
        flush()
    except BrokenPipeError:
        end_unread()
    except OSError as error:  # such as a full disk, where the output goes
        fail(in_words(error))


def _main() -> None:
    sys.argv[0] = "pyrovae"
    words = sys.argv[1:]
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return
    if words[0] == "--version":
        print(f"pyrovae {version('pyrovae')}")
        return
    name = words[0].replace("_", "-")
    if name.startswith("-"):
        fail(f"the first word must be a command, such as pyrovae train {words[0]}; got {words[0]}")
    if name not in COMMANDS:
        fail(f"there is no command {words[0]!r}{nearest(name, list(COMMANDS))}; pyrovae --help lists them")
    sys.argv = [f"pyrovae {name}", *words[1:]]
    _run(COMMANDS[name])


def _run(command: Command) -> None:
    """Import a command and run it; user errors end in one line and exit status 2."""
    if not command.quick:
        from pyrovae.cli.command import run_command

        module = import_module(f"pyrovae.cli.{command.module}")
        run_command(module.main, module.__doc__)
        return
    working_folder()
    try:
        module = import_module(f"pyrovae.cli.{command.module}")
        module.main(module.__doc__)
    except KeyboardInterrupt:
        end_quietly()
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        fail(in_words(error))


def _help() -> str:
    """The commands by their groups, and examples."""
    width = max(map(len, COMMANDS))
    lines = ["usage: pyrovae COMMAND [options]", "", "Variational autoencoders as Pyro model/guide pairs."]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {command.summary}" for name, command in group.items())]
    return "\n".join([*lines, "", EXAMPLES])
