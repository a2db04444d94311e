"""The random numbers of a graph, drawn outside of it, so that each member of an ensemble has a generator of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from pyrovae.engine.compat import RANDOM, takes

aten = torch.ops.aten

_FILLS: dict[Any, Callable[..., Any]] = {
    aten.rand.default: lambda row, size, g: row.uniform_(generator=g),
    aten.rand_like.default: lambda row, like, g: row.uniform_(generator=g),
    aten.uniform.default: lambda row, like, *a, g: row.uniform_(*a, generator=g),
    aten.randn.default: lambda row, size, g: row.normal_(generator=g),
    aten.randn_like.default: lambda row, like, g: row.normal_(generator=g),
    aten.normal_functional.default: lambda row, like, *a, g: row.normal_(*a, generator=g),
    aten.exponential.default: lambda row, like, *a, g: row.exponential_(*a, generator=g),
    aten.bernoulli.p: lambda row, like, *a, g: row.bernoulli_(*a, generator=g),
}
"""Draws that depend on no value: the same numbers, put into a row that lies in memory as the result would."""


class DependentDrawError(ValueError):
    """A draw that depends on what a member has learned; says which."""


@dataclass(frozen=True)
class Draw:
    """One random operation of a graph.

    Attributes:
        node: What it was.
        size: Shape of its result for one member.
        stride: How that lies in memory.
        dtype: Its type.
    """

    node: fx.Node
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def buffer(self, members: int, device: torch.device) -> Tensor:
        """Memory for the draws of all members, (members, *size)."""
        length = 1 + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True)) if all(self.size) else 0
        whole = torch.empty_strided(
            (members, *self.size), (max(length, 1), *self.stride), dtype=self.dtype, device=device
        )
        return whole.fill_(0.5) if self.dtype.is_floating_point else whole.zero_()


class Draws:
    """The random operations of a graph.

    Args:
        graph: A graph without operations in place; draws from distributions are rewritten as draws of plain noise.
        known: Placeholders that a draw may depend on: arguments, and tensors that all members share.

    Attributes:
        draws: One for each random operation, in their order.

    Raises:
        DependentDrawError: If a draw depends on more, and not by its shape alone.
    """

    def __init__(self, graph: fx.GraphModule, known: Sequence[fx.Node]) -> None:
        _take_apart(graph.graph)
        self._graph, self._known = graph, list(known)
        nodes = [n for n in graph.graph.nodes if n.op == "call_function" and RANDOM in getattr(n.target, "tags", ())]
        self.draws = [self._draw(node) for node in nodes]
        needed = self._needed([node for node in nodes if node.target not in _FILLS])
        self._steps = [n for n in graph.graph.nodes if n in needed or n in nodes]

    def _draw(self, node: fx.Node) -> Draw:
        value = node.meta["val"]
        if not isinstance(value, Tensor) or (node.target not in _FILLS and not takes(node.target, "generator")):
            raise DependentDrawError(f"the draw {node.target} cannot be made by a generator of its own")
        return Draw(node, tuple(value.shape), tuple(value.stride()), value.dtype)

    def _needed(self, draws: Sequence[fx.Node]) -> set[fx.Node]:
        """What must be computed for draws that depend on values."""
        needed: set[fx.Node] = set()
        pending = [(node, node) for node in draws]
        while pending:
            node, draw = pending.pop()
            if node in needed or node in self._known or node.target in _FILLS:
                continue
            if node.op == "placeholder":
                raise DependentDrawError(
                    f"the draw {draw.target} depends on what each member has learned, and not on its arguments alone"
                )
            needed.add(node)
            pending += [(parent, draw) for parent in node.all_input_nodes]
        return needed

    def draw(self, given: Sequence[Tensor], rows: Sequence[Tensor], generator: torch.Generator) -> None:
        """Make the draws of one member, as its program would by itself.

        Args:
            given: Values of the known placeholders.
            rows: Where each draw goes.
            generator: The member's.
        """
        values: dict[fx.Node, Any] = dict(zip(self._known, given, strict=True))
        free = iter(rows)
        for node in self._steps:
            if node.target in _FILLS:
                values[node] = row = next(free)
                _FILLS[node.target](row, *node.args, g=generator)
            elif node.op == "get_attr":
                values[node] = getattr(self._graph, str(node.target))
            else:
                args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
                random = RANDOM in getattr(node.target, "tags", ())
                values[node] = node.target(*args, **kwargs, **({"generator": generator} if random else {}))
                if random:
                    next(free).copy_(values[node])


def _take_apart(graph: fx.Graph) -> None:
    """Write draws that depend on values as functions of noise that does not, by torch's own formulas."""
    for node in list(graph.nodes):
        form = _FORMS.get(node.target)
        if form is None or (form is _bernoulli and node.meta["val"].device.type != "cpu"):
            continue  # on a GPU torch draws zeros and ones by another order of the same numbers
        with graph.inserting_before(node):
            found = form(graph, node)
        if found is not None:
            node.replace_all_uses_with(found)
            graph.erase_node(node)


def _noise(graph: fx.Graph, like: Any, operator: Any, *args: Any) -> fx.Node:
    noise = graph.call_function(operator, (like, *args))
    noise.meta = dict(like.meta)
    return noise


def _bernoulli(graph: fx.Graph, node: fx.Node) -> fx.Node:
    (p,) = node.all_input_nodes
    noise = _noise(graph, p, aten.rand_like.default)
    below = graph.call_function(aten.lt.Tensor, (noise, p))
    return graph.call_function(aten._to_copy.default, (below,), {"dtype": node.meta["val"].dtype})


def _categorical(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """One draw for each row: the first of exponential clocks."""
    (weights,) = node.all_input_nodes
    if node.args[1] != 1:
        return None
    noise = _noise(graph, weights, aten.exponential.default)
    return graph.call_function(aten.argmax.default, (graph.call_function(aten.div.Tensor, (weights, noise)), -1, True))


def _normal(graph: fx.Graph, node: fx.Node) -> fx.Node:
    mean, deviation = node.args
    noise = _noise(graph, node, aten.normal_functional.default)
    noise.args = (None, 0.0, deviation if node.target is aten.normal.Tensor_float else 1.0)
    if node.target is not aten.normal.Tensor_float:
        noise = graph.call_function(aten.mul.Tensor, (noise, deviation))
    return graph.call_function(aten.add.Tensor, (noise, mean))


_FORMS: dict[Any, Callable[[fx.Graph, Any], fx.Node | None]] = {
    aten.bernoulli.default: _bernoulli,
    aten.multinomial.default: _categorical,
    aten.normal.Tensor_Tensor: _normal,
    aten.normal.float_Tensor: _normal,
    aten.normal.Tensor_float: _normal,
}
