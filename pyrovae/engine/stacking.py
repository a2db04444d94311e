"""Tensors of several members as rows of one, in which they live on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.engine.batching import EnsembleError


@dataclass
class _Stack:
    """One tensor for each member, and what holds them all."""

    tensors: tuple[Tensor, ...]
    whole: Tensor
    rows: list[int]

    def gather(self) -> None:
        """Bring home what has been moved elsewhere, with its present values."""
        for number, tensor in enumerate(self.tensors):
            if tensor.data_ptr() != self.rows[number]:
                row = self.whole[number]
                row.copy_(tensor.detach())
                tensor.data = row


class Stacks:
    """Keeps members' tensors as rows of one tensor each; the members' own objects are views of them meanwhile.

    So a module, an optimizer and whoever else holds one of these tensors goes on to see, and to change, its values.
    """

    def __init__(self) -> None:
        self._stacks: dict[tuple[int, ...], _Stack] = {}
        self._homes: dict[int, tuple[Tensor, Tensor]] = {}  # each tensor, and the memory that it came with

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensor whose rows are these, (members, ...).

        Raises:
            EnsembleError: If one of them is a part of a larger memory.
        """
        key = tuple(map(id, tensors))
        if key not in self._stacks:
            for tensor in tensors:
                if id(tensor) not in self._homes:
                    _check_alone(tensor)
                    self._homes[id(tensor)] = tensor, tensor.detach()
            first = tensors[0]
            strides = first.stride() if _is_dense(first) else torch.empty(first.shape).stride()
            whole = torch.empty_strided(
                (len(tensors), *first.shape), (first.numel(), *strides), dtype=first.dtype, device=first.device
            )
            rows = [whole[number].data_ptr() for number in range(len(tensors))]
            self._stacks[key] = _Stack(tuple(tensors), whole, rows)
        self._stacks[key].gather()
        return self._stacks[key].whole

    def gather(self, wholes: Sequence[Tensor]) -> None:
        """See to it that the rows of these are where they belong."""
        wanted = set(map(id, wholes))
        for stack in self._stacks.values():
            if id(stack.whole) in wanted:
                stack.gather()

    def release(self) -> None:
        """Give each tensor its own memory back, with its present values; `gather` makes them rows again."""
        for tensor, home in self._homes.values():
            if tensor.data_ptr() != home.data_ptr() and _alike(tensor, home):
                home.copy_(tensor.detach())
                tensor.data = home


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


def _check_alone(tensor: Tensor) -> None:
    if tensor.is_sparse or tensor.layout != torch.strided:
        raise EnsembleError("a parameter or buffer is sparse")
    if tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
        raise EnsembleError(
            f"a tensor of shape {tuple(tensor.shape)} that the programs use is a part of a larger one (clone() makes "
            f"it one of its own)"
        )


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill its memory without gaps, in any order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
