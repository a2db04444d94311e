"""Commands: one file each, their shared options once."""

from typing import TYPE_CHECKING

from pyrovae.cli.interrupted import say_instead_of_traceback
from pyrovae.lazy import exported

if TYPE_CHECKING:
    from pyrovae.cli.command import run_command

__all__ = ["run_command"]

say_instead_of_traceback()  # before imports that take seconds
__getattr__, __dir__ = exported(__name__, {"pyrovae.cli.command": ("run_command",)})
