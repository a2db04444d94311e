"""From a Python function over tensors to one static graph whose every tensor is an explicit input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae.engine.compat import (
    TorchDispatchMode,
    is_view,
    mutates,
    storage_of,
    trace_graph,
    tree_leaves,
    written_arguments,
)


@dataclass(frozen=True)
class Capture:
    """A traced function.

    Attributes:
        graph: Takes the function's tensor arguments and then `lifted`, returns a flat tuple of tensors.
        lifted: The tensors that the function reached by other ways (parameters, buffers, closures), by identity,
            so that a change in place is seen without a new trace.
        changed: Those of them that the graph changes in place.
        changes_arguments: Whether the graph changes any of its arguments in place.
    """

    graph: fx.GraphModule
    lifted: tuple[Tensor, ...]
    changed: tuple[Tensor, ...]
    changes_arguments: bool


def capture(function: Callable[..., Sequence[Tensor]], leaves: Sequence[Tensor]) -> Capture:
    """Trace `function(*leaves)` once; the trace leaves no mark on tensors or on random number generators.

    Args:
        function: Any function from tensors to a flat sequence of tensors.
        leaves: Example arguments, of the shapes that the graph will take.

    Returns:
        The graph with its closed-over tensors lifted to inputs.
    """
    # Fresh objects: a tensor that is an argument and is closed over too is two inputs, and so is one given twice.
    arguments = [leaf.detach() for leaf in leaves]
    with untouched():
        traced = trace_graph(function, arguments)
    for node in reversed(traced.graph.nodes):
        if "profiler." in str(node.target):  # the optimizer's record_function, of no use in a graph
            traced.graph.erase_node(node)
    return _lift(traced)


def _lift(traced: fx.GraphModule) -> Capture:
    """Turn `get_attr` nodes into placeholders, one for each tensor, except for constants made inside the function."""
    graph = traced.graph
    lifted: list[Tensor] = []
    placeholders: dict[int, fx.Node] = {}
    arguments = [node for node in graph.nodes if node.op == "placeholder"]
    inputs = list(arguments)
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        tensor = getattr(traced, node.target)
        if not isinstance(tensor, Tensor) or any("lift_fresh" in str(user.target) for user in node.users):
            continue
        if id(tensor) not in placeholders:
            where = graph.inserting_after(inputs[-1]) if inputs else graph.inserting_before(None)
            with where:
                placeholders[id(tensor)] = graph.placeholder(f"lifted_{len(lifted)}")
            inputs.append(placeholders[id(tensor)])
            lifted.append(tensor)
        node.replace_all_uses_with(placeholders[id(tensor)])
        graph.erase_node(node)
    graph.eliminate_dead_code()
    unused = [p for p in placeholders.values() if not p.users]
    for node in unused:
        graph.erase_node(node)
    kept = tuple(t for t in lifted if placeholders[id(t)] not in unused)
    written = _written(graph)
    changed = tuple(t for t in kept if placeholders[id(t)] in written)
    return Capture(fx.GraphModule(traced, graph), kept, changed, not written.isdisjoint(arguments))


def _written(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose memory an operation in place writes to, itself or through views."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        targets = written_arguments(node.target, node.args, node.kwargs)
        found |= {_base(target) for target in targets if isinstance(target, fx.Node)}
    return found


def _base(node: fx.Node) -> fx.Node:
    """What a view is a view of."""
    return _base(node.all_input_nodes[0]) if is_view(node.target) and node.all_input_nodes else node


class _Untouched(TorchDispatchMode):
    """Keeps a copy of every tensor from outside that an in-place operation is about to change."""

    def __init__(self) -> None:
        super().__init__()
        self.originals: list[tuple[Tensor, Tensor]] = []
        self._made_inside: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if mutates(func):
            self._keep(written_arguments(func, args, kwargs))
        result = func(*args, **kwargs)
        inputs = {storage_of(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        outputs = {storage_of(t) for t in tree_leaves(result) if isinstance(t, Tensor)}
        self._made_inside |= outputs - inputs
        return result

    def _keep(self, written: list[Any]) -> None:
        for tensor in written:
            if isinstance(tensor, Tensor) and storage_of(tensor) not in self._made_inside:
                self.originals.append((tensor.detach(), tensor.detach().clone()))


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Inside, tensors and random number generators may be used and changed; afterwards they are as before."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    watch = _Untouched()
    try:
        with torch.random.fork_rng(devices=devices), watch:
            yield
    finally:
        with torch.no_grad():
            for tensor, original in reversed(watch.originals):
                tensor.copy_(original)
