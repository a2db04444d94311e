"""Functions of tensors as graphs, where they can be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from pyrovae.engine import UntraceableError, compile_function

GraphEngine = Literal["compiled", "graph"]
"""How a function of many codes is run."""


def graph_of(function: Callable[..., Any], engine: str) -> Callable[..., Any]:
    """The function as a graph, or itself where it cannot be traced: a part of the user's own may look at values.

    Args:
        function: Of tensors.
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
