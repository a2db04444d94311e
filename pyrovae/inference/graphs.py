"""Functions of tensors as graphs, if they can be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from pyrovae.engine import TooManyGraphsError, UntraceableError, compile_function

GraphEngine = Literal["compiled", "graph"]
"""How a function of many codes is run."""


def graph_of(function: Callable[..., Any], engine: str, *, replayed: bool = False) -> Callable[..., Any]:
    """The function as a graph, or the function itself if it cannot be traced (a user's part may branch on values).

    Args:
        function: A function of tensors.
        engine: "compiled" or "graph".
        replayed: Whether a graph that is not compiled is a CUDA graph too, if it is on a GPU.
    """
    graph = compile_function(function, engine, replayed=replayed)
    traceable = True

    def call(*args: Tensor) -> Any:
        nonlocal traceable
        if traceable:
            try:
                return graph(*args)
            except (UntraceableError, TooManyGraphsError):
                traceable = False
        return function(*args)

    return call
