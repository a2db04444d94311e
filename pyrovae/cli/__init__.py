"""Commands: one file each, their shared options once."""

from pyrovae.cli.command import run_command

__all__ = ["run_command"]
