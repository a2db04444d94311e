"""Stochastic variational inference for any static Pyro program, as one traced and compiled graph."""

from pyrovae.engine.compilation import CompilerError
from pyrovae.engine.functions import GraphFunction, TooManyGraphsError, compile_function
from pyrovae.engine.programs import UntraceableError
from pyrovae.engine.svi import SVI, Step

__all__ = [
    "SVI",
    "CompilerError",
    "GraphFunction",
    "Step",
    "TooManyGraphsError",
    "UntraceableError",
    "compile_function",
]
