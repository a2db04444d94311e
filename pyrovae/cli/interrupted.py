"""Ctrl-C at any moment of a command, its imports too, in one line."""

import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn


def end_quietly() -> NoReturn:
    """Say that the command was stopped, and exit with status 130, deaf for any more of the same."""
    _say()
    raise SystemExit(130)


def say_instead_of_traceback() -> None:
    """Have an interrupt that nobody catches, such as one during an import, end in one line."""
    usual = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            _say()
        else:
            usual(kind, error, trace)

    sys.excepthook = hook


def ignore_interrupts() -> None:
    """Be deaf for Ctrl-C on the way out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _say() -> None:
    ignore_interrupts()
    print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
