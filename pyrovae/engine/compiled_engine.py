"""Loss, gradients and update as one compiled graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine import checking
from pyrovae.engine.base import Training
from pyrovae.engine.checking import Outcome
from pyrovae.engine.functions import Graphs, Plan, ReplayError
from pyrovae.engine.graph_engine import GraphEngine
from pyrovae.engine.optimizers import (
    LearningRates,
    StateWatch,
    UncapturableError,
    capturable_step,
    realized,
)
from pyrovae.engine.randomness import restore_rng_state, rng_state
from pyrovae.engine.steps import Done, Step
from pyrovae.engine.values import TracedValues


class CompiledEngine(GraphEngine):
    """Loss, gradients and update as one compiled graph, which reads nothing on the host.

    Where an optimizer's step cannot be part of a graph, loss and gradients are compiled, and the optimizer steps by
    itself.

    Args:
        training: What is trained.
        check_every: At which steps of a graph Pyro takes the step and the graph is compared; None for never.

    Attributes:
        outside: Why the update runs outside the graph, or None.
    """

    name = "compiled"

    def __init__(self, training: Training, check_every: int | None) -> None:
        self.outside: str | None = None
        self._rates: LearningRates | None = None
        super().__init__(training, check_every)

    def _make_graphs(self) -> Graphs:
        return Graphs(
            self._traced_step,
            "compiled",
            self._roots(),
            stale=self._stale,
            slots=self._slots,
            may_guess=True,
            tf32=self._training.precision == "tf32",
            agree=self._training.agree,
        )

    def update(self, args: tuple, kwargs: dict[str, Any]) -> Step:
        """Take one gradient step, by a compiled graph where there is one."""
        try:
            return super().update(args, kwargs)
        except UncapturableError as error:
            self.outside = str(error)
            return super().update(args, kwargs)

    def run(self, batches: Sequence[tuple], done: Done) -> None:
        """One update for each tuple of arguments, in rows that need nothing of the host between their steps."""
        first = done.taken
        with self._graphs.unchanging():
            while (place := done.taken - first) < len(batches):
                self._run_row(batches[place:], done)
                if done.taken - first == place:
                    done.add(self.update(batches[place], {}))

    def _run_row(self, batches: Sequence[tuple], done: Done) -> None:
        """Take the first of these steps by one graph, as far as it is theirs and was used in this run already.

        That first use has looked whether anything has changed. A step that Pyro is due to check ends the row.
        """
        known = self._graphs.trusted(batches[0])
        if known is None or self._doubt is not None or not known[0].needs_no_host:
            return
        plan = known[0]
        assert self._rates is not None
        self._rates.refresh()
        self._copies = []  # nobody takes back one step of many
        with self._graphs.switched():
            arguments = self._arguments_of(plan, batches)
            if not plan.recorded:
                self._run_in_turn(plan, arguments, done)
            elif plan.together(len(batches)):
                given = list(arguments)
                while count := plan.together(len(given)):
                    done.add(self._update_together(plan, given[:count]))
                    del given[:count]

    def _arguments_of(self, plan: Plan, batches: Sequence[tuple]) -> Iterator[list[Tensor]]:
        """Tensor arguments of the first batches, up to one that is not this graph's."""
        for use, batch in enumerate(batches, plan.uses + 1):
            known = self._graphs.trusted(batch)
            if checking.due(use, self._check_every) or known is None or known[0] is not plan:
                return
            tensors = known[1]
            if any(t.requires_grad for t in tensors) or plan.overlaps(tensors) or plan.identity_matters(tensors):
                return
            yield tensors

    def _run_in_turn(self, plan: Plan, arguments: Iterable[list[Tensor]], done: Done) -> None:
        """Take steps by calls one after another."""
        training = self._training
        before = rng_state(training.device)

        def take(loss: Tensor, log_probs: dict[str, Tensor]) -> None:
            nonlocal before
            done.add(Step(loss, log_probs))
            plan.uses += 1
            training.steps_taken[self.name] += 1
            before = rng_state(training.device)

        try:
            plan.in_turn(arguments, take)
        except ReplayError:
            restore_rng_state(before, training.device)
            raise
        plan.fitted()

    def _update_together(self, plan: Plan, given: list[list[Tensor]]) -> Step:
        """Take steps by one replay."""
        training = self._training
        before = rng_state(training.device)
        try:
            step = Step(*plan.steps(given))
        except ReplayError:
            restore_rng_state(before, training.device)
            raise
        plan.uses += len(given)
        plan.fitted()
        training.steps_taken[self.name] += len(given)
        return step

    def _update_by(self, plan: Plan, tensors: list[Tensor], args: tuple, kwargs: dict[str, Any]) -> Step:
        if not plan.whole:
            return super()._update_by(plan, tensors, args, kwargs)
        assert self._rates is not None
        self._rates.refresh()
        training = self._training
        before = rng_state(training.device)
        self._copies = plan.copies()
        looks = plan.guessed and bool(training.healthy)  # on a GPU this waits for the result
        try:
            with self._graphs.switched():
                step = Step(*plan.step(tensors))
        except ReplayError:
            restore_rng_state(before, training.device)
            raise
        if looks and not training.healthy:
            training.healthy.fill_(True)
            restore_rng_state(before, training.device)
            self.take_back()
            plan.missed()
            return self.pyro.update(args, kwargs)
        plan.fitted()
        training.steps_taken[self.name] += 1
        return step

    def _rehearsal(self, plan: Plan, tensors: list[Tensor], before: dict[str, Tensor]) -> Outcome | None:
        if self._rates is not None:
            self._rates.refresh()
        return super()._rehearsal(plan, tensors, before)

    def _stale(self) -> list[Callable[[], bool]]:
        updater = self._training.updater
        updater.keep_state_on_device()  # Pyro makes an optimizer at its parameter's first step, and counts on the host
        if self._rates is None or not self._rates.serve(updater):
            self._rates = LearningRates(updater)
        return [*super()._stale(), StateWatch(updater).changed]

    def _traced_step(self, values: TracedValues, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Everything that one step does."""
        training, updater = self._training, self._training.updater
        results = self._loss_and_gradients(values, *args, **kwargs)
        self.outside = self.outside or updater.why_not_capturable()
        if self.outside is not None:
            return results
        movable = set(updater.moved(values.met))
        gradients = {updater.parameters[i]: g for i, g in results["gradients"].items()}
        gradients = {p: g for p, g in gradients.items() if p in movable}
        gradients |= {p: torch.zeros_like(p) for p in updater.without_gradient(values.met, list(gradients))}
        if not updater.has_state(list(gradients)):
            raise UncapturableError("the optimizer has not made its state yet")
        assert self._rates is not None
        states = [v for o in updater.optimizers for s in o.state.values() for v in s.values() if isinstance(v, Tensor)]
        with torch.no_grad():
            changing = [*(p.detach() for p in gradients), *states]
            before = [tensor.clone() for tensor in changing]
            capturable_step(updater, self._rates.tensors, gradients)
            sound = training.healthy & torch.isfinite(results["loss"])
            healthy = realized(sound & results.pop("valid") if "valid" in results else sound)
            for tensor, old in zip(changing, before, strict=True):
                tensor.copy_(torch.where(healthy, tensor, old))
            training.healthy.copy_(healthy)
            values.moved = [*gradients, *states, training.healthy]
            results["gradients"] = {}  # as outputs they cost several per cent; the check sees what they move
            return results | {"loss": torch.where(healthy, results["loss"], math.nan)}
