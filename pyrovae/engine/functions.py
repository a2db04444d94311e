"""Python functions over tensors as graphs: one for each signature, made anew when what was traced has changed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from pyrovae.engine.capture import Capture, capture, untouched
from pyrovae.engine.compilation import Replay, compiled, tf32
from pyrovae.engine.programs import UntraceableError, Unvalidated
from pyrovae.engine.watching import Placement, Watch

logger = logging.getLogger(__name__)

MAX_GRAPHS = 8
MAX_RETRACES = 16


class TooManyGraphsError(RuntimeError):
    """A function was called with so many signatures, or changed so often, that graphs do not pay."""


@dataclass(frozen=True)
class Plan:
    """One graph, ready to be called.

    Attributes:
        captured: The traced function.
        call: Takes the tensor arguments followed by the lifted tensors.
        structure: The tree of the function's results.
        changed: Whether the plan is stale.
    """

    captured: Capture
    call: Callable[..., Any]
    structure: TreeSpec
    changed: Callable[[], bool]

    def run(self, tensors: list[Tensor]) -> Sequence[Tensor]:
        """Run on the tensor arguments; the results are flat, in the order of `structure`."""
        return self.call(*tensors, *self.captured.lifted)


class GraphFunction:
    """A function that is traced, and compiled if wanted, for each signature of its arguments.

    Tensor arguments are inputs of the graph; other arguments are constants and part of the signature, and so are the
    tensors' shapes, strides, types and devices. Tensors that the function reaches by itself (parameters, buffers) are
    inputs too: a change in place is seen, and a swapped module, a replaced buffer or a changed train/eval flag makes a
    new graph.

    Args:
        function: Takes and returns trees of tensors; results may not depend on values through Python.
        engine: "graph" or "compiled".
        watched: Callables whose modules are watched; the function itself by default.
        stale: Called when a graph is made; returns a function that says when something else has changed.
        rehearsal: Called with real arguments before the first trace of a signature.
        tf32: Whether matrix products may use TF32 on the GPU.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        engine: str = "compiled",
        *,
        watched: tuple[Callable[..., Any] | None, ...] = (),
        stale: Callable[[], Callable[[], bool]] | None = None,
        rehearsal: Callable[..., None] | None = None,
        tf32: bool = False,
    ) -> None:
        self._function, self._engine, self._tf32 = function, engine, tf32
        self._watched = watched or (function,)
        self._stale, self._rehearsal = stale, rehearsal
        self._trusted = False
        self._plans: dict[Any, Plan] = {}
        self._retraces = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results for these arguments.

        Raises:
            UntraceableError: If the function reads values of tensors in Python.
            CompilerError: If compilation is impossible or fails.
            TooManyGraphsError: After more than `MAX_GRAPHS` signatures or `MAX_RETRACES` changes.
        """
        plan, tensors = self._plan(args, kwargs)
        with self._switched(), torch.no_grad():
            return tree_unflatten(list(plan.run(tensors)), plan.structure)

    def stacked(self, calls: Sequence[tuple]) -> Any:
        """The results of many calls, stacked along a new first dimension, with the least host work between calls.

        Args:
            calls: The arguments of each call. All graphs are made first; until the end nothing watched may change.

        Raises:
            UntraceableError, CompilerError, TooManyGraphsError: As a single call does, before anything has run.
        """
        with self.unchanging():
            planned = [self._plan(args, {}) for args in calls]
        with self._switched(), torch.no_grad():
            rows = [plan.run(tensors) for plan, tensors in planned]
            columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        return tree_unflatten(columns, planned[0][0].structure)

    def _plan(self, args: tuple, kwargs: dict[str, Any]) -> tuple[Plan, list[Tensor]]:
        """The graph for these arguments, and the tensors among them."""
        if not kwargs and all(isinstance(arg, Tensor) for arg in args):  # the common case, without a walk over trees
            leaves = tensors = list(args)
            return self._plan_for(leaves, None, tensors), tensors
        leaves, structure = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return self._plan_for(leaves, structure, tensors), tensors

    def _plan_for(self, leaves: list[Any], structure: TreeSpec | None, tensors: list[Tensor]) -> Plan:
        key = (structure, *map(_signature, leaves))
        plan = self._plans.get(key)
        if plan is None and len(self._plans) >= MAX_GRAPHS:
            raise TooManyGraphsError(
                f"more than {MAX_GRAPHS} signatures; pass numbers that change as tensors, and batches in few sizes"
            )
        if plan is not None and not self._trusted and plan.changed():
            self._retraces += 1
            if self._retraces > MAX_RETRACES:
                raise TooManyGraphsError(
                    f"modules or options changed more than {MAX_RETRACES} times since the start (a schedule may change "
                    f"learning rates, and nothing else: OneCycleLR needs cycle_momentum=False)"
                )
            logger.info("a module, a buffer or an option has changed: tracing anew")
            plan = None
        if plan is None:
            plan = self._plans[key] = self._make(leaves, structure, tensors)
        return plan

    def _make(self, leaves: list[Any], structure: TreeSpec | None, tensors: list[Tensor]) -> Plan:
        results: list[TreeSpec] = []

        def flat(*given: Tensor) -> list[Tensor]:
            supply = iter(given)
            filled = [next(supply) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            args, kwargs = _arguments(filled, structure)
            values, tree = tree_flatten(self._function(*args, **kwargs))
            results[:] = [tree]
            return [torch.as_tensor(value) for value in values]

        if self._rehearsal is not None:
            args, kwargs = _arguments(leaves, structure)
            self._rehearsal(*args, **kwargs)
        with self._switched():
            try:
                captured = capture(flat, tensors)
            except RuntimeError as error:
                if "data-dependent control flow" not in str(error):
                    raise
                raise UntraceableError(
                    "the function reads a tensor's value in Python (.item(), float(), bool(), if)"
                ) from error
            call: Callable[..., Any] = captured.graph
            watches = [Watch(*self._watched).changed] + ([self._stale()] if self._stale else [])
            if self._engine == "compiled":
                call = compiled(captured, tensors)
                # A CUDA graph would hold the value that a tensor on the host has now.
                if all(t.is_cuda for t in (*tensors, *captured.lifted)):
                    call = Replay(call, captured, tensors)
                    watches.append(Placement(captured.lifted).changed)
        return Plan(captured, call, results[0], lambda: any(changed() for changed in watches))

    @contextlib.contextmanager
    def unchanging(self) -> Iterator[None]:
        """The caller's promise that nothing watched changes inside; calls then skip the check."""
        stale = [key for key, plan in self._plans.items() if plan.changed()]
        self._trusted = self._retraces + len(stale) <= MAX_RETRACES  # otherwise the next call says so
        if self._trusted:
            self._retraces += len(stale)
            for key in stale:
                del self._plans[key]
        try:
            yield
        finally:
            self._trusted = False

    def _switched(self) -> contextlib.AbstractContextManager[None]:
        return tf32(True) if self._tf32 else contextlib.nullcontext()


