"""How much tensor work a step is, counted."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

from pyrovae.engine.compat import TorchDispatchMode, tree_leaves


class Counting(TorchDispatchMode):
    """Counts the operations that run inside.

    Attributes:
        operators: How many.
        flops: Floating-point operations of matrix products and convolutions.
        elements: Numbers that the operations return.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators = self.flops = self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.operators += 1
        self.elements += sum(t.numel() for t in tree_leaves(result) if isinstance(t, Tensor))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=result))
        return result
