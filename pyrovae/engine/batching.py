"""The graph of one member of an ensemble, run for all of them at once."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from pyrovae.engine.capture import Capture, untouched
from pyrovae.engine.compat import (
    core_decompositions,
    mutates,
    realize,
    trace_graph,
    tree_flatten,
    tree_unflatten,
)
from pyrovae.engine.programs import UntraceableError

aten = torch.ops.aten

Value = tuple[Any, bool]
"""A value, and whether it has one row for each member."""


class EnsembleError(UntraceableError):
    """Members that cannot be trained as one program; says why, and the cure."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the members cannot be trained as one program: {reason}; train them one by one")


def functional_form(captured: Capture, leaves: Sequence[Tensor]) -> fx.GraphModule:
    """A traced graph without operations in place, but for copies into its placeholders at the end.

    Args:
        captured: The traced function.
        leaves: Example arguments.
    """
    changed = set(map(id, captured.changed))
    lifted = [t.detach().clone() if id(t) in changed else t.detach() for t in captured.lifted]
    pure = torch.func.functionalize(captured.graph.forward, remove="mutations")
    with untouched(), torch.no_grad():
        return trace_graph(lambda *given: pure(*given), [*leaves, *lifted])


def first_difference(one: fx.GraphModule, other: fx.GraphModule) -> str | None:
    """In what two graphs differ, in words; None if they are the same operations on the same constants."""
    pairs: dict[fx.Node, fx.Node] = {}
    nodes, others = list(one.graph.nodes), list(other.graph.nodes)
    if len(nodes) != len(others):
        return f"their steps are {len(nodes):,} and {len(others):,} operations"
    for node, twin in zip(nodes, others, strict=True):
        pairs[node] = twin
        if node.op != twin.op or (node.op == "call_function" and node.target is not twin.target):
            return f"one takes the operation {node.target} where another takes {twin.target}"
        if node.op == "get_attr":
            if not _equal(getattr(one, str(node.target)), getattr(other, str(twin.target))):
                return "they were made with different constant tensors"
            continue
        if node.op == "placeholder":
            if not _alike(node.meta.get("val"), twin.meta.get("val")):
                return "their parameters or arguments have different shapes or types"
            continue
        (args, structure), (twins, like) = (tree_flatten((n.args, n.kwargs)) for n in (node, twin))
        for a, b in zip(args, twins, strict=True) if structure == like else [(structure, like)]:
            same = pairs.get(a) is b if isinstance(a, fx.Node) else _equal(a, b)
            if not same:
                given = f" ({a} and {b})" if isinstance(a, (int, float)) and isinstance(b, (int, float)) else ""
                return f"they differ in a constant of {node.target}{given}, where only tensors may differ"
    return None


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return type(one) is type(other)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return _alike(one, other) and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    return type(one) is type(other) and one == other


class Batched:
    """A graph of one member, run for all.

    Args:
        graph: Without operations in place, but for copies into placeholders.
        rows: For each placeholder, whether members have values of their own.
        members: How many members there are.
    """

    def __init__(self, graph: fx.GraphModule, rows: Sequence[bool], members: int) -> None:
        self._graph, self._rows, self._members = graph, list(rows), members
        self.placeholders = [n for n in graph.graph.nodes if n.op == "placeholder"]

    def __call__(
        self, given: Sequence[Tensor], drawn: Mapping[fx.Node, Tensor]
    ) -> tuple[list[Tensor], dict[int, Tensor]]:
        """Run.

        Args:
            given: Values of the placeholders; (members, ...) where they have rows.
            drawn: Results of the random operations, (members, ...).

        Returns:
            The graph's results, (members, ...), and the new values of placeholders by their numbers, likewise.

        Raises:
            EnsembleError: If an operation cannot be done for several members at once.
        """
        values: dict[fx.Node, Value] = dict(zip(self.placeholders, zip(given, self._rows, strict=True), strict=True))
        values |= {node: (tensor, True) for node, tensor in drawn.items()}
        written: dict[int, Tensor] = {}
        results: list[Tensor] = []
        for node in self._graph.graph.nodes:
            if node.op == "get_attr":
                values[node] = getattr(self._graph, str(node.target)), False
            elif node.op == "output":
                results = [self._with_rows(values[n]) for n in node.args[0]]
            elif node.target is aten.copy_.default and node.args[0] in self.placeholders:
                written[self.placeholders.index(node.args[0])] = self._with_rows(values[node.args[1]])
            elif node.op == "call_function" and node not in drawn:
                values[node] = _apply(node, values)
        return results, written

    def _with_rows(self, value: Value) -> Tensor:
        tensor, has_rows = value
        return tensor if has_rows else tensor.expand(self._members, *tensor.shape)


def _apply(node: fx.Node, values: Mapping[fx.Node, Value]) -> Value:
    """One operation, for all members where an operand has rows."""
    target: Any = _FORMS.get(node.target, node.target)
    if target in _APART:
        target = core_decompositions().get(target, target)
    if mutates(target):
        raise EnsembleError(f"{target} changes a tensor in place that is no parameter and no buffer")
    used = {n: values[n] for n in node.all_input_nodes}
    if not any(has_rows for _, has_rows in used.values()):
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: used[n][0])
        return target(*args, **kwargs), False
    if target is operator.getitem:
        whole, has_rows = used[node.all_input_nodes[0]]
        return whole[node.args[1]], has_rows
    if getattr(target, "overloadpacket", None) is realize():  # a hint to Inductor
        return target(used[node.all_input_nodes[0]][0]), True
    with_rows = [n for n, (_, has_rows) in used.items() if has_rows]
    structure: list[Any] = []

    def of_one(*rows: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(with_rows, rows, strict=True))
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: own.get(n, used[n][0]))
        found, tree = tree_flatten(target(*args, **kwargs))
        structure[:] = [tree, [isinstance(value, Tensor) for value in found], found]
        return tuple(value for value in found if isinstance(value, Tensor))

    try:
        with warnings.catch_warnings():  # an operation without a rule is done for one member after another
            warnings.filterwarnings("ignore", message="There is a performance drop")
            tensors = iter(torch.vmap(of_one)(*(used[n][0] for n in with_rows)))
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise EnsembleError(f"the operation {node.target} is not to be had for several at once ({reason})") from error
    tree, are_tensors, found = structure
    filled = [next(tensors) if is_tensor else value for is_tensor, value in zip(are_tensors, found, strict=True)]
    return tree_unflatten(filled, tree), True


_APART = (aten._native_batch_norm_legit_functional.default, aten.native_batch_norm_backward.default)


def _copy(destination: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return source.to(destination.dtype).expand(destination.shape)


_FORMS: dict[Any, Any] = {
    aten.view.default: torch.reshape,
    aten._unsafe_view.default: torch.reshape,
    aten.copy.default: _copy,
}
"""Operations that lose their meaning where members' rows lie between them, and what stands for them."""
