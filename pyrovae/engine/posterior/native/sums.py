"""Operators that add up: sums, extremes, running sums, and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from pyrovae.engine.posterior.native.kernels import REDUCTIONS, Kernels
from pyrovae.engine.posterior.native.text import UnsupportedError, Value, broadcast, in_memory, literal, uniform


class Sums(Kernels):
    """Reductions and linear algebra."""

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
        """The mean over dimensions."""
        total = self._reduced(node, "sum", source, dims, keepdim)
        share = literal(math.prod(total.shape) / self._of(source).size)
        return self._placed(node, Value(total.shape, lambda index: f"({total.at(index)} * {share})"))

    def op_max(self, node: fx.Node, source: Any, dim: Any = None, keepdim: bool = False) -> Any:
        """The largest, of all or along a dimension."""
        return self._extreme(node, "amax", source, dim, keepdim)

    def op_min(self, node: fx.Node, source: Any, dim: Any = None, keepdim: bool = False) -> Any:
        """The smallest, of all or along a dimension."""
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
        """Running sums."""
        return self._running(node, source, dim, "+")

    def op_cumprod(self, node: fx.Node, source: Any, dim: int) -> Value:
        """Running products."""
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
        """Lower Cholesky factors, and where they failed."""
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
        """Solutions of triangular systems."""
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

    def op_cholesky_solve(self, node: fx.Node, right: Any, matrix: Any, upper: bool = False) -> Value:
        """Solutions of systems whose matrices are given by their Cholesky factors."""
        *batch, n, m = node.meta["val"].shape
        factor, given = self._laid(matrix), self._operand(right, (*batch, n, m))
        return self._solved(factor, self._writer.copied(Value((*batch, n, m), given)), upper)

    def op_cholesky_inverse(self, node: fx.Node, matrix: Any, upper: bool = False) -> Value:
        """Inverses of matrices that are given by their Cholesky factors."""
        shape = tuple(node.meta["val"].shape)
        one = self._writer.copied(Value(shape, lambda index: f"({index[-2]} == {index[-1]})"))
        return self._solved(self._laid(matrix), one, upper)

    def _solved(self, factor: Value, x: Value, upper: bool) -> Value:
        """Solve two triangular systems in place, by a factor and its transpose."""
        *batch, n, m = x.shape
        across, along = factor.memory[1][-2:]  # type: ignore[index]
        at = broadcast(factor, (*batch, n, n))
        steps = [(along, across, 0), (across, along, 1)] if upper else [(across, along, 0), (along, across, 1)]
        for s, t, way in steps:
            self._each(
                batch,
                lambda b, s=s, t=t, way=way: [  # type: ignore[misc]
                    f"solve({n}, {m}, &{at([*b, '0', '0'])}, {s}, {t}, {way}, 0, &{x.at([*b, '0', '0'])});"
                ],
            )
        return x
