"""CUDA graphs: a compiled function, recorded on the GPU once and replayed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pyrovae.engine.capture import Capture
from pyrovae.engine.compilation import Call, CompilerError

WARM_UP = 3
"""Calls before the recording, in which libraries allocate and tune."""


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
        self._graph = torch.cuda.CUDAGraph()
        # A graph belongs to one device, which need not be the current one: on another it would be empty.
        with torch.cuda.device(self.device), torch.no_grad():
            stream = torch.cuda.Stream(self.device)
            _warm_up(call, inputs, captured.changed, stream)
            self._outputs = self._record(call, inputs, stream)

    def _record(self, call: Call, inputs: Sequence[Tensor], stream: torch.cuda.Stream) -> list[Tensor]:
        before = torch.cuda.get_rng_state(self.device)
        try:
            # The outer context goes back to the caller's stream where the end of a failed capture raises. Other threads
            # may allocate meanwhile: a loader of images must not end the capture.
            with (
                torch.cuda.stream(stream),
                _refusing_empty_graphs(),
                torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"),
            ):
                return list(call(*inputs))
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
