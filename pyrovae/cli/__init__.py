"""Commands: one file each, their shared options once."""

from pyrovae.cli.interrupted import say_instead_of_traceback

say_instead_of_traceback()  # before the imports below, which take seconds

from pyrovae.cli.command import run_command  # noqa: E402

__all__ = ["run_command"]
