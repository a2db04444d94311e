"""Operands in C, and operators that compute element by element or only move numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from pyrovae.engine.posterior.native.elements import ELEMENTS, OF_TRUTH, POWERS
from pyrovae.engine.posterior.native.text import (
    LONGEST,
    UnsupportedError,
    Value,
    Writer,
    broadcast,
    in_memory,
    literal,
    uniform,
)

aten = torch.ops.aten
REDUCTIONS = {
    "sum": ("0.0", "{0} += {1};", "+"), "prod": ("1.0", "{0} *= {1};", "*"),
    "amax": ("-INFINITY", "{0} = larger({1}, {0});", ""), "amin": ("INFINITY", "{0} = smaller({1}, {0});", ""),
    "any": ("0.0", "{0} = {0} != 0 || {1} != 0;", ""), "all": ("1.0", "{0} = {0} != 0 && {1} != 0;", ""),
}  # fmt: skip


class Kernels:
    """Writes operators; those named `op_...` are ATen's of that name.

    Args:
        known: What does not depend on the vector, computed.
        values: What does, as C.
    """

    def __init__(self, known: dict[fx.Node, Any], values: dict[fx.Node, Any]) -> None:
        self._writer = Writer()
        self._known, self._values = known, values

    def _of(self, argument: Any) -> Value:
        """An operand as C: a node, or a number."""
        if isinstance(argument, fx.Node):
            if argument in self._known and argument not in self._values:
                self._values[argument] = self._writer.constant(torch.as_tensor(self._known[argument]))
            return self._values[argument]
        if isinstance(argument, (bool, int, float)):
            return uniform(literal(argument), ())
        raise UnsupportedError(f"an argument {argument!r}")

    def _laid(self, argument: Any) -> Value:
        """An operand in memory."""
        value = self._writer.stored(self._of(argument))
        return value if value.memory else self._writer.copied(value)

    def _placed(self, node: fx.Node, value: Value) -> Value:
        """An expression, or its result in memory where it would be computed more than once."""
        once = len(node.users) == 1 and _is_written_in_place(next(iter(node.users)))
        short = len(value.at(["i0"] * len(value.shape))) <= LONGEST
        return value if once and short and value.size > 1 else self._writer.stored(value)

    # ---- element by element

    def _element(self, node: fx.Node, name: str) -> Callable[[Sequence[str]], str] | None:
        arguments: list[Any] = list(node.args)
        if name in OF_TRUTH and all(_is_bool(a) for a in arguments):
            name = OF_TRUTH[name]
        if name == "add" and node.meta["val"].dtype == torch.bool:  # true plus true is true
            name = "logical_or"
        template = ELEMENTS.get(name)
        extras: dict[str, Any] = {k: v for k, v in node.kwargs.items() if v is not None}
        if name == "clamp":
            template, arguments = _clamp(arguments + [None] * (3 - len(arguments)))
        elif extras.keys() == {"alpha"} and name in ("add", "sub"):
            template = f"({{0}} {'+' if name == 'add' else '-'} {literal(extras['alpha'])} * {{1}})"
        elif extras and template:
            raise UnsupportedError(f"{node.target} with {', '.join(extras)}")
        if name == "pow" and not isinstance(arguments[1], fx.Node):
            template = POWERS.get(literal(arguments[1]), template)
        if template is None:
            return None
        shape = node.meta["val"].shape
        operands = [self._operand(a, shape) for a in arguments]
        return lambda index: template.format(*(at(index) for at in operands))

    def _operand(self, argument: Any, shape: Sequence[int]) -> Callable[[Sequence[str]], str]:
        value = self._of(argument)
        if value.size < math.prod(shape):
            value = self._writer.stored(value)
        return broadcast(value, shape)

    # ---- the same numbers elsewhere

    def _same(self, node: fx.Node) -> Value:
        source: Any = node.args[0]
        value = self._of(source)
        before, after = source.meta["val"].dtype, node.meta["val"].dtype
        if before != after and after != torch.float64:
            change = "({0} != 0)" if after == torch.bool else "trunc({0})"
            value = Value(value.shape, lambda index, at=value.at: change.format(at(index)))  # type: ignore[misc]
        return value if value.cheap else self._placed(node, value)

    def _view(self, node: fx.Node) -> Value:
        """What torch makes of shape, strides and offset."""
        source, *others = node.args
        value = self._writer.stored(self._of(source))
        target: Any = node.target
        if value.memory is None:
            return uniform(value.at(()), node.meta["val"].shape)
        for candidate in (value, None):
            value = candidate or self._writer.copied(value)
            try:
                return _viewed(value, lambda tensor: [target(tensor, *others, **node.kwargs)])[0]
            except RuntimeError:  # these strides have no such view: a copy has
                continue
        raise UnsupportedError(f"{node.target} of these strides")

    def op_split_with_sizes(self, node: fx.Node, source: Any, sizes: Sequence[int], dim: int = 0) -> list[Value]:
        """Parts along a dimension."""
        return _viewed(self._laid(source), lambda tensor: tensor.split_with_sizes(list(sizes), dim))

    def op_unbind(self, node: fx.Node, source: Any, dim: int = 0) -> list[Value]:
        """Slices along a dimension."""
        return _viewed(self._laid(source), lambda tensor: tensor.unbind(dim))

    def op_flip(self, node: fx.Node, source: Any, dims: Sequence[int]) -> Value:
        """The elements of some dimensions backwards."""
        value = self._writer.stored(self._of(source))
        flipped = {d % len(value.shape) for d in dims}

        def at(index: Sequence[str]) -> str:
            return value.at([f"({value.shape[d] - 1} - {i})" if d in flipped else i for d, i in enumerate(index)])

        return self._placed(node, Value(value.shape, at))

    def op_cat(self, node: fx.Node, sources: Sequence[Any], dim: int = 0) -> Value:
        """Tensors behind each other."""
        found = self._writer.buffer(node.meta["val"].shape)
        dim, start = dim % len(found.shape), 0
        for source in sources:
            value = self._of(source)
            if not value.size:
                continue
            self._fill(found, value, dim, start)
            start += value.shape[dim]
        return found

    def _fill(self, found: Value, value: Value, dim: int, start: int) -> None:
        def body(index: list[str]) -> list[str]:
            there = [f"({i} + {start})" if d == dim else i for d, i in enumerate(index)]
            return [f"{found.at(there)} = {value.at(index)};"]

        self._writer.loops(value.shape, body)

    def op_constant_pad_nd(self, node: fx.Node, source: Any, pad: Sequence[int], fill: float = 0.0) -> Value:
        """Padding in front and behind of the last dimensions; a negative one cuts."""
        found = self._writer.copied(uniform(literal(fill), node.meta["val"].shape))
        value = self._of(source)
        ends = [(0, 0)] * (len(value.shape) - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
        sizes = [n + min(a, 0) + min(b, 0) for n, (a, b) in zip(value.shape, ends, strict=True)]

        def body(index: list[str]) -> list[str]:
            here = [f"({i} + {max(-a, 0)})" for i, (a, _) in zip(index, ends, strict=True)]
            there = [f"({i} + {max(a, 0)})" for i, (a, _) in zip(index, ends, strict=True)]
            return [f"{found.at(there)} = {value.at(here)};"]

        if min(sizes, default=1) > 0:
            self._writer.loops(sizes, body)
        return found

    def _scattered(self, node: fx.Node, source: Any, part: Any, view: Any, *where: Any) -> Value:
        """A copy whose `view` holds another tensor."""
        found = self._writer.copied(self._of(source))
        (there,) = _viewed(found, lambda tensor: [view(tensor, *where)])
        value = broadcast(self._of(part), there.shape)
        self._writer.loops(there.shape, lambda index: [f"{there.at(index)} = {value(index)};"])
        return found

    def op_copy(self, node: fx.Node, source: Any, part: Any, non_blocking: bool = False) -> Value:
        """Another tensor in the shape of the first."""
        shape = tuple(node.meta["val"].shape)
        return self._placed(node, Value(shape, self._operand(part, shape)))

    def op_slice_scatter(
        self, node: fx.Node, source: Any, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
    ) -> Value:
        """A copy with another tensor in a slice."""
        return self._scattered(node, source, part, aten.slice.Tensor, dim, start, end, step)

    def op_select_scatter(self, node: fx.Node, source: Any, part: Any, dim: int, index: int) -> Value:
        """A copy with another tensor at an index."""
        return self._scattered(node, source, part, aten.select.int, dim, index)

    def op_as_strided_scatter(
        self, node: fx.Node, source: Any, part: Any, size: Any, stride: Any, offset: Any = None
    ) -> Value:
        """A copy with another tensor at places of these strides."""
        return self._scattered(node, source, part, aten.as_strided.default, size, stride, offset or 0)

    def op_diagonal_scatter(
        self, node: fx.Node, source: Any, part: Any, offset: int = 0, dim1: int = 0, dim2: int = 1
    ) -> Value:
        """A copy with another diagonal."""
        return self._scattered(node, source, part, aten.diagonal.default, offset, dim1, dim2)


def _viewed(value: Value, views: Callable[[torch.Tensor], Sequence[torch.Tensor]]) -> list[Value]:
    """Views of an operand in memory, whose shapes, strides and offsets torch computes."""
    name, strides, offset = value.memory  # type: ignore[misc]
    tensor = torch.empty(0, dtype=torch.float64, device="meta").as_strided(value.shape, strides, offset)
    return [in_memory(name, view.shape, view.stride(), int(view.storage_offset())) for view in views(tensor)]


# ---- what a node is


def _is_written_in_place(user: fx.Node) -> bool:
    """Whether a node takes each element of its operands once, inside of its own loop."""
    name = str(user.target).split(".")[1] if "." in str(user.target) else ""
    return name in ELEMENTS or name in OF_TRUTH or name in REDUCTIONS or name in ("clamp", "mean")


def _is_bool(argument: Any) -> bool:
    return isinstance(argument, fx.Node) and argument.meta["val"].dtype == torch.bool


def _clamp(arguments: Sequence[Any]) -> tuple[str, list[Any]]:
    source, least, most = arguments
    template, operands = "{0}", [source]
    for bound, name in ((least, "larger"), (most, "smaller")):
        if bound is not None:
            operands.append(bound)
            template = f"{name}({template}, {{{len(operands) - 1}}})"
    return template, operands
