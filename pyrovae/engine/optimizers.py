"""A torch optimizer's own `step()` inside a graph, with its learning rate as an input."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

_DIVISIONS = (Tensor.__truediv__, Tensor.div, torch.div, torch.true_divide)
_WITH_FACTOR: dict[Any, Callable[..., Tensor]] = {
    Tensor.add_: lambda other: other,
    Tensor.addcdiv_: torch.div,
    Tensor.addcmul_: torch.mul,
}
_OUTSIDE = ("params", "lr")


class UncapturableError(RuntimeError):
    """An optimizer whose step cannot be part of a graph."""


class LearningRates:
    """The learning rate of each parameter group as a tensor that graphs read.

    Args:
        optimizer: Its groups' rates may be changed at any time, by schedulers, by hand or by `load_state_dict`.
        device: Where the graph runs.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self._optimizer = optimizer
        self._seen: list[Any] = [None] * len(optimizer.param_groups)
        self.tensors = [torch.zeros((), device=device) for _ in optimizer.param_groups]

    def refresh(self) -> None:
        """Bring the tensors up to date with the groups; costs nothing when no rate has changed."""
        for index, group in enumerate(self._optimizer.param_groups):
            rate = group["lr"]
            if isinstance(rate, Tensor):
                self.tensors[index].copy_(rate)
            elif rate != self._seen[index]:
                self._seen[index] = rate
                self.tensors[index].fill_(rate)


class StateWatch:
    """Notice what a captured `step()` took for granted: options of the groups, and the identity of state tensors.

    Args:
        optimizer: An optimizer whose state exists.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._options = self._options_now()
        self._states = optimizer.state
        self._tensors = [
            (state, key, value)
            for state in optimizer.state.values()
            for key, value in state.items()
            if isinstance(value, Tensor)
        ]
        self._count = len(optimizer.state)

    def _options_now(self) -> list[dict[str, Any]]:
        return [{k: v for k, v in g.items() if k not in _OUTSIDE} for g in self._optimizer.param_groups]

    def changed(self) -> bool:
        """Whether options or state are no longer those that were captured."""
        return (
            self._optimizer.state is not self._states
            or len(self._states) != self._count
            or any(state.get(key) is not value for state, key, value in self._tensors)
            or self._options_now() != self._options
        )


def realized(tensor: Tensor) -> Tensor:
    """The same tensor, which Inductor will not inline into its users."""
    return _realize()(tensor)


@functools.cache
def _realize() -> Callable[[Tensor], Tensor]:
    """The operator that does so. Inductor is imported here, since it takes two seconds and 150 MB."""
    try:
        import torch._inductor.test_operators

        return torch.ops._inductor_test.realize
    except (ImportError, AttributeError):  # a torch without the operator: correct, but slower on the CPU
        return lambda tensor: tensor


class _TensorScalars(TorchFunctionMode):
    """Let an optimizer that is written for numbers compute with 0-d tensors.

    Factors given as `alpha=` or `value=`, which must be numbers, become products. With `realize`, Inductor computes a
    0-d operand of a large operation once, not once for every vector of elements: otherwise the bias corrections of Adam
    (two powers of the step count) are inlined into the loop over the weights, where the C++ compiler cannot hoist them
    for fear of aliasing, and cost more than the matrix products. Division by such an operand becomes a product too,
    because vector division is several times slower.

    Args:
        realize: Whether to do so; of use on the CPU.
    """

    def __init__(self, realize: bool) -> None:
        super().__init__()
        self._realize = realize

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        options = dict(kwargs or {})
        factor = next((options.pop(k) for k in ("alpha", "value") if isinstance(options.get(k), Tensor)), None)
        if factor is not None and func in _WITH_FACTOR:
            func, args = Tensor.add_, (args[0], _WITH_FACTOR[func](*args[1:]) * factor)
        elif func in _DIVISIONS and _mixed(args[:2]) and isinstance(args[1], Tensor) and not args[1].dim():
            func, args = Tensor.mul, (args[0], args[1].reciprocal())
        if self._realize and _mixed(args):
            args = tuple(realized(a) if isinstance(a, Tensor) and not a.dim() else a for a in args)
        return func(*args, **options)


def _mixed(args: tuple) -> bool:
    """Whether large tensors meet 0-d ones."""
    large = [bool(a.dim()) for a in args if isinstance(a, Tensor)]
    return any(large) and not all(large)


def capturable_step(optimizer: Optimizer, rates: list[Tensor], gradients: list[tuple[Tensor, Tensor]]) -> None:
    """Run `optimizer.step()` so that a tracer sees nothing but tensor operations.

    Args:
        optimizer: An optimizer whose state exists.
        rates: The learning rate of each group, 0-d.
        gradients: Pairs of parameter and gradient.

    Raises:
        UncapturableError: If the step needs values on the host.
    """
    device = rates[0].device
    with _tensor_options(optimizer, rates, foreach=device.type != "cpu"), torch.no_grad():
        for parameter, gradient in gradients:
            parameter.grad = gradient
        # Optimizers ask this before they refuse `capturable` on the CPU, where torch.compile has no such limit.
        scalars = _TensorScalars(realize=device.type == "cpu")
        with mock.patch("torch.compiler.is_compiling", return_value=True), scalars:
            try:
                optimizer.step()
            except (RuntimeError, TypeError) as error:
                raise UncapturableError(f"{type(optimizer).__name__}.step() reads values") from error
            finally:
                for parameter, _ in gradients:
                    parameter.grad = None


@contextlib.contextmanager
def _tensor_options(optimizer: Optimizer, rates: list[Tensor], *, foreach: bool) -> Iterator[None]:
    saved = [dict(group) for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            wanted = {"lr": rate, "capturable": True, "foreach": foreach, "fused": None}
            group.update({key: value for key, value in wanted.items() if key in group})
        yield
    finally:
        for group, before in zip(optimizer.param_groups, saved, strict=True):
            group.update(before)


def why_not_capturable(optimizer: Optimizer) -> str | None:
    """The reason for which this optimizer's step must run outside the graph, or None."""
    name = type(optimizer).__name__
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return f"{name} has step hooks, which a graph would run only once"
    if not type(optimizer).__module__.startswith("torch.optim"):
        return f"{name} is not one of torch.optim, so its step may read values"
    if any("lr" not in group for group in optimizer.param_groups):
        return f"{name} has no learning rate"
    return None
