"""Functions of tensors as graphs, if they can be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from pyrovae.engine import UntraceableError, compile_function

GraphEngine = Literal["compiled", "graph"]
"""How a function of many codes is run."""


def graph_of(function: Callable[..., Any], engine: str) -> Callable[..., Any]:
    """The function as a graph, or the function itself if it cannot be traced (a user's part may branch on values).

    Args:
        function: A function of tensors.
        engine: "compiled" or "graph".
    """
    graph = compile_function(function, engine)
    traceable = True

    def call(*args: Tensor) -> Any:
        nonlocal traceable
        if traceable:
            try:
                return graph(*args)
            except UntraceableError:
                traceable = False
        return function(*args)

    return call
