"""Stochastic variational inference for any Pyro program, as one traced and compiled graph."""

from pyrovae.engine.batching import EnsembleError
from pyrovae.engine.compilation import CompilerError, missing_compiler
from pyrovae.engine.ensemble import Ensemble
from pyrovae.engine.functions import GraphFunction, TooManyGraphsError, compile_function
from pyrovae.engine.parallel import DataParallel, LostProcessError
from pyrovae.engine.programs import UntraceableError
from pyrovae.engine.steps import Step
from pyrovae.engine.svi import SVI

__all__ = [
    "SVI",
    "CompilerError",
    "DataParallel",
    "Ensemble",
    "EnsembleError",
    "GraphFunction",
    "LostProcessError",
    "Step",
    "TooManyGraphsError",
    "UntraceableError",
    "compile_function",
    "missing_compiler",
]
