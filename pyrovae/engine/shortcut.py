"""A compiled function of the CPU, called where its C++ code begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import increment_version

from pyrovae.engine.compat import cpp_entry, inductor_graph


class Shortcut:
    """A compiled function without the layers of Python that torch puts around its C++ code.

    They take about 30 microseconds a call, a tenth of a small step. They may also copy, join or unwrap arguments:
    whether they do anything for this function is seen at its first two calls. If they hand on the very arguments,
    behind constants that stay the same, and the very results, and count versions alone, later calls go past them.

    Args:
        call: What Inductor has returned.

    Attributes:
        found: Whether calls go past the layers.
    """

    def __init__(self, call: Callable[..., Sequence[Tensor]]) -> None:
        self.found = False
        self._call = call
        self._graph = inductor_graph(call)
        self._entry = None if self._graph is None else cpp_entry(self._graph.current_callable)
        self._constants: list[Any] | None = None
        self._written: list[int] = []

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The function's results."""
        if self._entry is None:
            return self._call(*inputs)
        if not self.found:
            return self._observed(inputs)
        results = self._entry([*(self._constants or ()), *inputs])
        increment_version([inputs[place] for place in self._written])
        return results

    def _observed(self, inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        """Call it through the layers, and look at what reaches the code and what comes back."""
        graph: Any = self._graph
        inner = graph.current_callable
        seen: list[tuple[list[Any], Any]] = []

        def watched(arguments: list[Any]) -> Any:
            given = list(arguments)  # the code empties it
            results = inner(arguments)
            seen.append((given, results))
            return results

        before = _versions(inputs)
        graph.current_callable = watched
        try:
            results = self._call(*inputs)
        finally:
            graph.current_callable = inner
        counted = [new - old for old, new in zip(before, _versions(inputs), strict=True)]
        constants = _constants_before(inputs, *seen[0], results) if len(seen) == 1 else None
        if constants is None or not set(counted) <= {0, 1}:
            self._entry = None
        elif self._constants is None:
            self._constants = constants
        else:
            self.found = _same(constants, self._constants)
            self._entry = self._entry if self.found else None
            self._written = [place for place, once in enumerate(counted) if once]
        return results


def _constants_before(
    inputs: Sequence[Any], given: list[Any], returned: Sequence[Any], results: Sequence[Any]
) -> list[Any] | None:
    """What is given beside the inputs, if that is all that lies between a function and its code; else None."""
    count = len(given) - len(inputs)
    handed_on = count >= 0 and _same(given[count:], inputs) and _same(returned, results)
    return given[:count] if handed_on and all(isinstance(each, Tensor) for each in given) else None


def _versions(tensors: Sequence[Tensor]) -> list[int]:
    """How often each was changed; a tensor of inference mode does not count."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether these are the same objects."""
    return list(map(id, one)) == list(map(id, other))
