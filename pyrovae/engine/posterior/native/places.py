"""Operators that read and write by index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from pyrovae.engine.posterior.native.kernels import Kernels
from pyrovae.engine.posterior.native.text import UnsupportedError, Value, broadcast


class Places(Kernels):
    """Operators by index; most indices are known."""

    def _positions(self, indices: Sequence[Any], shape: Sequence[int]) -> Callable[[Sequence[str]], list[str]]:
        """Expressions of the indices of leading dimensions at a place of their common shape, all indices known."""
        tensors = [self._known[index] for index in indices]
        common = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
        found = []
        for tensor, size in zip(tensors, shape, strict=False):
            if tensor.dtype == torch.bool:
                raise UnsupportedError("an index of truth values")
            laid = self._writer.constant(torch.where(tensor < 0, tensor + size, tensor).expand(common).contiguous())
            found.append(broadcast(laid, common))
        return lambda index: [f"(int64_t){at(index)}" for at in found]

    def op_index(self, node: fx.Node, source: Any, indices: Sequence[Any]) -> Value:
        """Elements at known indices of the first dimensions."""
        if any(index is None or index not in self._known for index in indices):
            raise UnsupportedError("an index that is drawn, or not of the first dimensions")
        value = self._laid(source)
        rank = len(node.meta["val"].shape) - (len(value.shape) - len(indices))
        positions = self._positions(indices, value.shape)

        def at(index: Sequence[str]) -> str:
            return value.at([*positions(index[:rank]), *index[rank:]])

        return self._placed(node, Value(tuple(node.meta["val"].shape), at))

    def op_gather(self, node: fx.Node, source: Any, dim: int, index: Any) -> Value:
        """Elements at indices along a dimension."""
        value, where = self._laid(source), self._writer.stored(self._of(index))
        dim %= len(value.shape)

        def at(place: Sequence[str]) -> str:
            return value.at([f"(int64_t){where.at(place)}" if d == dim else i for d, i in enumerate(place)])

        return self._placed(node, Value(where.shape, at))

    def op_index_put(
        self, node: fx.Node, source: Any, indices: Sequence[Any], values: Any, accumulate: bool = False
    ) -> Value:
        """A copy with values put or added at known indices."""
        if any(index is None or index not in self._known for index in indices):
            raise UnsupportedError("an index that is drawn, or not of the first dimensions")
        found = self._writer.copied(self._of(source))
        common = torch.broadcast_shapes(*(self._known[index].shape for index in indices))
        shape = (*common, *found.shape[len(indices) :])
        positions, value = self._positions(indices, found.shape), self._operand(values, shape)

        def body(index: list[str]) -> list[str]:
            there = found.at([*positions(index[: len(common)]), *index[len(common) :]])
            return [f"{there} {'+=' if accumulate else '='} {value(index)};"]

        self._writer.loops(shape, body, "serial")  # two values may go to one place
        return found

    def op_scatter_add(self, node: fx.Node, source: Any, dim: int, index: Any, part: Any) -> Value:
        """A copy with values added at known indices along a dimension."""
        if index not in self._known:
            raise UnsupportedError("an index that is drawn")
        found, where = self._writer.copied(self._of(source)), self._of(index)
        value = self._writer.stored(self._of(part))
        dim %= len(found.shape)

        def body(place: list[str]) -> list[str]:
            there = [f"(int64_t){where.at(place)}" if d == dim else i for d, i in enumerate(place)]
            return [f"{found.at(there)} += {value.at(place)};"]

        self._writer.loops(where.shape, body, "serial")
        return found
