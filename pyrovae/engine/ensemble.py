"""Several trainings as one program: the traced step of a member, vectorised over all of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.base import DisagreementError
from pyrovae.engine.batching import EnsembleError
from pyrovae.engine.choice import tier_for
from pyrovae.engine.compilation import CompilerError, missing_compiler
from pyrovae.engine.functions import Plan, TooManyGraphsError
from pyrovae.engine.member import MemberEngine, MemberRandom
from pyrovae.engine.programs import UntraceableError
from pyrovae.engine.stacked_step import StackedStep
from pyrovae.engine.stacking import Stacks
from pyrovae.engine.steps import Step
from pyrovae.engine.svi import SVI

logger = logging.getLogger(__name__)

ENGINES = ("auto", "compiled", "graph")
Planned = tuple[Plan, list[Tensor]]


class Ensemble:
    """Trains several models of the same programs as one program.

    The members differ in the values of tensors alone: parameters, data, learning rates, weights of terms, random
    numbers. Each has its own `SVI` and generator, and a step of all gives each what its own step would, up to rounding.
    The traced step of one member is vectorised over stacked parameters and optimizer state; meanwhile the members' own
    tensors are rows of the stacked ones, so modules and optimizers show their values at any time. The first steps with
    each signature of the arguments, and those at which a graph is compared with Pyro, are Pyro's, one by one.

    A member whose loss is not finite, or whose step Pyro refuses, is not updated any more, as alone; the others go on.

    Args:
        members: The trainings, none of which has taken a step.
        seeds: Seed of the random numbers of each.
        engine: "compiled", "graph" (without a compiler), or "auto": compiled where there is a compiler and the
            run is long enough.
        check_every: As of `SVI`.

    Attributes:
        failures: What Pyro has raised in a member's step, by the member's number; its loss is then NaN.

    Raises:
        ValueError: If there is no member, a seed is lacking, or the members' losses are no ELBOs.

    Example:
        >>> import pyro.distributions as dist, torch
        >>> def member(start):
        ...     loc = torch.nn.Parameter(torch.tensor(start))
        ...     def model():
        ...         pyro.sample("z", dist.Normal(3.0, 1.0))
        ...     def guide():
        ...         pyro.sample("z", dist.Normal(loc, 1.0))
        ...     return loc, SVI(model, guide, torch.optim.Adam([loc], lr=0.1))
        >>> import pyro
        >>> locs, members = zip(*[member(start) for start in (0.0, 1.0)])
        >>> with Ensemble(members, seeds=[0, 1], engine="graph") as ensemble:
        ...     for _ in range(100):
        ...         steps = ensemble.update([(), ()])
        >>> [round(loc.item()) for loc in locs]
        [3, 3]
    """

    def __init__(
        self,
        members: Sequence[SVI],
        *,
        seeds: Sequence[int],
        engine: str = "auto",
        check_every: int | None = 1000,
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
        if not members or len(seeds) != len(members):
            raise ValueError(
                f"an ensemble needs a seed for each member, got {len(members)} members, {len(seeds)} seeds"
            )
        self.members = list(members)
        devices = {svi.device for svi in members}
        if len(devices) > 1:
            raise EnsembleError(f"they are on different devices ({', '.join(sorted(map(str, devices)))})")
        self._asked, self._engine = engine, engine
        self.failures: dict[int, Exception] = {}
        self._last: _Last | None = None
        self._stacks, self._steps = Stacks(), list[StackedStep]()
        self.random = [MemberRandom(seed, svi.device) for seed, svi in zip(seeds, members, strict=True)]
        self._engines = [
            MemberEngine(svi.training, check_every, random, self._run_for_one)
            for svi, random in zip(members, self.random, strict=True)
        ]
        for svi, member in zip(members, self._engines, strict=True):
            svi.join(member)
            trouble = svi.training.objective.only_by_pyro
            if trouble:
                raise EnsembleError(trouble)

    def __enter__(self) -> Ensemble:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Give each member's tensors their own memory back. They keep their values, and the ensemble may go on."""
        self._last = None
        self._stacks.release()

    @property
    def description(self) -> str:
        """What takes the steps, in a line."""
        outside = next((engine.outside for engine in self._engines if engine.outside), None)
        note = f"; updates run outside the graph, one by one: {outside}" if outside else ""
        return f"{len(self.members)} members as one program, engine {self._engine}{note}"

    # ---- steps

    def update(self, arguments: Sequence[tuple | None]) -> list[Step | None]:
        """Take one gradient step of each member, reading no result on the host.

        Args:
            arguments: Those of each member's step; None where a member sits out.

        Returns:
            What each has computed; None for those who sat out.

        Raises:
            EnsembleError: If the members cannot be trained as one program; members may have taken the step by then.
            CompilerError: If compilation is impossible or fails.
            ValueError: What Pyro says, if it refuses the step of every member.
        """
        self._last = None
        found: list[Step | None] = [None] * len(self.members)
        planned: dict[int, Planned] = {}
        for number, args in enumerate(arguments):
            if args is None:
                continue
            result = self._planned(number, args)
            if isinstance(result, Step):
                found[number] = result
            else:
                planned[number] = result
        groups: dict[Any, dict[int, Planned]] = {}
        for number, (plan, tensors) in planned.items():
            groups.setdefault(tuple(t.shape for t in tensors), {})[number] = plan, tensors
        for group in groups.values():
            for number, step in self._update_group(group, arguments).items():
                found[number] = step
        if self.failures and all(number in self.failures for number, args in enumerate(arguments) if args is not None):
            raise next(iter(self.failures.values()))  # of the programs then, and not of one member's numbers
        return found

    def run(self, batches: Sequence[Sequence[tuple] | None]) -> list[Step | None]:
        """One update for each tuple of arguments, with the least host work between them.

        Args:
            batches: The arguments of each step, for each member; as many for each, or None where a member sits out.

        Returns:
            Losses and log-probabilities of each member, (steps,); None for those who sat out.
        """
        counts = {len(own) for own in batches if own is not None}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"run needs batches, as many for each member, got {sorted(counts)}")
        done = _Done(len(self.members))
        with ExitStack() as stack:
            for engine in self._engines:
                stack.enter_context(engine.graphs.unchanging())
            for place in range(counts.pop()):
                arguments = [None if own is None else own[place] for own in batches]
                if not self._same_again(arguments, done):
                    done.add_apart(self.update(arguments))
        return done.joined()

    def _same_again(self, arguments: Sequence[tuple | None], done: _Done) -> bool:
        """Take a step of the same members and shapes as the one before, without a look at anything else."""
        if self._last is None or [_shapes(args) for args in arguments] != self._last.shapes:
            return False
        step, plans = self._last.step, self._last.plans
        if any(self._engines[number].is_due(plan) for number, plan in plans.items()):
            return False
        for number, plan in plans.items():
            plan.uses += 1
            self._engines[number].refresh()
            self.members[number].training.steps_taken[MemberEngine.name] += 1
        leaves = [arguments[number] for number in step.numbers]
        with self._engines[step.numbers[0]].graphs.switched():
            flat = step(leaves, [self.random[number].generator for number in step.numbers])
        done.add_together(step, list(plans), flat)
        return True

    def _planned(self, number: int, args: tuple) -> Planned | Step:
        svi, engine = self.members[number], self._engines[number]
        if svi.engine == "pyro" and svi.steps_taken.total() < MEASURED:
            with self.random[number].at_work():
                return self._or_nan(number, lambda: svi.update(*args))
        trouble = svi.training.updater.trouble()
        if trouble:
            raise EnsembleError(trouble)
        return self._or_nan(number, lambda: engine.planned(args))

    def _or_nan(self, number: int, action: Callable[[], Any]) -> Any:
        """What a member's own Python does; a step without a finite loss where Pyro refuses to take it."""
        try:
            return action()
        except (EnsembleError, CompilerError):
            raise
        except (UntraceableError, TooManyGraphsError) as error:
            raise EnsembleError(str(error)) from error
        except (FloatingPointError, ValueError) as error:
            self.failures[number] = error
            self.members[number].training.healthy.fill_(False)
            return Step(torch.tensor(math.nan, device=self.members[number].device))

    def _update_group(self, group: dict[int, Planned], arguments: Sequence[tuple | None]) -> dict[int, Step]:
        """The step of members whose arguments have the same shapes."""
        step = self._stacked(group, arguments)
        found: dict[int, Step] = {}
        doubts: list[str] = []
        taken: dict[int, Planned] = {}
        for number, (plan, tensors) in group.items():
            engine = self._engines[number]
            is_due = engine.is_due(plan)
            plan.uses += 1
            if not is_due:
                taken[number] = plan, tensors
                continue
            try:
                found[number] = self._or_nan(
                    number, partial(engine.checked_step, plan, tensors, _args(arguments, number))
                )
            except DisagreementError as error:
                found[number] = engine.last_by_pyro
                doubts.append(f"the step of member {number + 1} and Pyro's differ: {error}")
        if taken:
            found |= self._taken_together(step, taken, arguments)
        if doubts:
            raise EnsembleError(doubts[0])
        return found

    def _taken_together(
        self, step: StackedStep, taken: dict[int, Planned], arguments: Sequence[tuple | None]
    ) -> dict[int, Step]:
        """The step of these members by the graph of all."""
        before = {number: self._engines[number].prepare(plan) for number, (plan, _) in taken.items()}
        leaves = [taken[number][1] if number in taken else None for number in step.numbers]
        with self._engines[step.numbers[0]].graphs.switched():
            results = step.apart(step(leaves, [self.random[number].generator for number in step.numbers]))
        plans = {number: plan for number, (plan, _) in taken.items()}
        everyone = sum(args is not None for args in arguments) == len(plans)
        plain = all(_shapes(args) is not None for args in arguments if args is not None)
        if everyone and plain and all(plan.whole for plan in plans.values()):
            self._last = _Last(step, plans, [_shapes(args) for args in arguments])
        return {
            number: self._or_nan(
                number,
                partial(
                    self._engines[number].take_up,
                    plans[number],
                    results[place],
                    before[number],
                    _args(arguments, number),
                ),
            )
            for place, number in enumerate(step.numbers)
            if number in taken
        }

    # ---- the graph of all

    def _stacked(self, group: Mapping[int, Planned], arguments: Sequence[tuple | None]) -> StackedStep:
        """The step of all members that these graphs belong to."""
        wanted = {id(plan) for plan, _ in group.values()}
        for step in self._steps:
            if wanted <= step.identities:
                step.gather()
                return step
        everyone = dict(group)
        example = _args(arguments, next(iter(group)))
        for number in set(range(len(self.members))) - set(group):
            quiet = self._planned_quietly(number, example)
            if quiet is not None:
                everyone[number] = quiet
        numbers = sorted(everyone)
        plans, leaves = zip(*(everyone[number] for number in numbers), strict=True)
        if self._engine == "auto":
            self._engine = self._choose()
            logger.info(self.description)
        current = {id(plan) for engine in self._engines for plan in engine.graphs.plans}
        self._steps = [step for step in self._steps if step.identities <= current]
        with self._engines[numbers[0]].graphs.switched():
            step = StackedStep(plans, leaves, self._stacks, self._engine, numbers)
        self._steps.append(step)
        return step

    def _planned_quietly(self, number: int, example: tuple) -> Planned | None:
        """The graph of a member that does not take this step, so that it can join later ones; None if it cannot."""
        try:
            return self._engines[number].planned_quietly(example)
        except Exception:  # parameters that are not finite, say: the others go on without it
            return None

    def _choose(self) -> str:
        """Compiled, if that pays for as many steps as all members take."""
        first = self.members[0]
        steps, work = first.outlook
        if work is None:
            return "graph" if missing_compiler(first.device) else "compiled"
        steps = None if steps is None else steps * len(self.members)
        name, _ = tier_for(MEASURED, steps, work, missing_compiler(first.device), None)
        return "compiled" if name == "compiled" else "graph"

    def _run_for_one(self, plan: Plan, tensors: list[Tensor], generator: torch.Generator) -> Any:
        step = next(step for step in self._steps if id(plan) in step.identities)
        step.gather()
        place = next(place for place, own in enumerate(step.plans) if own is plan)
        leaves: list[Any] = [None] * len(step.plans)
        leaves[place] = tensors
        self._engines[step.numbers[place]].refresh()
        return step.apart(step(leaves, [generator] * len(step.plans)))[place]


