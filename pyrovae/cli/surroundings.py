"""What a command finds around it: streams that are closed or know few characters, and a folder that may be gone."""

import io
import os
import sys
from pathlib import Path
from typing import NoReturn

from pyrovae.program import fail


def prepare_streams() -> None:
    """Have every character shown in some way, and no file of a run take the number of a stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the smallest number that is free
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write what was printed, as far as anybody reads it."""
    if sys.stdout is not None:  # closed by whoever called
        sys.stdout.flush()


def end_unread() -> NoReturn:
    """End as SIGPIPE would: who has read enough, such as `head`, has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(128 + 13)


def working_folder() -> str:
    """The present folder; one line and exit status 2 if it was removed."""
    try:
        return str(Path.cwd())
    except OSError:
        fail("the working folder was removed or moved: change to another one (cd)")
