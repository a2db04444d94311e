"""The program on the command line: how it was called, how to call another command of it, and its end in one line."""

import errno
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

SCRIPTS = {"train": "svi_train", "sweep": "beta_sweep", "inspect": "inspect_posterior"}
"""Commands whose script in a clone's folder `scripts` is named otherwise."""
WITHOUT_SCRIPT = ("list", "compare", "completion", "export", "explore")
"""Commands that only `pyrovae` has."""


def script_of(command: str) -> str:
    """The name of a command's script, without its ending."""
    return SCRIPTS.get(command, command.replace("-", "_"))


def is_script() -> bool:
    """Whether this process is one of the scripts of a clone, and not `pyrovae`, a notebook or another program."""
    return Path(sys.argv[0]).absolute().parent.name == "scripts" and sys.argv[0].endswith(".py")


def command_line(command: str, *words: object) -> str:
    """How to call a command, in the way in which this one was called: by its script or as `pyrovae COMMAND`.

    >>> command_line("train", "--resume", "runs/my run")
    "pyrovae train --resume 'runs/my run'"
    """
    program = ["pyrovae", command]
    if is_script() and command not in WITHOUT_SCRIPT:
        program = ["python", str(Path(sys.argv[0]).with_name(f"{script_of(command)}.py"))]
    return shlex.join([*program, *map(str, words)])


def same_again() -> str:
    """The present command line, to be given once more."""
    program = sys.argv[0] if not is_script() else f"python {shlex.quote(sys.argv[0])}"
    return f"{program} {shlex.join(sys.argv[1:])}".rstrip()


CURES = {
    errno.ENOENT: "check how it is written",
    errno.EACCES: "get the right to it, or choose another place",
    errno.EPERM: "get the right to it, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOTDIR: "a part of the path is a file where a folder is needed",
    errno.EISDIR: "give a file",
    errno.EEXIST: "there is a file where a folder is needed: move it, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "links lead in a circle",
}
"""What helps against errors of the system, by their numbers."""


def in_words(error: Exception) -> str:
    """What an error says; of one of the system its file, its reason and what helps, without its number.

    >>> in_words(FileNotFoundError(2, "No such file or directory", "mine.csv"))
    'mine.csv: No such file or directory; check how it is written'
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    reason = "; ".join(filter(None, [str(error.strerror), CURES.get(error.errno or 0)]))
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"


def fail(message: str) -> NoReturn:
    """Print one line to standard error and exit with status 2."""
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)