MEASURED = 3
"""First steps that Pyro takes and counts the work of, as a training alone would."""


def _args(arguments: Sequence[tuple | None], number: int) -> tuple:
    args = arguments[number]
    assert args is not None
    return args


def _shapes(args: tuple | None) -> list[Any] | None:
    """Shapes and types of arguments that are tensors alone; None otherwise."""
    if args is None or not all(isinstance(tensor, Tensor) and not tensor.requires_grad for tensor in args):
        return None
    return [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in args]


@dataclass(frozen=True)
class _Last:
    """The step of all that was taken last, by which members' graphs, and of what shapes their arguments were."""

    step: StackedStep
    plans: dict[int, Plan]
    shapes: list[list[Any] | None]


class _Done:
    """Results of steps in their order, read apart once."""

    def __init__(self, members: int) -> None:
        self._steps: list[list[Step]] = [[] for _ in range(members)]
        self._waiting: tuple[StackedStep, list[int], list[list[Tensor]]] | None = None

    def add_apart(self, steps: Sequence[Step | None]) -> None:
        self._flush()
        for own, step in zip(self._steps, steps, strict=True):
            if step is not None:
                own.append(Step(step.loss[None], {name: value[None] for name, value in step.log_probs.items()}))

    def add_together(self, step: StackedStep, numbers: list[int], flat: list[Tensor]) -> None:
        if self._waiting is None or self._waiting[0] is not step or self._waiting[1] != numbers:
            self._flush()
            self._waiting = step, numbers, []
        self._waiting[2].append(flat)

    def _flush(self) -> None:
        """Results of steps by the same graph, (members, steps)."""
        if self._waiting is None:
            return
        step, numbers, rows = self._waiting
        self._waiting = None
        results = step.apart([torch.stack(column, 1) for column in zip(*rows, strict=True)])
        for place, number in enumerate(step.numbers):
            if number in numbers:
                self._steps[number].append(Step(results[place]["loss"], results[place]["log_probs"]))

    def joined(self) -> list[Step | None]:
        """One for each member."""
        self._flush()
        return [_joined(own) if own else None for own in self._steps]


def _joined(steps: Sequence[Step]) -> Step:
    device, dtype = steps[-1].loss.device, steps[-1].loss.dtype
    names = [name for name in steps[-1].log_probs if all(name in step.log_probs for step in steps)]
    return Step(
        torch.cat([step.loss.to(device, dtype) for step in steps]),
        {name: torch.cat([step.log_probs[name].to(device) for step in steps]) for name in names},
    )
