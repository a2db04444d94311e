"""From a Python function over tensors to one static graph whose every tensor is an explicit input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp.decompositions import native_batch_norm_decomposition
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Batch norm changes its running statistics behind a schema that does not say so; this form of it says so.
_SECRETIVE = (torch.ops.aten.native_batch_norm.default, torch.ops.aten.cudnn_batch_norm.default)
_HONEST = {torch.ops.aten.native_batch_norm.default: native_batch_norm_decomposition}


@dataclass(frozen=True)
class Capture:
    """A traced function.

    Attributes:
        graph: Takes the function's tensor arguments and then `lifted`, returns a flat tuple of tensors.
        lifted: The tensors that the function reached by other ways (parameters, buffers, closures), by identity,
            so that a change in place is seen without a new trace.
        changed: Those of them that the graph changes in place.
    """

    graph: fx.GraphModule
    lifted: tuple[Tensor, ...]
    changed: tuple[Tensor, ...]


def capture(function: Callable[..., Sequence[Tensor]], leaves: Sequence[Tensor]) -> Capture:
    """Trace `function(*leaves)` once; the trace leaves no mark on tensors or on random number generators.

    Args:
        function: Any function from tensors to a flat sequence of tensors.
        leaves: Example arguments, of the shapes that the graph will take.

    Returns:
        The graph with its closed-over tensors lifted to inputs.
    """
    one_mode = tracing(TracingContext(FakeTensorMode()))  # the tracer would make one for every node, and take longer
    without_cudnn = torch.backends.cudnn.flags(enabled=False)  # its batch norm hides what it changes
    with untouched(), without_cudnn, one_mode:
        traced = make_fx(function, decomposition_table=_HONEST, tracing_mode="real")(*leaves)
    for node in reversed(traced.graph.nodes):
        if "profiler." in str(node.target):  # the optimizer's record_function, of no use in a graph
            traced.graph.erase_node(node)
    return Capture(*_lift(traced))


def _lift(traced: fx.GraphModule) -> tuple[fx.GraphModule, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Turn `get_attr` nodes into placeholders, one for each tensor, except for constants made inside the function.

    Returns:
        The graph, the tensors of its placeholders, and those of them that it changes.
    """
    graph = traced.graph
    lifted: list[Tensor] = []
    placeholders: dict[int, fx.Node] = {}
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
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
    return fx.GraphModule(traced, graph), kept, tuple(t for t in kept if placeholders[id(t)] in written)


def _written(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose memory an operation in place writes to, itself or through views."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable:
            given = dict(zip([a.name for a in schema.arguments], node.args, strict=False)) | node.kwargs
            targets = [
                given.get(a.name) for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write
            ]
            found |= {_base(target) for target in tree_leaves(targets) if isinstance(target, fx.Node)}
    return found


def _base(node: fx.Node) -> fx.Node:
    """What a view is a view of."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.returns or schema.returns[0].alias_info is None:
        return node
    return _base(node.all_input_nodes[0])


class _Untouched(TorchDispatchMode):
    """Keeps a copy of every tensor from outside that an in-place operation is about to change."""

    def __init__(self) -> None:
        super().__init__()
        self.originals: list[tuple[Tensor, Tensor]] = []
        self._made_inside: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _SECRETIVE:
            self._keep(args[3:5])
        if func._schema.is_mutable:
            for declared, value in zip(func._schema.arguments, args, strict=False):
                if declared.alias_info is not None and declared.alias_info.is_write:
                    self._keep(value)
            for declared in func._schema.arguments:
                if declared.name in kwargs and declared.alias_info is not None and declared.alias_info.is_write:
                    self._keep(kwargs[declared.name])
        result = func(*args, **kwargs)
        inputs = {_storage(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        outputs = {_storage(t) for t in tree_leaves(result) if isinstance(t, Tensor)}
        self._made_inside |= outputs - inputs
        return result

    def _keep(self, value: Any) -> None:
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor) and _storage(tensor) not in self._made_inside:
                self.originals.append((tensor.detach(), tensor.detach().clone()))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


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
