"""The only place where a string becomes a class: for the command line and for stored runs."""

from typing import TYPE_CHECKING

from pyrovae.lazy import exported

if TYPE_CHECKING:
    from pyrovae.factory.build import build_model, build_trainer, instantiate
    from pyrovae.factory.names import part_names
    from pyrovae.factory.parser import Parser, training_parser

__all__ = ["Parser", "build_model", "build_trainer", "instantiate", "part_names", "training_parser"]

__getattr__, __dir__ = exported(
    __name__,
    {
        "pyrovae.factory.build": ("build_model", "build_trainer", "instantiate"),
        "pyrovae.factory.names": ("part_names",),
        "pyrovae.factory.parser": ("Parser", "training_parser"),
    },
)
