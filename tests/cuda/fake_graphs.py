"""Streams, generators and CUDA graphs of a simulated GPU: operations are kept in a list and run again."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


class FakeGenerator:
    """A GPU's generator. While a graph is recorded it belongs to that graph, and it stays there if this fails."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.host = torch.Generator()
        self.of_a_graph = False

    def get_state(self) -> Tensor:
        return self.host.get_state()

    def set_state(self, state: Tensor) -> None:
        self.host.set_state(state)

    def manual_seed(self, seed: int) -> FakeGenerator:
        self.host.manual_seed(seed)
        return self

    def clone_state(self) -> FakeGenerator:
        """Another with the same numbers, which belongs to no graph."""
        other = FakeGenerator(self.device)
        other.host.set_state(self.get_state())
        return other

    def graphsafe_set_state(self, other: FakeGenerator) -> None:
        self.host, self.of_a_graph = other.host, other.of_a_graph

    @contextlib.contextmanager
    def drawing(self, recording: bool) -> Iterator[None]:
        """Let torch's default generator of the host be this one."""
        if self.of_a_graph and not recording:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        before = torch.default_generator.get_state()
        torch.default_generator.set_state(self.get_state())
        try:
            yield
        finally:
            self.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(before)


class FakeStream:
    """A queue of a GPU; here everything is done at once."""

    def __init__(self, device: Any = None) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device()) if device is None else torch.device(device)

    def wait_stream(self, other: FakeStream) -> None:
        """Nothing: the other has nothing left to do."""


class FakeEvent:
    """A moment of a stream, by the host's clock."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.moment = 0.0

    def record(self) -> None:
        self.moment = time.perf_counter()

    def elapsed_time(self, later: FakeEvent) -> float:
        """Milliseconds."""
        return 1000 * (later.moment - self.moment)


class FakeGraph:
    """In the place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.operations: list[tuple[Callable[..., Any], tuple, dict[str, Any], Any]] = []
        self.undone: list[tuple[Tensor, Tensor]] = []
        self.generator: FakeGenerator | None = None
        self.replays = 0

    def keep(self, func: Any, args: tuple, kwargs: dict[str, Any], run: Callable[[], Any]) -> Any:
        """Run an operation for its result's shape, and note it; what it writes is put back when the recording ends."""
        for argument, value in [*zip(func._schema.arguments, args, strict=False), *_named(func, kwargs)]:
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.undone += [(tensor, tensor.clone()) for tensor in tree_leaves(value)]
        out = run()
        self.operations.append((func, args, kwargs, out))
        return out

    def pool(self) -> int:
        """The memory that another recording may share."""
        return id(self)

    def replay(self) -> None:
        """Run all operations again, on the memory that they had."""
        self.replays += 1
        for func, args, kwargs, before in self.operations:
            draws = torch.Tag.nondeterministic_seeded in func.tags
            assert self.generator is not None
            with self.generator.drawing(False) if draws else contextlib.nullcontext():
                found = func(*args, **kwargs)
            for old, new in zip(tree_leaves(before), tree_leaves(found), strict=True):
                if isinstance(old, Tensor) and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


def _named(func: Any, kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
    return [(argument, kwargs[argument.name]) for argument in func._schema.arguments if argument.name in kwargs]


class Recorder:
    """The recording that is under way, if one is, and the current stream of each device.

    Attributes:
        graph: What is recorded into.
        stream: Whose operations are recorded.
        broken: Whether an operation was refused, after which CUDA ends the recording with an error.
    """

    def __init__(self, generators: tuple[FakeGenerator, ...]) -> None:
        self.generators = generators
        self.streams = [FakeStream(generator.device) for generator in generators]
        self.graph: FakeGraph | None = None
        self.graphs: list[FakeGraph] = []
        self.modes: list[str] = []
        self.stream: FakeStream | None = None
        self.broken = False

    def takes(self, device: torch.device) -> bool:
        """Whether an operation on a device is recorded."""
        return self.stream is not None and self.streams[device.index or 0] is self.stream

    @contextlib.contextmanager
    def on_stream(self, stream: FakeStream) -> Iterator[None]:
        """`torch.cuda.stream`."""
        index = stream.device.index
        before, self.streams[index] = self.streams[index], stream
        with torch.cuda.device(stream.device):
            try:
                yield
            finally:
                self.streams[index] = before

    @contextlib.contextmanager
    def recording(
        self, graph: FakeGraph, pool: Any = None, stream: FakeStream | None = None, capture_error_mode: str = "global"
    ) -> Iterator[None]:
        """`torch.cuda.graph`, which leaves stream and generator as they are where the recording fails."""
        stream = stream or FakeStream()
        index = stream.device.index
        generator, before = self.generators[index], self.generators[index].get_state()
        outer, self.streams[index] = self.streams[index], stream
        self.graph, self.stream, self.broken, graph.generator = graph, stream, False, generator
        self.modes.append(capture_error_mode)
        generator.of_a_graph = True
        try:
            yield
        finally:
            self.graph = self.stream = None
            for tensor, copy in reversed(graph.undone):
                tensor.copy_(copy)
            graph.undone.clear()
            if self.broken:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
            self.streams[index] = outer
            generator.of_a_graph = False
            generator.set_state(before)
            self.graphs.append(graph)
            if not graph.operations:
                warnings.warn(
                    "The CUDA Graph is empty. This usually means that the graph was attempted to be captured on wrong "
                    "device or stream.",
                    stacklevel=2,
                )
