"""From a traced graph over a vector to the text of one C function."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae.engine.compat import is_view, make_fx
from pyrovae.engine.posterior.double import default_double
from pyrovae.engine.posterior.graphs import VectorGraph
from pyrovae.engine.posterior.native.decompositions import decompositions
from pyrovae.engine.posterior.native.elements import OF_TRUTH, PREAMBLE
from pyrovae.engine.posterior.native.kernels import REDUCTIONS
from pyrovae.engine.posterior.native.places import Places
from pyrovae.engine.posterior.native.sums import Sums
from pyrovae.engine.posterior.native.text import UnsupportedError, Value, in_memory

aten = torch.ops.aten
SAME = {"alias", "detach", "clone", "lift_fresh", "lift_fresh_copy", "contiguous"}
NOT_OF_INTEGERS = {"div", "floor_divide", "remainder", "fmod", "pow"} | OF_TRUTH.keys()


@dataclass(frozen=True)
class Text:
    """A function in C, and what it is given.

    Attributes:
        code: The file.
        constants: Arrays of its data, float64.
        work: Numbers of workspace.
    """

    code: str
    constants: tuple[Tensor, ...]
    work: int


def translate(graph: VectorGraph, size: int) -> Text:
    """The C text of a density with its gradient.

    Args:
        graph: Returns the value, (), and the gradient, (size,).
        size: Length of the vector.

    Raises:
        UnsupportedError: If it holds an operator that is not written, or is too large; says which.
    """
    example = torch.zeros(size, dtype=torch.float64)
    pure = torch.func.functionalize(lambda *inputs: graph.graph(*inputs), remove="mutations")
    try:
        with torch.no_grad(), default_double():
            module = make_fx(pure, decomposition_table=decompositions())(example, *graph.constants)
    except Exception as error:  # an operator that cannot be taken apart; the graph runs as it is elsewhere
        raise UnsupportedError(f"it cannot be taken apart ({type(error).__name__})") from error
    with default_double():
        return _Translation(module, graph.constants).text(size)


class _Translation(Sums, Places):
    """Writes the nodes of a graph, one after the other."""

    def __init__(self, module: fx.GraphModule, constants: Sequence[Tensor]) -> None:
        self._module, self._graph = module, module.graph
        self._graph.eliminate_dead_code()
        super().__init__({}, {})
        vector, *placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        self._values[vector] = in_memory("x", vector.meta["val"].shape, (1,))
        self._known.update(zip(placeholders, constants, strict=True))

    def text(self, size: int) -> Text:
        """The whole file."""
        output = None
        for node in self._graph.nodes:
            if node.op == "get_attr":
                self._known[node] = getattr(self._module, str(node.target))
            elif node.op == "call_function":
                self._write(node)
            elif node.op == "output":
                output = node.args[0]
        value, gradient = (self._of(node) for node in output)  # type: ignore[union-attr]
        writer = self._writer
        writer.add(f"*value = {value.at(['0'] * len(value.shape))};")
        writer.loops((size,), lambda index: [f"gradient[{index[0]}] = {gradient.at(index)};"])
        arrays = [f"const double *restrict k{n} = k[{n}];" for n in range(len(writer.constants))]
        return Text(_file([*arrays, *writer.lines], size), tuple(writer.constants), writer.work)

    def _write(self, node: fx.Node) -> None:
        if all(source in self._known for source in node.all_input_nodes) or _makes_constant(node):
            self._known[node] = _computed(node, self._known)
            return
        if node.target is operator.getitem:
            source, place = node.args
            found = self._values[source][place]  # type: ignore[index]
            if found is None:
                raise UnsupportedError(f"result {place} of {source}")
            self._values[node] = found
            return
        name, shape = str(node.target).split(".")[1], getattr(node.meta.get("val"), "shape", None)
        if shape is not None and not _is_exact(node, name):
            raise UnsupportedError(f"{node.target} of {node.meta['val'].dtype}")
        if name in SAME or name == "_to_copy":
            self._values[node] = self._same(node)
        elif element := self._element(node, name):
            self._values[node] = self._placed(node, Value(tuple(shape or ()), element))
        elif writes := getattr(self, f"op_{name}", None):
            try:
                inspect.signature(writes).bind(node, *node.args, **node.kwargs)
            except TypeError as error:
                raise UnsupportedError(f"{node.target} with other arguments") from error
            self._values[node] = writes(node, *node.args, **node.kwargs)
        elif name in REDUCTIONS:
            arguments: Any = node.args
            self._values[node] = self._reduced(node, name, *arguments)
        elif is_view(node.target) and shape is not None:
            self._values[node] = self._view(node)
        else:
            raise UnsupportedError(f"no kernel for {node.target}")


# ---- what a node is


_NUMBERS = {"zeros_like": 0.0, "ones_like": 1.0, "empty_like": 0.0, "new_empty": 0.0, "new_empty_strided": 0.0}
"""Operators that make a tensor of one number in the shape of another; what is empty is written before it is read."""


def _computed(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    if _makes_constant(node):
        value = node.meta["val"]
        number = _NUMBERS.get(str(node.target).split(".")[1])
        if number is None:
            number = next(a for a in reversed(node.args) if isinstance(a, (bool, int, float)))
        return torch.full(tuple(value.shape), number, dtype=value.dtype)
    arguments, options = fx.map_arg((node.args, node.kwargs), known.__getitem__)
    target: Any = node.target
    with torch.no_grad():
        return target(*arguments, **options)


def _makes_constant(node: fx.Node) -> bool:
    """Whether an operator takes of its tensor no more than shape and type."""
    name = str(node.target).split(".")[1] if "." in str(node.target) else ""
    return name == "full_like" or name in _NUMBERS


def _is_exact(node: fx.Node, name: str) -> bool:
    """Whether a result of this type is right as a double: integers are, where they are not divided."""
    dtype = node.meta["val"].dtype
    return dtype in (torch.float64, torch.bool) or (dtype == torch.int64 and name not in NOT_OF_INTEGERS)


def _file(lines: Sequence[str], size: int) -> str:
    body = "\n".join(lines)
    return f"""{PREAMBLE}
/* Of table: the counts of gradients and of transitions, the workspace, and then the constants. */
int64_t density(uint64_t n, const double *restrict x, double *restrict gradient, double *restrict value, void *table) {{
  if (n != {size}) return -1;
  ++((int64_t **)table)[0][0];
  double *restrict w = ((double **)table)[1];
  double **k = (double **)table + 2;
  int outside = 0;
  (void)w, (void)k;
{body}
  if (outside) *value = NAN;
  for (int64_t i = 0; i < {size}; ++i) if (!isfinite(gradient[i])) return 3;
  return isfinite(*value) ? 0 : 4;
}}
int64_t keep(uint64_t n, uint64_t m, const double *x, double *out, void *table) {{
  ++((int64_t **)table)[0][1];
  memcpy(out, x, n * sizeof(double));
  return n == m ? 0 : -2;
}}
"""
