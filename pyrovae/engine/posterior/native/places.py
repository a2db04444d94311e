"""Operators that read and write by index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from pyrovae.engine.posterior.native.kernels import Kernels
from pyrovae.engine.posterior.native.text import UnsupportedError, Value, broadcast


@dataclass(frozen=True)
class Positions:
    """Where indices of one shape lead.

    Attributes:
        shape: Their common shape.
        at: Expressions of the indexed dimensions, of the expressions of a place in that shape.
    """

    shape: tuple[int, ...]
    at: Callable[[Sequence[str]], list[str]]


class Places(Kernels):
    """Operators by index."""

    def _advanced(self, indices: Sequence[Any], shape: Sequence[int]) -> tuple[int, int, Positions]:
        """What is asked for by indices that stand side by side.

        Returns:
            Dimensions in front, how many are indexed, and expressions of these at a place of the indices' shape.
        """
        front = next(d for d, index in enumerate(indices) if index is not None)
        given = list(indices[front:])
        while given[-1] is None:
            given.pop()
        if None in given:
            raise UnsupportedError("indices that do not stand side by side")
        whole = [places for index in given for places in self._whole(index)]
        found = [self._inside(index, size) for index, size in zip(whole, shape[front:], strict=False)]
        common = torch.broadcast_shapes(*(places.shape for places in found))
        each = [broadcast(places, common) for places in found]
        return front, len(found), Positions(tuple(common), lambda index: [f"(int64_t){at(index)}" for at in each])

    def _whole(self, index: fx.Node) -> Sequence[Any]:
        """An index as whole numbers: a known mask stands for the places that it leaves, one tensor a dimension."""
        if index.meta["val"].dtype != torch.bool:
            return (index,)
        if index not in self._known:
            raise UnsupportedError("a mask that is drawn, as an index")
        return self._known[index].nonzero().unbind(1)

    def op_index(self, node: fx.Node, source: Any, indices: Sequence[Any]) -> Value:
        """Elements at indices."""
        value = self._laid(source)
        front, _, positions = self._advanced(indices, value.shape)
        behind = front + len(positions.shape)

        def at(index: Sequence[str]) -> str:
            return value.at([*index[:front], *positions.at(index[front:behind]), *index[behind:]])

        return self._placed(node, Value(tuple(node.meta["val"].shape), at))

    def op_gather(self, node: fx.Node, source: Any, dim: int, index: Any) -> Value:
        """Elements at indices along a dimension."""
        value = self._laid(source)
        dim %= len(value.shape)
        where = self._inside(index, value.shape[dim])

        def at(place: Sequence[str]) -> str:
            return value.at([f"(int64_t){where.at(place)}" if d == dim else i for d, i in enumerate(place)])

        return self._placed(node, Value(where.shape, at))

    def op_index_put(
        self, node: fx.Node, source: Any, indices: Sequence[Any], values: Any, accumulate: bool = False
    ) -> Value:
        """A copy with values put or added at indices."""
        found = self._writer.copied(self._of(source))
        front, count, positions = self._advanced(indices, found.shape)
        behind = front + len(positions.shape)
        shape = (*found.shape[:front], *positions.shape, *found.shape[front + count :])
        value = self._operand(values, shape)

        def body(index: list[str]) -> list[str]:
            there = found.at([*index[:front], *positions.at(index[front:behind]), *index[behind:]])
            return [f"{there} {'+=' if accumulate else '='} {value(index)};"]

        self._writer.loops(shape, body, "serial")  # two values may go to one place
        return found

    def _inside(self, index: Any, size: int) -> Value:
        """Indices from zero: known ones, which torch has checked, or drawn ones, which are checked at each call."""
        tensor = index if isinstance(index, torch.Tensor) else self._known.get(index)
        if tensor is not None:
            return self._writer.constant(torch.where(tensor < 0, tensor + size, tensor).contiguous())
        found = self._writer.copied(self._of(index))
        self._writer.loops(
            found.shape, lambda i: [f"{found.at(i)} = inside({found.at(i)}, {size}, &outside);"], "serial"
        )
        return found

    def op_scatter(self, node: fx.Node, source: Any, dim: int, index: Any, part: Any) -> Value:
        """A copy with values put at indices along a dimension."""
        return self._scattered_along(source, dim, index, part, "=")

    def op_scatter_add(self, node: fx.Node, source: Any, dim: int, index: Any, part: Any) -> Value:
        """A copy with values added at indices along a dimension."""
        return self._scattered_along(source, dim, index, part, "+=")

    def _scattered_along(self, source: Any, dim: int, index: Any, part: Any, sign: str) -> Value:
        found, value = self._writer.copied(self._of(source)), self._writer.stored(self._of(part))
        dim %= len(found.shape)
        where = self._inside(index, found.shape[dim])

        def body(place: list[str]) -> list[str]:
            there = [f"(int64_t){where.at(place)}" if d == dim else i for d, i in enumerate(place)]
            return [f"{found.at(there)} {sign} {value.at(place)};"]

        self._writer.loops(where.shape, body, "serial")
        return found
