"""The only place where a string becomes a class: for the command line and for stored runs."""

from pyrovae.factory.build import build_model, build_trainer, instantiate
from pyrovae.factory.names import part_names
from pyrovae.factory.parser import Parser, training_parser

__all__ = ["Parser", "build_model", "build_trainer", "instantiate", "part_names", "training_parser"]
