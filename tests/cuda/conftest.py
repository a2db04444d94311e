"""A machine with two GPUs, for tests that need none."""

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from fake_gpu import HERE, KNOWN_TORCH, FakeGpu

from pyrovae.engine import compilation, engines, observation


@pytest.fixture(scope="session", autouse=True)
def _known_torch() -> None:
    """The fake GPU stands in for internals of torch, which differ between its versions."""
    if ".".join(torch.__version__.split(".")[:2]) not in KNOWN_TORCH:
        pytest.skip(f"the fake GPU knows torch {', '.join(KNOWN_TORCH)}, and this is {torch.__version__}")


@pytest.fixture
def inductor_options() -> list[dict[str, Any]]:
    """What Inductor was asked for, in each compilation."""
    return []


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, inductor_options: list[dict[str, Any]]) -> Iterator[FakeGpu]:
    """Two GPUs that are none; a compiled graph is the graph itself."""

    def compiled(graph: Any, inputs: Any, options: dict[str, Any]) -> Callable[..., Any]:
        inductor_options.append(options)
        return graph.forward

    if importlib.util.find_spec("triton") is None:
        monkeypatch.setitem(sys.modules, "triton", types.ModuleType("triton"))
    monkeypatch.setattr(compilation, "inductor_compile", compiled)
    around = engines.modes_around
    monkeypatch.setattr(engines, "modes_around", lambda: around() - 1)  # the fake GPU is a mode itself
    monkeypatch.setattr(observation, "_TRUSTED", (*observation._TRUSTED, HERE))  # no code of the programs
    with FakeGpu() as gpu:
        yield gpu
