"""Inductor and CUDA graphs: from a traced graph to one call."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.capture import Capture
from pyrovae.engine.compat import inductor_compile
from pyrovae.engine.rewriting import rewrite_for_cpu

Call = Callable[..., Sequence[Tensor]]

# Random numbers come from torch's own generators, in the order in which the programs draw them, so that a compiled
# step draws what Pyro draws and a saved generator state resumes to the bit.
_INDUCTOR_OPTIONS = {"fallback_random": True, "reorder_for_peak_memory": False}
# The calls between kernels in C++ too: 3 to 8 % of a step, and one file to compile where there were a dozen.
_CPU_OPTIONS = {"cpp_wrapper": True}


class CompilerError(RuntimeError):
    """Compilation is impossible here, or failed; says what to do."""


def missing_compiler(device: torch.device) -> str | None:
    """What is lacking for compiled graphs on `device`, with the cure, or None."""
    if device.type == "cpu":
        candidates = [os.environ.get("CXX"), "g++", "clang++", "cl"]
        if not any(c and shutil.which(c.split()[0]) for c in candidates):
            cure = "apt install g++ / conda install gxx_linux-64 / xcode-select --install, or set CXX"
            return f"no C++ compiler was found ({cure})"
    elif device.type == "cuda":
        try:
            import triton  # type: ignore[import-untyped]  # noqa: F401
        except ImportError:
            return "Triton is not installed (pip install triton)"
    return None


def compiled(captured: Capture, leaves: Sequence[Tensor]) -> Call:
    """Compile a captured function with Inductor.

    Args:
        captured: The traced function.
        leaves: Example arguments.

    Returns:
        A function of the tensor arguments followed by the lifted tensors.

    Raises:
        CompilerError: If there is no compiler, or compilation fails.
    """
    inputs = [*leaves, *captured.lifted]
    device = inputs[0].device
    for tensor in inputs:
        device = tensor.device if tensor.device.type != "cpu" else device
    lacking = missing_compiler(device)
    if lacking:
        raise CompilerError(f"the compiled engine cannot run: {lacking}; or choose engine='graph'")
    if device.type == "cpu":
        rewrite_for_cpu(captured.graph.graph)
        captured.graph.recompile()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), without_cuda_warning():
            options = _INDUCTOR_OPTIONS | (_CPU_OPTIONS if device.type == "cpu" else {})
            return inductor_compile(captured.graph, inputs, options)
    except Exception as error:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise CompilerError(
            f"Inductor failed to compile the step ({first[0]}); engine='graph' needs no compiler"
        ) from error


@contextlib.contextmanager
def without_cuda_warning() -> Iterator[None]:
    """Leave out the warning that a machine with CUDA's compiler and no GPU gets when C++ is compiled."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


class Replay:
    """A compiled function captured as a CUDA graph and replayed.

    Args:
        call: Takes the tensor arguments and then `captured.lifted`.
        captured: The traced function.
        leaves: Example arguments, on the GPU.

    Raises:
        CompilerError: If the capture fails.
    """

    def __init__(self, call: Call, captured: Capture, leaves: Sequence[Tensor]) -> None:
        self._static = [leaf.clone() for leaf in leaves]
        self._graph = torch.cuda.CUDAGraph()
        inputs = [*self._static, *captured.lifted]
        device = next(t.device for t in inputs if t.device.type == "cuda")
        try:
            with _restored(captured.changed, device):
                side = torch.cuda.Stream(device)
                side.wait_stream(torch.cuda.current_stream(device))
                with torch.cuda.stream(side), torch.no_grad():
                    for _ in range(3):  # lets libraries allocate and tune outside the capture
                        call(*inputs)
                torch.cuda.current_stream(device).wait_stream(side)
            with torch.cuda.graph(self._graph), torch.no_grad():
                self._outputs = list(call(*inputs))
        except Exception as error:
            raise CompilerError(f"the CUDA graph could not be captured ({error}); engine='graph' needs none") from error

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Copy the arguments in, replay, and copy the results out; no host synchronisation."""
        for static, given in zip(self._static, inputs, strict=False):
            static.copy_(given, non_blocking=True)
        self._graph.replay()
        return [output.clone() for output in self._outputs]


@contextlib.contextmanager
def _restored(tensors: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Undo what compiled kernels, which no dispatch mode sees, do to tensors and to the generator."""
    copies = [t.detach().clone() for t in tensors]
    state = torch.cuda.get_rng_state(device)
    try:
        yield
    finally:
        torch.cuda.set_rng_state(state, device)
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies, strict=True):
                tensor.copy_(copy)


@contextlib.contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Allow TF32 in matrix products and convolutions on the GPU, here only."""
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [b.allow_tf32 for b in backends]
    try:
        if enabled:
            for backend in backends:
                backend.allow_tf32 = True
        yield
    finally:
        if enabled:
            for backend, value in zip(backends, before, strict=True):
                backend.allow_tf32 = value
