"""A C function of a density, compiled and loaded."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.engine.posterior.graphs import VectorGraph
from pyrovae.engine.posterior.native.cache import cached, key_of
from pyrovae.engine.posterior.native.text import UnsupportedError
from pyrovae.engine.posterior.native.translation import Text, translate

logger = logging.getLogger(__name__)

FLAGS = [
    "-x", "c", "-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd",
    "-shared", "-fPIC", "-w",
]  # fmt: skip
REMEMBERED = 8
"""Texts that are kept, with their data."""
AGREEMENT = 1e-9
"""Largest difference from the graph, relative to the largest element."""
PATIENCE = 60.0
"""Seconds that a compiler may take; Inductor takes it from there."""


@dataclass(frozen=True)
class Native:
    """A compiled function and what it is given.

    Attributes:
        library: The loaded library.
        constants: Arrays of its data.
        work: Numbers of workspace.
        size: Length of the vector.
    """

    library: ctypes.CDLL
    constants: tuple[Tensor, ...]
    work: int
    size: int

    def address(self, name: str) -> int:
        """Where a function of the library lies: "density" or "keep"."""
        return int(ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value or 0)


class NativeCall:
    """One caller's view of a compiled density: its own workspace and counts, so that chains may run beside each other.

    Args:
        native: The compiled function.

    Attributes:
        table: The addresses that the function takes as its last argument.
        counts: How many gradients and how many transitions were computed.
    """

    def __init__(self, native: Native) -> None:
        self.native = native
        self.counts = np.zeros(2, dtype=np.int64)
        self._work = np.empty(max(native.work, 1))
        arrays = [self.counts, self._work, *(constant.numpy() for constant in native.constants)]
        self.table = np.array([array.ctypes.data for array in arrays], dtype=np.uint64)
        self._gradient = np.empty(native.size)
        self._value = np.empty(1)

    def __call__(self, u: Tensor) -> Sequence[Tensor]:
        """Value and gradient, (), (size,)."""
        point = np.ascontiguousarray(u.detach().numpy(), dtype=np.float64)
        self.native.library.density(
            ctypes.c_uint64(self.native.size),
            ctypes.c_void_p(point.ctypes.data),
            ctypes.c_void_p(self._gradient.ctypes.data),
            ctypes.c_void_p(self._value.ctypes.data),
            ctypes.c_void_p(self.table.ctypes.data),
        )
        return torch.tensor(self._value[0]), torch.from_numpy(self._gradient.copy())


def native_call(graph: VectorGraph, size: int) -> NativeCall:
    """Compile a density with its gradient to one C function.

    Args:
        graph: Returns the value, (), and the gradient, (size,).
        size: Length of the vector.

    Raises:
        UnsupportedError: If the graph cannot be written in C, or the system has no compiler for it; says why.
    """
    text = _translated(graph, size)
    return NativeCall(Native(_library(text.code), text.constants, text.work, size))


_texts: dict[bytes, Text] = {}


def _translated(graph: VectorGraph, size: int) -> Text:
    """The text of a graph; that of the last ones is remembered, for calls with the same model and data."""
    known = hashlib.sha256(f"{size} {graph.graph.code}".encode())
    for tensor in (*graph.constants, *(value for _, value in sorted(graph.graph.state_dict().items()))):
        known.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        known.update(np.asarray(tensor.detach().double() if tensor.is_floating_point() else tensor).tobytes())
    key = known.digest()
    if key not in _texts:
        text = translate(graph, size)
        while len(_texts) >= REMEMBERED:
            del _texts[next(iter(_texts))]
        _texts[key] = text
    return _texts[key]


def check_native(call: NativeCall, graph: VectorGraph) -> None:
    """Hold a C function against its graph at points near and far.

    Raises:
        UnsupportedError: If value or gradient differ by more than `AGREEMENT`, relative to the largest.
    """
    numbers = np.random.default_rng(2)
    for radius in (0.1, 0.5, 1.0, 2.0, 2.0):
        u = torch.from_numpy(numbers.uniform(-radius, radius, call.native.size))
        try:
            expected, slope = graph(u)
        except torch.linalg.LinAlgError:
            continue
        value, gradient = call(u)
        if not (_agree(value, expected) and _agree(gradient, slope)):
            raise UnsupportedError(f"it disagrees with the graph, {float(value)!r} for {float(expected)!r}")


def _agree(found: Tensor, expected: Tensor) -> bool:
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return False
    scale = float(expected[finite].abs().max()) if finite.any() else 1.0
    return bool(((found - expected)[finite].abs() <= AGREEMENT * max(scale, 1e-300)).all())


@functools.lru_cache(maxsize=32)  # libraries stay loaded in any case
def _library(code: str) -> Any:
    """The compiled text; the same text is compiled once."""
    command = [*_compiler(), *FLAGS]
    with tempfile.TemporaryDirectory(prefix="pyrovae-", ignore_cleanup_errors=True) as temporary:
        try:
            key = key_of(code, command, Path(str(shutil.which(command[0]))))
            library = _loaded(key, lambda target: _compile(code, command, target), Path(temporary))
        except OSError as error:
            raise UnsupportedError(f"the compiled function cannot be loaded ({error})") from error
    for function in (library.density, library.keep):
        function.restype = ctypes.c_int64
    return library


def _loaded(key: str, make: Callable[[Path], None], temporary: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(cached(key, make, temporary)))
    except OSError:  # a cache on a disk from which nothing may be executed
        make(temporary / "own.so")
        return ctypes.CDLL(str(temporary / "own.so"))


def _compile(code: str, command: Sequence[str], target: Path) -> None:
    source = target.with_suffix(".c")
    source.write_text(code, encoding="utf-8")
    try:
        done = subprocess.run(
            [*command, str(source), "-o", str(target), "-lm"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnsupportedError(f"the C compiler failed ({type(error).__name__})") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise UnsupportedError(f"the C compiler failed ({' '.join(lines[:1])})")


def _compiler() -> list[str]:
    """The command of a compiler that takes GCC's options."""
    if sys.platform == "win32":
        raise UnsupportedError("no C compiler is called on Windows")
    for candidate in (os.environ.get("CXX"), "g++", "clang++"):
        words = shlex.split(candidate or "")
        if words and shutil.which(words[0]):
            return words
    raise UnsupportedError("no C compiler was found")
