"""A machine with two GPUs that are none, on which a compiled graph is the graph itself."""

import contextlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_gpu import HERE, FakeGpu

from pyrovae.engine import compat, compilation, functions, graph_engine, observation

Compilation = tuple[Any, list[Any], dict[str, Any]]
"""What Inductor is given: a graph, its inputs, and options."""


@contextlib.contextmanager
def fake_machine(compilations: list[Compilation]) -> Iterator[FakeGpu]:
    """Inside, there are GPUs, and what would be compiled is noted."""

    def compiled(graph: Any, inputs: Any, options: dict[str, Any], known: dict[str, str]) -> Callable[..., Any]:
        compilations.append((graph, list(inputs), options))
        return graph.forward

    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("triton") is None:
            patch.setitem(sys.modules, "triton", types.ModuleType("triton"))
        patch.setattr(compilation, "inductor_compile", compiled)
        for engine in (functions, graph_engine):  # the fake GPU is a mode itself
            patch.setattr(engine, "modes_around", lambda: compat.modes_around() - 1)
        patch.setattr(observation, "_TRUSTED", (*observation._TRUSTED, HERE))  # no code of the programs
        with FakeGpu() as gpu:
            yield gpu
