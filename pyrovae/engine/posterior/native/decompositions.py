"""Operators that torch leaves whole, taken apart into arithmetic that there are kernels for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.compat import core_decompositions

aten = torch.ops.aten


def _var_mean(
    source: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    over = list(range(source.ndim)) if not dim else list(dim)
    mean = source.mean(over, keepdim=True)
    count = math.prod(source.shape[d] for d in over)
    total = (source - mean).square().sum(over, keepdim=keepdim)
    return total / (count - (1 if correction is None else correction)), mean if keepdim else source.mean(over)


def _var(source: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return _var_mean(source, *args, **kwargs)[0]


def _batch_norm(
    source: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """By running statistics, as in evaluation."""
    shape = [1, -1] + [1] * (source.ndim - 2)
    found = (source - mean.reshape(shape)) / (var.reshape(shape) + eps).sqrt()
    found = found if weight is None else found * weight.reshape(shape)
    return found if bias is None else found + bias.reshape(shape), source.new_empty(0), source.new_empty(0)


def decompositions() -> dict[Any, Callable[..., Any]]:
    """How operators are taken apart before they are written in C."""
    return {
        **core_decompositions(),
        aten.var.correction: _var,
        aten.var_mean.correction: _var_mean,
        aten._native_batch_norm_legit_no_training.default: _batch_norm,
    }
