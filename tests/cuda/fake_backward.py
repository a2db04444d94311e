"""Autograd's engine in Python, since torch's own asks the driver for streams."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor


def backward(
    outputs: Any,
    gradients: Any,
    retain_graph: bool,
    create_graph: bool,
    inputs: Any = (),
    allow_unreachable: bool = False,
    accumulate_grad: bool = False,
) -> tuple[Tensor | None, ...]:
    """Autograd's engine in Python: calls each node when all its users have been called."""
    roots = [torch.autograd.graph.get_gradient_edge(t) for t in outputs]
    wanted = [torch.autograd.graph.get_gradient_edge(t) for t in inputs]
    users: Counter[Any] = Counter()
    pending, seen = [edge[0] for edge in roots], {edge[0] for edge in roots}
    while pending:
        for node, _ in pending.pop().next_functions:
            if node is not None:
                users[node] += 1
                if node not in seen:
                    seen.add(node)
                    pending.append(node)
    arrived: dict[Any, dict[int, Tensor]] = {}
    found: dict[tuple[Any, int], Tensor] = {}

    def arrive(node: Any, position: int, gradient: Tensor | None) -> None:
        if gradient is not None:
            gradient = gradient.sum_to_size(node._input_metadata[position].shape)
            mine = arrived.setdefault(node, {})
            mine[position] = mine[position] + gradient if position in mine else gradient

    for edge, gradient in zip(roots, gradients, strict=True):
        arrive(edge[0], edge[1], gradient)
    ready = [node for node in dict.fromkeys(edge[0] for edge in roots) if not users[node]]
    with torch.set_grad_enabled(create_graph):
        while ready:
            node = ready.pop()
            mine = arrived.pop(node, {})
            found |= {(node, position): gradient for position, gradient in mine.items()}
            after = list(node.next_functions)
            if hasattr(node, "variable"):
                if accumulate_grad and not wanted and mine:
                    old = node.variable.grad
                    node.variable.grad = mine[0] if old is None else old + mine[0]
                continue
            results: Any = [None] * len(after)
            if mine:
                given = [mine.get(i) for i in range(len(node._input_metadata))]
                results = node(*given) if callable(node) else node.apply(*given)  # C++'s own, or a Python function's
                results = results if isinstance(results, tuple) else (results,)
                if not callable(node):  # which gives one for what is no tensor, too
                    after = [edge for edge in after if edge[0] is not None]
                    results = [r for r, needed in zip(results, node.needs_input_grad, strict=True) if needed]
            for (following, position), gradient in zip(after, results, strict=True):
                if following is not None:
                    arrive(following, position, gradient)
                    users[following] -= 1
                    if not users[following]:
                        ready.append(following)
    return tuple(found.get((edge[0], edge[1])) for edge in wanted)
