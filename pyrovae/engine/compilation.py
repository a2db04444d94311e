"""Inductor: from a traced graph to one call."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pyrovae.engine.capture import Capture
from pyrovae.engine.compat import float32_precision, inductor_compile, restore_float32_precision, set_tf32
from pyrovae.engine.rewriting import rewrite_for_cpu, rewrite_for_cuda, rewritten_functions
from pyrovae.engine.shortcut import Shortcut

Call = Callable[..., Sequence[Tensor]]

# Random numbers come from torch's own generators, in the order in which the programs draw them, so that a compiled
# step draws what Pyro draws and a saved generator state resumes to the bit.
_INDUCTOR_OPTIONS = {"fallback_random": True, "reorder_for_peak_memory": False}
# The calls between kernels in C++ too: 3 to 8 % of a step, and one file to compile where there were a dozen.
_CPU_OPTIONS = {"cpp_wrapper": True}
# Steps are recorded in `cuda_graphs`, with the tensors that they change; Inductor's own graphs would copy those.
_CUDA_OPTIONS = {"triton.cudagraphs": False}


class CompilerError(RuntimeError):
    """Compilation is impossible here, or failed; says what to do."""


def missing_compiler(device: torch.device) -> str | None:
    """What is lacking for compiled graphs on `device`, with the cure, or None."""
    if device.type == "cpu":
        if not _is_installed(os.environ.get("CXX"), "g++", "clang++", "cl"):
            cure = "apt install g++ / conda install gxx_linux-64 / xcode-select --install, or set CXX"
            return f"no C++ compiler was found ({cure})"
    elif device.type == "cuda":
        try:
            import triton  # type: ignore[import-untyped]  # noqa: F401
        except ImportError:
            return "Triton is not installed (pip install triton)"
        if not _is_installed(os.environ.get("CC"), "gcc", "clang"):
            return "no C compiler was found for Triton (apt install gcc / conda install gcc_linux-64, or set CC)"
    return None


def _is_installed(*commands: str | None) -> bool:
    """Whether one of the commands, each with its arguments, can be run here."""
    return any(command and shutil.which(command.split()[0]) for command in commands)


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
    if device.type in ("cpu", "cuda"):
        (rewrite_for_cpu if device.type == "cpu" else rewrite_for_cuda)(captured.graph.graph)
        captured.graph.recompile()
    options = _INDUCTOR_OPTIONS | {"cpu": _CPU_OPTIONS, "cuda": _CUDA_OPTIONS}.get(device.type, {})
    devices = [device] if device.type == "cuda" else []  # kernels are tried on the GPU while they are made
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices), without_compiler_warnings():
            call = inductor_compile(captured.graph, inputs, options, rewritten_functions())
            return Shortcut(call) if device.type == "cpu" else call
    except Exception as error:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise CompilerError(
            f"Inductor failed to compile the step ({first[0]}); engine='graph' needs no compiler"
        ) from error


_TALKATIVE = ("torch.utils.cpp_extension", "torch._inductor.ir")
"""Loggers with warnings of the compiler's own: of CUDA without a GPU, of operations that it calls in another way."""


@contextlib.contextmanager
def without_compiler_warnings() -> Iterator[None]:
    """Leave out warnings that a compilation gives and that nobody who trains a model can do anything about."""
    logs = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


@contextlib.contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Have matrix products and convolutions on the GPU in TF32, or in whole float32, here only.

    torch's own default is TF32 in convolutions and float32 in products. Without a GPU at work nothing is changed.
    """
    if not torch.cuda.is_initialized():
        yield
        return
    before = float32_precision()
    set_tf32(enabled)
    try:
        yield
    finally:
        restore_float32_precision(before)
