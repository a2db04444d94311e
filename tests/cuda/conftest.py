"""A machine with two GPUs, for tests that need none."""

from collections.abc import Iterator

import pytest
import torch
from fake_gpu import KNOWN_TORCH, FakeGpu
from fake_machine import Compilation, fake_machine


@pytest.fixture(scope="session", autouse=True)
def _known_torch() -> None:
    """The fake GPU stands in for internals of torch, which differ between its versions."""
    if ".".join(torch.__version__.split(".")[:2]) not in KNOWN_TORCH:
        pytest.skip(f"the fake GPU knows torch {', '.join(KNOWN_TORCH)}, and this is {torch.__version__}")


@pytest.fixture
def compilations() -> list[Compilation]:
    """What Inductor was given, in each compilation."""
    return []


@pytest.fixture
def gpu(compilations: list[Compilation]) -> Iterator[FakeGpu]:
    """Two GPUs that are none; a compiled graph is the graph itself."""
    with fake_machine(compilations) as gpu:
        yield gpu
