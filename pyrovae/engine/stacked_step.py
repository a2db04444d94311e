"""One step of several members as one graph: their traced steps, vectorised over stacked tensors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.batching import Batched, EnsembleError, first_difference, functional_form
from pyrovae.engine.capture import Capture, capture
from pyrovae.engine.compat import storage_of, tree_unflatten
from pyrovae.engine.compilation import compiled
from pyrovae.engine.cuda_graphs import RecordingError, Replay
from pyrovae.engine.draws import DependentDrawError, Draws
from pyrovae.engine.functions import Plan
from pyrovae.engine.stacking import Stacks

logger = logging.getLogger(__name__)


class StackedStep:
    """The same traced step of several members, run for all of them at once.

    Args:
        plans: Each member's own graph of the step.
        leaves: Tensor arguments of each.
        stacks: Where the members' tensors become rows.
        engine: "compiled", or "graph" for operation by operation.
        numbers: The members' numbers in their ensemble.

    Raises:
        EnsembleError: If the graphs differ in more than tensors, or cannot be vectorised.
        CompilerError: If compilation is impossible or fails.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        leaves: Sequence[Sequence[Tensor]],
        stacks: Stacks,
        engine: str,
        numbers: Sequence[int],
    ) -> None:
        self.plans, self.numbers, self._stacks = list(plans), list(numbers), stacks
        self.identities = frozenset(map(id, plans))
        self._check(plans)
        first = plans[0].captured
        pure = functional_form(first, leaves[0])
        columns = list(zip(*(plan.captured.lifted for plan in plans), strict=True))
        rows = [_has_rows(column, first) for column in columns]
        self._batched = Batched(pure, [*[True] * len(leaves[0]), *rows], len(plans))
        known = [*self._batched.placeholders[: len(leaves[0])]]
        known += [p for p, own in zip(self._batched.placeholders[len(leaves[0]) :], rows, strict=True) if not own]
        try:
            self._draws = Draws(pure, known)
        except DependentDrawError as error:
            raise EnsembleError(str(error)) from error
        self._shared = [column[0] for column, own in zip(columns, rows, strict=True) if not own]
        self._whole = [stacks.of(column) if own else column[0] for column, own in zip(columns, rows, strict=True)]
        device = next((t.device for t in self._whole), torch.device("cpu"))
        self._active = torch.ones(len(plans), dtype=torch.bool, device=device)
        self._who: tuple[bool, ...] = (True,) * len(plans)
        self._drawn = [draw.buffer(len(plans), device) for draw in self._draws.draws]
        self._rows = [whole.unbind() for whole in self._drawn]
        given = self._given(leaves)
        self.captured: Capture = capture(self._step, given)
        self._call = self._made(given, engine)

    def _check(self, plans: Sequence[Plan]) -> None:
        first = plans[0]
        for plan in plans:
            if plan.guessed:
                raise EnsembleError("a branch of the programs depends on tensors, and members may take different ones")
            if len(set(map(storage_of, plan.captured.lifted))) < len(plan.captured.lifted):
                raise EnsembleError("two of the tensors that the programs use share their memory")
            difference = None if plan is first else first_difference(first.captured.graph, plan.captured.graph)
            if difference is None and plan.structure != first.structure:
                difference = "their steps have different results"
            if difference is not None:
                raise EnsembleError(difference)

    def _made(self, given: list[Tensor], engine: str) -> Any:
        if engine != "compiled":
            return self.captured.graph.forward
        call = compiled(self.captured, given)
        if all(t.is_cuda for t in (*given, *self.captured.lifted)):
            try:
                return Replay(call, self.captured, given)
            except RecordingError as error:
                logger.warning("compiled kernels run one by one: no CUDA graph could be recorded of them (%s)", error)
        return call

    # ---- what is traced

    def _step(self, active: Tensor, *given: Tensor) -> list[Tensor]:
        """All members' steps; what a member changes stays as it was where it is not active."""
        count = len(given) - len(self._drawn)
        drawn = {draw.node: tensor for draw, tensor in zip(self._draws.draws, given[count:], strict=True)}
        results, written = self._batched([*given[:count], *self._whole], drawn)
        for number, new in written.items():
            whole = self._whole[number - count]
            mask = active.view(-1, *[1] * (whole.dim() - 1))
            whole.copy_(torch.where(mask, new.to(whole.dtype), whole))
        return results

    # ---- a step

    def gather(self) -> None:
        """See to it that the members' tensors are rows, wherever somebody has put them."""
        self._stacks.gather(self._whole)

    def __call__(
        self, leaves: Sequence[Sequence[Tensor] | None], generators: Sequence[torch.Generator]
    ) -> list[Tensor]:
        """Take the step of each member that has arguments.

        Args:
            leaves: Tensor arguments of each member, or None where it stays as it is.
            generators: The members'.

        Returns:
            The results of the members' graphs, flat, (members, ...); of no meaning where one stayed as it is.
        """
        someone = next(own for own in leaves if own is not None)
        given = self._given([someone if own is None else own for own in leaves])
        who = tuple(own is not None for own in leaves)
        if who != self._who:
            self._who = who
            self._active = torch.tensor(who, device=self._active.device)
        given[0] = self._active
        for number, own in enumerate(leaves):
            if own is not None:
                rows = [rows[number] for rows in self._rows]
                self._draws.draw([*own, *self._shared], rows, generators[number])
        with torch.no_grad():
            return list(self._call(*given, *self.captured.lifted))

    def apart(self, flat: Sequence[Tensor]) -> list[Any]:
        """What each member's own graph returns, in a tree of views."""
        structure = self.plans[0].structure
        return [tree_unflatten(list(own), structure) for own in zip(*(t.unbind() for t in flat), strict=True)]

    def _given(self, leaves: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        stacked = [torch.stack(column) for column in zip(*leaves, strict=True)]
        return [self._active, *stacked, *self._drawn]


def _has_rows(column: Sequence[Tensor], first: Capture) -> bool:
    """Whether each member has a tensor of its own there.

    Raises:
        EnsembleError: If some have, or all share one that a step changes.
    """
    changes = any(column[0] is tensor for tensor in first.changed)
    if len(column) == 1:
        return changes
    different = len(set(map(id, column)))
    if different == len(column):
        return True
    if different > 1:
        raise EnsembleError(f"some of them share a tensor of shape {tuple(column[0].shape)}, and others have their own")
    if changes:
        raise EnsembleError(f"they share a tensor of shape {tuple(column[0].shape)} that each step changes")
    return False