def compile_function(
    function: Callable[..., Any], engine: str = "compiled", *, allow_tf32: bool = False
) -> GraphFunction:
    """Make any function of tensors one graph for each signature; its modules' parameters become inputs.

    Gradients do not flow through the results.

    Args:
        function: Takes and returns trees of tensors, such as an importance-sampling bound on a batch of images.
        engine: "compiled", or "graph" for a traced graph without a compiler.
        allow_tf32: Whether matrix products may use TF32 on the GPU.

    Returns:
        A callable with the function's arguments and results.

    Example:
        >>> bound = compile_function(lambda images: vae.bound(images, num_samples=100))
        >>> total = sum(bound(batch).sum() for batch in images.split(1000))
    """
    if engine not in ("compiled", "graph"):
        raise ValueError(f"engine must be compiled or graph, got {engine!r}")

    def unvalidated(*args: Any, **kwargs: Any) -> Any:
        with Unvalidated():
            return function(*args, **kwargs)

    def rehearsal(*args: Any, **kwargs: Any) -> None:
        with untouched(), torch.no_grad():
            function(*args, **kwargs)

    return GraphFunction(unvalidated, engine, watched=(function,), rehearsal=rehearsal, tf32=allow_tf32)


def _arguments(leaves: list[Any], structure: TreeSpec | None) -> tuple[tuple, dict[str, Any]]:
    return (tuple(leaves), {}) if structure is None else tree_unflatten(leaves, structure)


def _signature(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device
    return type(leaf), leaf
