"""A program in double precision, whatever its own type is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.compat import TorchDispatchMode, is_view, tree_leaves, written_arguments

_LOW = {torch.float32, torch.float16, torch.bfloat16}


class _Promotion(TorchDispatchMode):
    """Every operation takes floating-point tensors as float64 and makes no others.

    A tensor that is written to keeps its type, and so does the result of a view: what is made of it is promoted.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        kept = {id(tensor) for tensor in written_arguments(func, args, kwargs)}
        if is_view(func):
            kept |= {id(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        return func(*_promoted(args, kept), **_promoted(kwargs, kept))


def _promoted(value: Any, kept: set[int]) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.dtype in _LOW and id(value) not in kept else value
    if isinstance(value, torch.dtype):
        return torch.float64 if value in _LOW else value
    if isinstance(value, (list, tuple)):
        return type(value)(_promoted(item, kept) for item in value)
    if isinstance(value, dict):
        return {name: _promoted(item, kept) for name, item in value.items()}
    return value


_ACTIVE = threading.local()


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Inside, programs compute in float64, with data, networks and numbers of any type.

    Inside of itself it does nothing: modes that were entered in between must stay in front of it.
    """
    if getattr(_ACTIVE, "yes", False):
        yield
        return
    _ACTIVE.yes = True
    try:
        with default_double(), _Promotion():
            yield
    finally:
        _ACTIVE.yes = False


@contextlib.contextmanager
def default_double() -> Iterator[None]:
    """Inside, whole numbers times a fraction are float64; a graph holds no word on the type of such a product."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
