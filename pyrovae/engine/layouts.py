"""What graphs take for granted of the tensors that they read."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from torch import Tensor

_FLAGS = operator.attrgetter("requires_grad", "shape", "dtype", "_backward_hooks", "_post_accumulate_grad_hooks")


class Layouts:
    """What a graph took for granted of tensors that it reads: shape, type, device, whether a gradient is wanted.

    Args:
        tensors: Kept alive.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        unique = {id(tensor): tensor for tensor in tensors if not tensor.is_sparse}
        self._tensors = list(unique.values())
        self._addresses = [t.data_ptr() for t in self._tensors]
        self._flags = list(map(_FLAGS, self._tensors))
        self._strides = list(map(Tensor.stride, self._tensors))
        self._devices = [t.device for t in self._tensors]

    def changed(self) -> bool:
        """Whether any is no longer as it was."""
        if list(map(_FLAGS, self._tensors)) != self._flags or list(map(Tensor.stride, self._tensors)) != self._strides:
            return True  # `parameter.data = parameter.data.T` has other strides and the same address
        addresses = [t.data_ptr() for t in self._tensors]
        if addresses == self._addresses:
            return False
        self._addresses = addresses  # `parameter.data = other` of the same layout is read like any new value
        return [t.device for t in self._tensors] != self._devices


class Placement:
    """Where tensors lie in memory, which a CUDA graph takes for granted, and `module.cpu().cuda()` changes.

    Args:
        tensors: Kept alive.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = list(tensors)
        self._addresses = self._now()

    def _now(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors]

    def changed(self) -> bool:
        """Whether any tensor has new memory."""
        return self._now() != self._addresses
