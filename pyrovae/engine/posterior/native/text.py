"""Tensors of static shape as C text: loops, buffers, and expressions that are written into the loop that uses them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Index = Sequence[str]
LONGEST = 500
"""Characters of an expression that is still written into another."""
MOST_LINES = 20_000
"""Lines of C beyond which a C compiler needs too long."""
MOST_NUMBERS = 2**22
"""Numbers of workspace beyond which one thread and simple loops are not the right tool."""


class UnsupportedError(Exception):
    """A graph cannot be written in C; says what in it."""


@dataclass(frozen=True)
class Value:
    """A tensor in C.

    Attributes:
        shape: Its shape.
        at: The expression of one element, of the C expressions of its indices.
        memory: Name, strides and offset where it lies in memory as it is, or None.
        uniform: Whether all elements are one expression.
    """

    shape: tuple[int, ...]
    at: Callable[[Index], str]
    memory: tuple[str, tuple[int, ...], int] | None = None
    uniform: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def cheap(self) -> bool:
        """Whether an element costs no computation."""
        return self.uniform or self.memory is not None


def uniform(expression: str, shape: Sequence[int]) -> Value:
    """A tensor whose elements are one number or variable."""
    return Value(tuple(shape), lambda index: expression, uniform=True)


def in_memory(name: str, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Value:
    """A tensor that lies in memory."""

    def at(index: Index) -> str:
        terms = [i if s == 1 else f"{i}*{s}" for i, s in zip(index, strides, strict=True) if s and i != "0"]
        terms += [str(offset)] if offset or not terms else []
        return f"{name}[{' + '.join(terms)}]"

    return Value(tuple(shape), at, (name, tuple(strides), offset))


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor in the order of its indices."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return tuple(strides[: len(shape)])


def literal(number: float) -> str:
    """A number in C."""
    number = float(number)
    if math.isfinite(number):
        return f"({number!r})" if math.copysign(1.0, number) < 0 else repr(number)
    return "NAN" if math.isnan(number) else "INFINITY" if number > 0 else "(-INFINITY)"


def broadcast(value: Value, shape: Sequence[int]) -> Callable[[Index], str]:
    """Elements of a value under the indices of a larger shape."""
    lead = len(shape) - len(value.shape)

    def at(index: Index) -> str:
        return value.at(["0" if size == 1 else i for i, size in zip(index[lead:], value.shape, strict=True)])

    return at


class Writer:
    """Collects the lines of a function, the size of its workspace, and the constants that it is given."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: list[Tensor] = []
        self.work = 0
        self._names = itertools.count()

    def name(self, letter: str) -> str:
        """A new name."""
        return f"{letter}{next(self._names)}"

    def add(self, *lines: str) -> None:
        """Append lines."""
        self.lines += lines
        if len(self.lines) > MOST_LINES:
            raise UnsupportedError(f"more than {MOST_LINES:,} lines")

    def constant(self, tensor: Tensor) -> Value:
        """A tensor of data: a number if all elements are equal, otherwise an array that the function is given."""
        if tensor.is_complex() or tensor.layout != torch.strided:
            raise UnsupportedError(f"a constant of {tensor.dtype}, {tensor.layout}")
        flat = tensor.reshape(-1).double()
        if len(flat) and (bool((flat == flat[0]).all()) or (len(flat) == 1)):
            return uniform(literal(flat[0].item()), tensor.shape)
        self.constants.append(flat.contiguous().clone())
        name = f"k{len(self.constants) - 1}"
        return in_memory(name, tensor.shape, contiguous_strides(tensor.shape))

    def buffer(self, shape: Sequence[int]) -> Value:
        """New memory of this shape, its contents undefined."""
        name = self.name("b")
        self.add(f"double *restrict {name} = w + {self.work};")
        self.work += -(-math.prod(shape) // 8) * 8  # whole cache lines
        if self.work > MOST_NUMBERS:
            raise UnsupportedError(f"more than {MOST_NUMBERS:,} numbers of workspace")
        return in_memory(name, shape, contiguous_strides(shape))

    def loops(self, sizes: Sequence[int], body: Callable[[list[str]], Sequence[str]], reduces: str = "") -> None:
        """Nested loops, the last one over SIMD lanes; `reduces` is the clause of a reduction.

        Args:
            sizes: Lengths.
            body: Lines of the indices.
            reduces: A clause such as "reduction(+:t1)".
        """
        index = ["0" if size == 1 else self.name("i") for size in sizes]
        long = [(i, size) for i, size in zip(index, sizes, strict=True) if size != 1]
        for depth, (i, size) in enumerate(long):
            if depth == len(long) - 1 and reduces != "serial":
                self.add(f"#pragma omp simd {reduces}")
            self.add(f"for (int64_t {i} = 0; {i} < {size}; ++{i}) {{")
        self.add(*body(index), "}" * len(long))

    def nested(self, found: Value, total: str, first: str, terms: Callable[[list[str]], None]) -> None:
        """Loops over the places of a buffer, each of which gets a total that `terms` writes the loops of."""
        index = [self.name("i") for _ in found.shape]
        for i, size in zip(index, found.shape, strict=True):
            self.add(f"for (int64_t {i} = 0; {i} < {size}; ++{i}) {{")
        self.add(f"double {total} = {first};")
        terms(index)
        self.add(f"{found.at(index)} = {total};", "}" * len(index))

    def stored(self, value: Value) -> Value:
        """The value in memory, or as one variable; computed here."""
        if value.cheap:
            return value
        if value.size == 1:
            name = self.name("t")
            self.add(f"const double {name} = {value.at(['0'] * len(value.shape))};")
            return uniform(name, value.shape)
        found = self.buffer(value.shape)
        self.loops(value.shape, lambda index: [f"{found.at(index)} = {value.at(index)};"])
        return found

    def copied(self, value: Value) -> Value:
        """The value in memory of its own, in the order of its indices."""
        found = self.buffer(value.shape)
        self.loops(value.shape, lambda index: [f"{found.at(index)} = {value.at(index)};"])
        return found
