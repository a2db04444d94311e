"""CUDA graphs: a compiled function, recorded on the GPU once and replayed, for one call or for many at once."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.capture import Capture
from pyrovae.engine.compilation import Call, CompilerError

logger = logging.getLogger(__name__)

WARM_UP = 3
"""Calls before the recording, in which libraries allocate and tune."""
TOGETHER = (512, 64, 8)
"""How many calls one graph may hold. Any number of calls is then a few replays, and seven single ones at most."""
HELD_BYTES = 1 << 26
"""Bytes of arguments that one graph may hold: with larger ones a call takes so long that the host is well ahead."""

ALIGNMENT = 16
"""Bytes: an argument at an address that is no multiple of it is copied by Inductor's code before it is used."""


class RecordingError(RuntimeError):
    """A compiled function runs, and cannot be recorded as a CUDA graph."""


class Replay:
    """A compiled function captured as a CUDA graph and replayed.

    Args:
        call: Takes the tensor arguments and then `captured.lifted`.
        captured: The traced function.
        leaves: Example arguments, on the GPU.

    Raises:
        CompilerError: If the function itself fails.
        RecordingError: If it cannot be recorded; tensors, streams and generators are then as before.
    """

    def __init__(self, call: Call, captured: Capture, leaves: Sequence[Tensor]) -> None:
        self._static = [leaf.clone() for leaf in leaves]
        inputs = [*self._static, *captured.lifted]
        self.device = next(t.device for t in inputs if t.device.type == "cuda")
        self._call, self._lifted = call, captured.lifted
        self._several: dict[int, _Several | None] = {}
        # A graph belongs to one device, which need not be the current one: on another it would be empty.
        with torch.cuda.device(self.device), torch.no_grad():
            self._stream = torch.cuda.Stream(self.device)
            _warm_up(call, inputs, captured.changed, self._stream)
            self._graph = torch.cuda.CUDAGraph()
            self._outputs = self._record(self._graph, None, lambda: list(call(*inputs)))

    def _record(self, graph: torch.cuda.CUDAGraph, pool: Any, work: Callable[[], list[Tensor]]) -> list[Tensor]:
        before = torch.cuda.get_rng_state(self.device)
        try:
            # The outer context goes back to the caller's stream where the end of a failed capture raises. Other threads
            # may allocate meanwhile: a loader of images must not end the capture.
            with (
                torch.cuda.stream(self._stream),
                _refusing_empty_graphs(),
                torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                return work()
        except Exception as error:
            _release_generator(self.device, before)
            cause = error.__context__ or error
            first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
            raise RecordingError(first) from error

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Copy the arguments in, replay, and copy the results out; no host synchronisation."""
        with torch.cuda.device(self.device):
            for static, given in zip(self._static, inputs, strict=False):
                static.copy_(given, non_blocking=True)
            self._graph.replay()
            return [output.clone() for output in self._outputs]

    # ---- many calls by one replay

    def together(self, wanted: int, calls: int) -> int:
        """How many of the next calls `replay_together` takes at once.

        Args:
            wanted: Calls that are to come.
            calls: Those before. To record some takes about as long as to make them, and so waits for as many.

        Returns:
            At most `wanted`; 0 where there is no graph of several calls.
        """
        size = sum(static.nbytes for static in self._static)
        fitting = (count for count in TOGETHER if count <= min(wanted, calls) and count * size <= HELD_BYTES)
        return next((count for count in fitting if self._recorded(count) is not None), 0)

    def replay_together(self, inputs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Results of calls one after another, each (calls, ...), by one replay: those of single calls to the bit.

        Args:
            inputs: The arguments of each, of as many calls as `together` has said.
        """
        several = self._recorded(len(inputs))
        assert several is not None
        with torch.cuda.device(self.device), torch.no_grad():
            for static, given in zip(several.arguments, zip(*inputs, strict=True), strict=True):
                torch.stack(given, out=static)
            several.graph.replay()
            return [result.clone() for result in several.results]

    def _recorded(self, count: int) -> _Several | None:
        if count not in self._several:
            try:
                self._several[count] = self._record_several(count)
            except RecordingError as error:
                logger.warning("steps go one by one: no CUDA graph of %d could be recorded (%s)", count, error)
                self._several |= {size: None for size in TOGETHER if size >= count}
        return self._several[count]

    def _record_several(self, count: int) -> _Several:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.no_grad():
            arguments = [_rows_like(static, count) for static in self._static]
            results = [output.new_empty(count, *output.shape) for output in self._outputs]

            def work() -> list[Tensor]:
                for place in range(count):
                    found = self._call(*(argument[place] for argument in arguments), *self._lifted)
                    for result, one in zip(results, found, strict=True):
                        result[place].copy_(one)
                return results

            # What a call allocates has its place in the memory of the single one: the two never run at the same time.
            return _Several(graph, arguments, self._record(graph, self._graph.pool(), work))


@dataclass(frozen=True)
class _Several:
    """A graph of several calls.

    Attributes:
        graph: The calls, one after another.
        arguments: Each with a row for each call.
        results: The same.
    """

    graph: torch.cuda.CUDAGraph
    arguments: list[Tensor]
    results: list[Tensor]


def _rows_like(tensor: Tensor, count: int) -> Tensor:
    """So many copies of a tensor, (count, ...), of its strides and at addresses that Inductor's kernels expect."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    step = -(-span * tensor.element_size() // ALIGNMENT) * ALIGNMENT // tensor.element_size()
    rows = tensor.new_empty(count * step).as_strided((count, *tensor.shape), (step, *tensor.stride()))
    return rows.copy_(tensor)


def _warm_up(call: Call, inputs: Sequence[Tensor], changed: Sequence[Tensor], stream: torch.cuda.Stream) -> None:
    """Call a few times on a side stream, and undo what that changes.

    Raises:
        CompilerError: If a call fails.
    """
    current = torch.cuda.current_stream(stream.device)
    with _restored(changed, stream.device):
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    call(*inputs)
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CompilerError(f"the compiled step failed on the GPU ({first}); engine='graph' needs none") from error
        finally:
            current.wait_stream(stream)


@contextlib.contextmanager
def _refusing_empty_graphs() -> Iterator[None]:
    """Make an error of torch's warning that nothing was recorded, which a replay would not show."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The CUDA Graph is empty")
        yield


def _release_generator(device: torch.device, state: Tensor) -> None:
    """Free the generator from a capture that was broken off, and put its state back.

    Such a generator counts its draws for a graph that will never be, and refuses every other draw.

    Raises:
        CompilerError: If it still does.
    """
    generator = torch.cuda.default_generators[device.index]
    try:
        generator.graphsafe_set_state(generator.clone_state())  # the same numbers, and no capture
        torch.cuda.set_rng_state(state, device)
        torch.rand(1, device=device)
        torch.cuda.set_rng_state(state, device)
    except Exception as error:
        raise CompilerError(
            f"a CUDA graph could not be recorded, and the GPU's random numbers are lost with it ({error}): "
            "start the process again with engine='graph'"
        ) from error


@contextlib.contextmanager
def _restored(tensors: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Undo what compiled kernels, which no dispatch mode sees, do to tensors and to the generator."""
    copies = [t.detach().clone() for t in tensors]
    state = torch.cuda.get_rng_state(device)
    try:
        yield
    finally:
        torch.cuda.set_rng_state(state, device)
        for tensor, copy in zip(tensors, copies, strict=True):
            tensor.detach().copy_(copy)
