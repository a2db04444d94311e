"""From a traced graph over a vector to the text of one C function."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.engine.compat import is_view
from pyrovae.engine.posterior.graphs import VectorGraph
from pyrovae.engine.posterior.native.elements import ELEMENTS, OF_TRUTH, POWERS, PREAMBLE
from pyrovae.engine.posterior.native.text import (
    LONGEST,
    UnsupportedError,
    Value,
    Writer,
    broadcast,
    in_memory,
    literal,
    uniform,
)

aten = torch.ops.aten
SAME = {"alias", "detach", "clone", "lift_fresh", "lift_fresh_copy", "contiguous"}
NOT_OF_INTEGERS = {"div", "floor_divide", "remainder", "fmod", "pow"} | OF_TRUTH.keys()
REDUCTIONS = {
    "sum": ("0.0", "{0} += {1};", "+"), "prod": ("1.0", "{0} *= {1};", "*"),
    "amax": ("-INFINITY", "{0} = larger({1}, {0});", ""), "amin": ("INFINITY", "{0} = smaller({1}, {0});", ""),
    "any": ("0.0", "{0} = {0} != 0 || {1} != 0;", ""), "all": ("1.0", "{0} = {0} != 0 && {1} != 0;", ""),
}  # fmt: skip


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
        with torch.no_grad():
            module = make_fx(pure, decomposition_table=_decompositions())(example, *graph.constants)
    except Exception as error:  # an operator that cannot be taken apart; the graph runs as it is elsewhere
        raise UnsupportedError(f"it cannot be taken apart ({type(error).__name__})") from error
    return _Translation(module, graph.constants).text(size)


@functools.cache
def _decompositions() -> Mapping[Any, Any]:
    """How operators are taken apart until those are left that are written here."""
    more = (aten._softmax, aten._log_softmax)
    return {**core_aten_decompositions(), **get_decompositions(more)}


class _Translation:
    """Writes the nodes of a graph, one after the other."""

    def __init__(self, module: fx.GraphModule, constants: Sequence[Tensor]) -> None:
        self._module, self._graph = module, module.graph
        self._graph.eliminate_dead_code()
        self._writer = Writer()
        self._known: dict[fx.Node, Any] = {}  # what does not depend on the vector, computed now
        self._values: dict[fx.Node, Any] = {}  # what does, as C
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
            self._values[node] = writes(node, *node.args, **node.kwargs)
        elif name in REDUCTIONS:
            self._values[node] = self._reduced(node, name, *node.args)
        elif is_view(node.target) and shape is not None:
            self._values[node] = self._view(node)
        else:
            raise UnsupportedError(f"no kernel for {node.target}")

    # ---- operands

    def _of(self, argument: Any) -> Value:
        """An operand as C: a node, or a number."""
        if isinstance(argument, fx.Node):
            if argument in self._known and argument not in self._values:
                self._values[argument] = self._writer.constant(torch.as_tensor(self._known[argument]))
            return self._values[argument]
        if isinstance(argument, (bool, int, float)):
            return uniform(literal(argument), ())
        raise UnsupportedError(f"an argument {argument!r}")

    def _laid(self, argument: Any) -> Value:
        """An operand in memory."""
        value = self._writer.stored(self._of(argument))
        return value if value.memory else self._writer.copied(value)

    def _placed(self, node: fx.Node, value: Value) -> Value:
        """An expression, or its result in memory where it would be computed more than once."""
        once = len(node.users) == 1 and _is_written_in_place(next(iter(node.users)))
        short = len(value.at(["i0"] * len(value.shape))) <= LONGEST
        return value if once and short and value.size > 1 else self._writer.stored(value)

    # ---- element by element

    def _element(self, node: fx.Node, name: str) -> Callable[[Sequence[str]], str] | None:
        arguments = list(node.args)
        if name in OF_TRUTH and all(_is_bool(a) for a in arguments):
            name = OF_TRUTH[name]
        template = ELEMENTS.get(name)
        extras = {k: v for k, v in node.kwargs.items() if v is not None}
        if name == "clamp":
            template, arguments = _clamp(arguments + [None] * (3 - len(arguments)))
        elif extras.keys() == {"alpha"} and name in ("add", "sub"):
            template = f"({{0}} {'+' if name == 'add' else '-'} {literal(extras['alpha'])} * {{1}})"
        elif extras and template:
            raise UnsupportedError(f"{node.target} with {', '.join(extras)}")
        if name == "pow" and not isinstance(arguments[1], fx.Node):
            template = POWERS.get(literal(arguments[1]), template)
        if template is None:
            return None
        shape = node.meta["val"].shape
        operands = [self._operand(a, shape) for a in arguments]
        return lambda index: template.format(*(at(index) for at in operands))

    def _operand(self, argument: Any, shape: Sequence[int]) -> Callable[[Sequence[str]], str]:
        value = self._of(argument)
        if value.size < math.prod(shape):
            value = self._writer.stored(value)
        return broadcast(value, shape)

    # ---- the same numbers elsewhere

    def _same(self, node: fx.Node) -> Value:
        source: Any = node.args[0]
        value = self._of(source)
        before, after = source.meta["val"].dtype, node.meta["val"].dtype
        if before != after and after != torch.float64:
            change = "({0} != 0)" if after == torch.bool else "trunc({0})"
            value = Value(value.shape, lambda index, at=value.at: change.format(at(index)))  # type: ignore[misc]
        return value if value.cheap else self._placed(node, value)

    def _view(self, node: fx.Node) -> Value:
        """What torch makes of shape, strides and offset."""
        source, *others = node.args
        value = self._writer.stored(self._of(source))
        target: Any = node.target
        if value.memory is None:
            return uniform(value.at(()), node.meta["val"].shape)
        for candidate in (value, None):
            value = candidate or self._writer.copied(value)
            name, strides, offset = value.memory  # type: ignore[misc]
            tensor = torch.empty(0, dtype=torch.float64, device="meta").as_strided(value.shape, strides, offset)
            try:
                found = target(tensor, *others, **node.kwargs)
            except RuntimeError:  # these strides have no such view: a copy has
                continue
            return in_memory(name, found.shape, found.stride(), int(found.storage_offset()))
        raise UnsupportedError(f"{node.target} of these strides")

    def op_split_with_sizes(self, node: fx.Node, source: Any, sizes: Sequence[int], dim: int = 0) -> list[Value]:
        value = self._laid(source)
        name, strides, offset = value.memory  # type: ignore[misc]
        tensor = torch.empty(0, dtype=torch.float64, device="meta").as_strided(value.shape, strides, offset)
        parts = tensor.split_with_sizes(list(sizes), dim)
        return [in_memory(name, p.shape, p.stride(), int(p.storage_offset())) for p in parts]

    def op_unbind(self, node: fx.Node, source: Any, dim: int = 0) -> list[Value]:
        value = self._laid(source)
        name, strides, offset = value.memory  # type: ignore[misc]
        tensor = torch.empty(0, dtype=torch.float64, device="meta").as_strided(value.shape, strides, offset)
        return [in_memory(name, p.shape, p.stride(), int(p.storage_offset())) for p in tensor.unbind(dim)]

    def op_flip(self, node: fx.Node, source: Any, dims: Sequence[int]) -> Value:
        value = self._writer.stored(self._of(source))
        flipped = {d % len(value.shape) for d in dims}

        def at(index: Sequence[str]) -> str:
            return value.at([f"({value.shape[d] - 1} - {i})" if d in flipped else i for d, i in enumerate(index)])

        return self._placed(node, Value(value.shape, at))

    def op_cat(self, node: fx.Node, sources: Sequence[Any], dim: int = 0) -> Value:
        found = self._writer.buffer(node.meta["val"].shape)
        dim, start = dim % len(found.shape), 0
        for source in sources:
            value = self._of(source)
            if not value.size:
                continue
            self._fill(found, value, dim, start)
            start += value.shape[dim]
        return found

    def _fill(self, found: Value, value: Value, dim: int, start: int) -> None:
        def body(index: list[str]) -> list[str]:
            there = [f"({i} + {start})" if d == dim else i for d, i in enumerate(index)]
            return [f"{found.at(there)} = {value.at(index)};"]

        self._writer.loops(value.shape, body)

    def op_constant_pad_nd(self, node: fx.Node, source: Any, pad: Sequence[int], fill: float = 0.0) -> Value:
        """Padding in front and behind of the last dimensions; a negative one cuts."""
        found = self._writer.copied(uniform(literal(fill), node.meta["val"].shape))
        value = self._of(source)
        ends = [(0, 0)] * (len(value.shape) - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
        sizes = [n + min(a, 0) + min(b, 0) for n, (a, b) in zip(value.shape, ends, strict=True)]

        def body(index: list[str]) -> list[str]:
            here = [f"({i} + {max(-a, 0)})" for i, (a, _) in zip(index, ends, strict=True)]
            there = [f"({i} + {max(a, 0)})" for i, (a, _) in zip(index, ends, strict=True)]
            return [f"{found.at(there)} = {value.at(here)};"]

        if min(sizes, default=1) > 0:
            self._writer.loops(sizes, body)
        return found

    def _scattered(self, node: fx.Node, source: Any, part: Any, view: Any, *where: Any) -> Value:
        """A copy whose `view` holds another tensor."""
        found = self._writer.copied(self._of(source))
        name, strides, _ = found.memory  # type: ignore[misc]
        tensor = torch.empty(0, dtype=torch.float64, device="meta").as_strided(found.shape, strides)
        place = view(tensor, *where)
        there = in_memory(name, place.shape, place.stride(), int(place.storage_offset()))
        value = broadcast(self._of(part), place.shape)
        self._writer.loops(place.shape, lambda index: [f"{there.at(index)} = {value(index)};"])
        return found

    def op_slice_scatter(
        self, node: fx.Node, source: Any, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
    ) -> Value:
        return self._scattered(node, source, part, aten.slice.Tensor, dim, start, end, step)

    def op_select_scatter(self, node: fx.Node, source: Any, part: Any, dim: int, index: int) -> Value:
        return self._scattered(node, source, part, aten.select.int, dim, index)

    def op_diagonal_scatter(
        self, node: fx.Node, source: Any, part: Any, offset: int = 0, dim1: int = 0, dim2: int = 1
    ) -> Value:
        return self._scattered(node, source, part, aten.diagonal.default, offset, dim1, dim2)

    # ---- by index

    def _positions(self, indices: Sequence[Any], shape: Sequence[int]) -> Callable[[Sequence[str]], list[str]]:
        """Expressions of the indices of leading dimensions at a place of their common shape, all indices known."""
        tensors = [self._known[index] for index in indices]
        common = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
        found = []
        for tensor, size in zip(tensors, shape, strict=False):
            if tensor.dtype == torch.bool:
                raise UnsupportedError("an index of truth values")
            laid = self._writer.constant(torch.where(tensor < 0, tensor + size, tensor).expand(common).contiguous())
            found.append(broadcast(laid, common))
        return lambda index: [f"(int64_t){at(index)}" for at in found]

    def op_index(self, node: fx.Node, source: Any, indices: Sequence[Any]) -> Value:
        if any(index is None or index not in self._known for index in indices):
            raise UnsupportedError("an index that is drawn, or not of the first dimensions")
        value = self._laid(source)
        rank = len(node.meta["val"].shape) - (len(value.shape) - len(indices))
        positions = self._positions(indices, value.shape)

        def at(index: Sequence[str]) -> str:
            return value.at([*positions(index[:rank]), *index[rank:]])

        return self._placed(node, Value(tuple(node.meta["val"].shape), at))

    def op_gather(self, node: fx.Node, source: Any, dim: int, index: Any) -> Value:
        value, where = self._laid(source), self._writer.stored(self._of(index))
        dim %= len(value.shape)

        def at(place: Sequence[str]) -> str:
            return value.at([f"(int64_t){where.at(place)}" if d == dim else i for d, i in enumerate(place)])

        return self._placed(node, Value(where.shape, at))

    def op_index_put(
        self, node: fx.Node, source: Any, indices: Sequence[Any], values: Any, accumulate: bool = False
    ) -> Value:
        if any(index is None or index not in self._known for index in indices):
            raise UnsupportedError("an index that is drawn, or not of the first dimensions")
        found = self._writer.copied(self._of(source))
        common = torch.broadcast_shapes(*(self._known[index].shape for index in indices))
        shape = (*common, *found.shape[len(indices) :])
        positions, value = self._positions(indices, found.shape), self._operand(values, shape)

        def body(index: list[str]) -> list[str]:
            there = found.at([*positions(index[: len(common)]), *index[len(common) :]])
            return [f"{there} {'+=' if accumulate else '='} {value(index)};"]

        self._writer.loops(shape, body, "serial")  # two values may go to one place
        return found

    def op_scatter_add(self, node: fx.Node, source: Any, dim: int, index: Any, part: Any) -> Value:
        if index not in self._known:
            raise UnsupportedError("an index that is drawn")
        found, where = self._writer.copied(self._of(source)), self._of(index)
        value = self._writer.stored(self._of(part))
        dim %= len(found.shape)

        def body(place: list[str]) -> list[str]:
            there = [f"(int64_t){where.at(place)}" if d == dim else i for d, i in enumerate(place)]
            return [f"{found.at(there)} += {value.at(place)};"]

        self._writer.loops(where.shape, body, "serial")
        return found

    # ---- sums and their like

    def _reduced(self, node: fx.Node, name: str, source: Any, dims: Any = None, keepdim: bool = False) -> Value:
        value = self._of(source)
        if isinstance(dims, int):
            dims = [dims]
        rank = len(value.shape)
        gone = {d % rank for d in dims} if dims else set(range(rank))
        kept = [d for d in range(rank) if d not in gone]
        first, step, sign = REDUCTIONS[name]
        shape = tuple(node.meta["val"].shape)
        if not kept or value.size == 1:
            found = self._writer.name("t")
            self._writer.add(f"double {found} = {first};")
            clause = f"reduction({sign}:{found})" if sign else "serial"
            self._writer.loops(value.shape, lambda index: [step.format(found, value.at(index))], clause)
            return uniform(found, shape)
        if kept[-1] == rank - 1:
            total = self._by_lanes(kept, sorted(gone), value, first, step)
        else:
            total = self._by_places(kept, sorted(gone), value, first, step, sign)
        if len(shape) == len(kept):
            return total
        memory, strides, _ = total.memory  # type: ignore[misc]
        place = iter(strides)
        return in_memory(memory, shape, [0 if d in gone else next(place) for d in range(rank)])

    def _by_lanes(self, kept: list[int], gone: list[int], value: Value, first: str, step: str) -> Value:
        """A reduction over leading dimensions: results grow side by side."""
        order = gone + kept
        total = self._writer.copied(uniform(first, [value.shape[d] for d in kept]))

        def body(index: list[str]) -> list[str]:
            place = dict(zip(order, index, strict=True))
            return [step.format(total.at([place[d] for d in kept]), value.at([place[d] for d in range(len(place))]))]

        self._writer.loops([value.shape[d] for d in order], body, "" if value.shape[-1] > 1 else "serial")
        return total

    def _by_places(self, kept: list[int], gone: list[int], value: Value, first: str, step: str, sign: str) -> Value:
        """A reduction over the last dimension and perhaps others: one result after the other."""
        writer = self._writer
        total, name = writer.buffer([value.shape[d] for d in kept]), writer.name("t")

        def terms(outer: list[str]) -> None:
            def body(inner: list[str]) -> list[str]:
                place = dict(zip([*kept, *gone], [*outer, *inner], strict=True))
                return [step.format(name, value.at([place[d] for d in range(len(place))]))]

            writer.loops([value.shape[d] for d in gone], body, f"reduction({sign}:{name})" if sign else "serial")

        writer.nested(total, name, first, terms)
        return total

    def op_mean(self, node: fx.Node, source: Any, dims: Any = None, keepdim: bool = False) -> Value:
        total = self._reduced(node, "sum", source, dims, keepdim)
        share = literal(math.prod(total.shape) / self._of(source).size)
        return self._placed(node, Value(total.shape, lambda index: f"({total.at(index)} * {share})"))

    def op_max(self, node: fx.Node, source: Any, dim: Any = None, keepdim: bool = False) -> Any:
        return self._extreme(node, "amax", source, dim, keepdim)

    def op_min(self, node: fx.Node, source: Any, dim: Any = None, keepdim: bool = False) -> Any:
        return self._extreme(node, "amin", source, dim, keepdim)

    def _extreme(self, node: fx.Node, name: str, source: Any, dim: Any, keepdim: bool) -> Any:
        """The largest or smallest of all, or those along a dimension with their places, the first of equal ones."""
        if dim is None:
            return self._reduced(node, name, source)
        writer, value = self._writer, self._writer.stored(self._of(source))
        dim %= max(len(value.shape), 1)
        shape = [1 if d == dim else size for d, size in enumerate(value.shape)]
        best, place = writer.buffer(shape), writer.buffer(shape)
        better = ">" if name == "amax" else "<"

        def body(index: list[str]) -> list[str]:
            here = value.at(index)
            there = [("0" if d == dim else i) for d, i in enumerate(index)]
            condition = f"{index[dim]} == 0 || {here} {better} {best.at(there)} || {here} != {here}"
            return [f"if ({condition}) {{ {best.at(there)} = {here}; {place.at(there)} = {index[dim]}; }}"]

        writer.loops(value.shape, body, "serial")
        kept = [d for d in range(len(shape)) if keepdim or d != dim]
        laid = [(found.memory[0], found.memory[1]) for found in (best, place) if found.memory]
        return [in_memory(memory, [shape[d] for d in kept], [strides[d] for d in kept]) for memory, strides in laid]

    def _running(self, node: fx.Node, source: Any, dim: int, sign: str) -> Value:
        value = self._of(source)
        found = self._writer.buffer(value.shape)
        dim %= max(len(value.shape), 1)

        def body(index: list[str]) -> list[str]:
            place = f"{found.at(index)} = {value.at(index)}"
            if not index or index[dim] == "0":
                return [f"{place};"]
            before = [f"({i} - 1)" if d == dim else i for d, i in enumerate(index)]
            return [f"{place};", f"if ({index[dim]}) {found.at(index)} = {found.at(before)} {sign} {found.at(index)};"]

        self._writer.loops(value.shape, body, "serial")
        return found

    def op_cumsum(self, node: fx.Node, source: Any, dim: int) -> Value:
        return self._running(node, source, dim, "+")

    def op_cumprod(self, node: fx.Node, source: Any, dim: int) -> Value:
        return self._running(node, source, dim, "*")

    # ---- matrices

    def op_mm(self, node: fx.Node, left: Any, right: Any) -> Value:
        """Products of matrices, with or without a dimension of batches in front."""
        a, b = self._laid(left), self._laid(right)
        *batch, n, inner = a.shape
        m = b.shape[-1]
        (across_a, along_a), (_, along_b) = a.memory[1][-2:], b.memory[1][-2:]  # type: ignore[index]
        if m > 1 and along_b == 1:
            order = "ikj"
        elif m == 1 and across_a == 1 and along_a != 1:
            order = "kij"
        else:
            return self._by_rows(a, b, (*batch, n, m), inner)
        found = self._writer.copied(uniform("0.0", (*batch, n, m)))
        sizes = {"i": n, "k": inner, "j": m}

        def body(index: list[str]) -> list[str]:
            h, (i, k, j) = index[: len(batch)], (index[len(batch) + order.index(letter)] for letter in "ikj")
            return [f"{found.at([*h, i, j])} += {a.at([*h, i, k])} * {b.at([*h, k, j])};"]

        self._writer.loops([*batch, *(sizes[letter] for letter in order)], body)
        return found

    op_bmm = op_mm

    def _by_rows(self, a: Value, b: Value, shape: tuple[int, ...], inner: int) -> Value:
        """A product each element of which is a sum of its own."""
        writer = self._writer
        found, total = writer.buffer(shape), writer.name("t")

        def terms(outer: list[str]) -> None:
            *h, i, j = outer
            writer.loops(
                (inner,), lambda k: [f"{total} += {a.at([*h, i, *k])} * {b.at([*h, *k, j])};"], f"reduction(+:{total})"
            )

        writer.nested(found, total, "0.0", terms)
        return found

    def op_linalg_cholesky_ex(
        self, node: fx.Node, source: Any, upper: bool = False, check_errors: bool = False
    ) -> list[Value | None]:
        value = self._of(source)
        if upper:
            raise UnsupportedError("an upper Cholesky factor")
        *batch, n, _ = value.shape
        found, info = self._writer.copied(value), self._writer.buffer((*batch, 1))
        self._each(batch, lambda b: [f"{info.at([*b, '0'])} = cholesky({n}, &{found.at([*b, '0', '0'])});"])
        name, strides, _ = info.memory  # type: ignore[misc]
        return [found, in_memory(name, batch, strides[:-1])]

    def _each(self, batch: Sequence[int], body: Callable[[list[str]], list[str]]) -> None:
        self._writer.loops(batch, body, "serial")

    def op_linalg_solve_triangular(
        self, node: fx.Node, matrix: Any, right: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
    ) -> Value:
        a = self._laid(matrix)
        *batch, n, m = node.meta["val"].shape
        across, along = a.memory[1][-2:]  # type: ignore[index]
        given = self._operand(right, (*batch, n, m))
        if left:
            x = self._writer.copied(Value((*batch, n, m), given))
        else:  # x a = b is a' x' = b'
            x = self._writer.copied(Value((*batch, m, n), lambda index: given([*index[:-2], index[-1], index[-2]])))
            n, m, across, along, upper = m, n, along, across, not upper
        factor = broadcast(a, (*batch, n, n))
        flags = f"{int(upper)}, {int(unitriangular)}"
        self._each(
            batch,
            lambda b: [
                f"solve({n}, {m}, &{factor([*b, '0', '0'])}, {across}, {along}, {flags}, &{x.at([*b, '0', '0'])});"
            ],
        )
        if left:
            return x
        name, strides, _ = x.memory  # type: ignore[misc]
        return in_memory(name, (*batch, m, n), (*strides[:-2], 1, strides[-2]))


# ---- what a node is


def _computed(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    if _makes_constant(node):
        value = node.meta["val"]
        number = {"zeros": 0.0, "ones": 1.0}.get(str(node.target).split(".")[1].split("_")[-2])
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
    return name in ("full_like", "zeros_like", "ones_like")


def _is_written_in_place(user: fx.Node) -> bool:
    """Whether a node takes each element of its operands once, inside of its own loop."""
    name = str(user.target).split(".")[1] if "." in str(user.target) else ""
    return name in ELEMENTS or name in OF_TRUTH or name in REDUCTIONS or name in ("clamp", "mean")


def _is_bool(argument: Any) -> bool:
    return isinstance(argument, fx.Node) and argument.meta["val"].dtype == torch.bool


def _is_exact(node: fx.Node, name: str) -> bool:
    """Whether a result of this type is right as a double: integers are, where they are not divided."""
    dtype = node.meta["val"].dtype
    return dtype in (torch.float64, torch.bool) or (dtype == torch.int64 and name not in NOT_OF_INTEGERS)


def _clamp(arguments: Sequence[Any]) -> tuple[str, list[Any]]:
    source, least, most = arguments
    template, operands = "{0}", [source]
    for bound, name in ((least, "larger"), (most, "smaller")):
        if bound is not None:
            operands.append(bound)
            template = f"{name}({template}, {{{len(operands) - 1}}})"
    return template, operands


def _file(lines: Sequence[str], size: int) -> str:
    body = "\n".join(lines)
    return f"""{PREAMBLE}
/* Of table: the counts of gradients and of transitions, the workspace, and then the constants. */
int64_t density(uint64_t n, const double *restrict x, double *restrict gradient, double *restrict value, void *table) {{
  if (n != {size}) return -1;
  ++((int64_t **)table)[0][0];
  double *restrict w = ((double **)table)[1];
  double **k = (double **)table + 2;
  (void)w, (void)k;
{body}
  for (int64_t i = 0; i < {size}; ++i) if (!isfinite(gradient[i])) return 3;
  return isfinite(*value) ? 0 : 4;
}}
int64_t keep(uint64_t n, uint64_t m, const double *x, double *out, void *table) {{
  ++((int64_t **)table)[0][1];
  memcpy(out, x, n * sizeof(double));
  return n == m ? 0 : -2;
}}
"""
