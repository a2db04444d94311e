"""One member of an ensemble: its random numbers, and the engine that takes its steps among those of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine import checking
from pyrovae.engine.base import Training
from pyrovae.engine.compiled_engine import CompiledEngine
from pyrovae.engine.functions import Graphs, Plan, Stage
from pyrovae.engine.optimizers import UncapturableError
from pyrovae.engine.pyro_engine import PyroEngine, apply_update
from pyrovae.engine.randomness import restore_rng_state, rng_state
from pyrovae.engine.steps import Step

StackedRun = Callable[[Plan, list[Tensor], torch.Generator], Any]
"""Runs the step of all members for one of them alone, whose graph and arguments these are."""


class MemberRandom:
    """The random numbers of one member: a generator on the host, and one on its device.

    Args:
        seed: Where they start.
        device: Where the member computes.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._generators = {"cpu": torch.Generator().manual_seed(seed)}
        if device.type != "cpu":
            self._generators[device.type] = torch.Generator(device).manual_seed(seed)
        self._depth = 0

    @property
    def generator(self) -> torch.Generator:
        """The generator of the member's device."""
        return self._generators[self.device.type]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Inside, torch's own generators go on where this member's stand; afterwards they are as before."""
        if self._depth:
            yield
            return
        before = rng_state(self.device)
        restore_rng_state(self.state(), self.device)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self.restore(rng_state(self.device))
            restore_rng_state(before, self.device)

    def state(self) -> dict[str, Tensor]:
        """The state of the generators, as `rng_state` gives it."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, generator in self._generators.items():
            if name in state:
                generator.set_state(state[name].cpu())


class _PyroOfMember(PyroEngine):
    """Pyro's own steps, with the random numbers of a member."""

    def __init__(self, training: Training, random: MemberRandom) -> None:
        super().__init__(training)
        self._random = random

    def update(self, *args: Any, **kwargs: Any) -> Step:
        """Take one gradient step."""
        with self._random.at_work():
            return super().update(*args, **kwargs)


class MemberEngine(CompiledEngine):
    """Traces a member's step, and takes up what the step of all members has computed for it.

    Args:
        training: What is trained.
        check_every: At which steps Pyro takes the step and what the graph would have done is compared; None for never.
        random: The member's random numbers.
        run_stacked: Runs the step of all members for this one alone.
    """

    name = "together"

    def __init__(
        self, training: Training, check_every: int | None, random: MemberRandom, run_stacked: StackedRun
    ) -> None:
        super().__init__(training, check_every)
        self.random, self._run_stacked = random, run_stacked
        self.pyro = _PyroOfMember(training, random)

    def _make_graphs(self) -> Graphs:
        return Graphs(
            self._traced_step,
            "graph",  # the member's own graph is never run, and so never compiled
            self._roots(),
            stale=self._stale,
            slots=self._slots,
            may_guess=True,
            tf32=self._training.precision == "tf32",
        )

    def planned(self, args: tuple) -> tuple[Plan, list[Tensor]] | Step:
        """The graph for these arguments, or the step that Pyro has taken in its stead."""
        try:
            return self._plan(args, {})
        except UncapturableError as error:
            self.outside = str(error)
            return self._plan(args, {})

    def planned_quietly(self, args: tuple) -> tuple[Plan, list[Tensor]] | None:
        """The same without a step: the programs run, and leave no mark. None if this member has not taken any."""
        if not self._training.steps_taken.total():
            return None
        entry, _ = self._graphs.lookup(args, {})
        entry.rehearsals_before = {Stage.NEW: 2, Stage.OBSERVED: 1}.get(entry.stage, 0)
        planned = self.planned(args)
        return None if isinstance(planned, Step) else planned

    def is_due(self, plan: Plan) -> bool:
        """Whether Pyro takes the next step of a graph, for comparison."""
        return checking.due(plan.uses + 1, self._check_every) or self._doubt is not None

    def checked_step(self, plan: Plan, tensors: list[Tensor], args: tuple) -> Step:
        """Let Pyro take the step, and compare what the step of all members would have done.

        Raises:
            DisagreementError: If they differ repeatedly; Pyro has taken the step.
        """
        with self.random.at_work():
            return self._checked_update(plan, tensors, args, {})

    def _replay(self, plan: Plan, tensors: list[Tensor], before: dict[str, Tensor]) -> Any:
        restore_rng_state(before, self._training.device)
        index = self._training.device.index or 0
        on_cpu = self._training.device.type == "cpu"
        return self._run_stacked(
            plan, tensors, torch.default_generator if on_cpu else torch.cuda.default_generators[index]
        )

    def refresh(self) -> None:
        """Bring learning rates up to date."""
        if self._rates is not None:
            self._rates.refresh()

    def prepare(self, plan: Plan) -> dict[str, Tensor]:
        """Before a step whose update is outside the graph: remember what Pyro would need to take it instead."""
        self.refresh()
        self._copies = [] if plan.whole else plan.copies()
        return {} if plan.whole else self.random.state()

    def take_up(self, plan: Plan, results: dict[str, Any], before: dict[str, Tensor], args: tuple) -> Step:
        """Finish the step that was taken for all."""
        training = self._training
        if plan.whole:
            training.steps_taken[self.name] += 1
            return Step(results["loss"], results["log_probs"])
        if not self._may_apply(results):
            self.random.restore(before)
            self.take_back()
            return self.pyro.update(args, {})
        for index, gradient in results["gradients"].items():
            training.updater.parameters[index].grad = gradient
        loss = apply_update(training, results["loss"], plan.met)
        training.steps_taken[self.name] += 1
        return Step(loss, results["log_probs"])
