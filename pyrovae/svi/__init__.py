"""Stochastic variational inference for any static Pyro program, as one traced and compiled graph."""

from pyrovae.svi.compilation import CompilerError
from pyrovae.svi.engine import SVI, Step
from pyrovae.svi.functions import GraphFunction, TooManyGraphsError, compile_function
from pyrovae.svi.programs import UntraceableError

__all__ = [
    "SVI",
    "CompilerError",
    "GraphFunction",
    "Step",
    "TooManyGraphsError",
    "UntraceableError",
    "compile_function",
]
