"""A traced graph of loss and gradients, with the optimizer beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine import checking
from pyrovae.engine.base import DisagreementError, Engine, Training
from pyrovae.engine.capture import untouched
from pyrovae.engine.checking import Outcome
from pyrovae.engine.compat import handlers_around, modes_around, parameter_slots
from pyrovae.engine.functions import Graphs, Plan, ReplayError
from pyrovae.engine.programs import Terms, UntraceableError
from pyrovae.engine.pyro_engine import PyroEngine, apply_update
from pyrovae.engine.randomness import restore_rng_state, rng_state, same_state
from pyrovae.engine.steps import Done, Step
from pyrovae.engine.values import TracedValues

logger = logging.getLogger(__name__)


class GraphEngine(Engine):
    """Loss and gradients as a traced graph, run operation by operation; the optimizer steps by itself.

    Args:
        training: What is trained.
        check_every: At which steps of a graph Pyro takes the step and the graph is compared; None for never.
    """

    name = "graph"

    def __init__(self, training: Training, check_every: int | None) -> None:
        self._training, self._check_every = training, check_every
        self.pyro = PyroEngine(training)
        self._said: set[str] = set()
        self._doubt: str | None = None
        self._copies: list[tuple[Tensor, Tensor]] = []
        self.last_by_pyro: Step = Step(torch.zeros(()))
        self._graphs = self._make_graphs()
        self._evaluations = Graphs(
            self._evaluation,
            self.name,
            self._roots(),
            slots=self._slots,
            may_guess=True,
            tf32=training.precision == "tf32",
            agree=training.agree,
        )

    def _make_graphs(self) -> Graphs:
        return Graphs(
            self._loss_and_gradients,
            "graph",
            self._roots(),
            stale=self._stale,
            slots=self._slots,
            may_guess=True,
            tf32=self._training.precision == "tf32",
            agree=self._training.agree,
        )

    def _roots(self) -> dict[str, Any]:
        objective = self._training.objective
        roots = {
            "model": objective.model, "guide": objective.guide, "prepare": objective.prepare, "loss": objective.loss,
        }  # fmt: skip
        return {name: root for name, root in roots.items() if root is not None}

    @property
    def graphs(self) -> Graphs:
        """The graphs of updates."""
        return self._graphs

    # ---- an update

    def update(self, args: tuple, kwargs: dict[str, Any]) -> Step:
        """Take one gradient step, by a graph where there is one.

        Raises:
            UntraceableError: If no graph can be made, or it fails; nothing has changed then.
            CompilerError: If compilation is impossible.
            TooManyGraphsError: If graphs do not pay.
            DisagreementError: If the graph computes something else than Pyro. Pyro has taken the step.
        """
        self._copies = []  # of an earlier step, which is not to be undone
        planned = self._plan(args, kwargs)
        if isinstance(planned, Step):
            return planned
        plan, tensors = planned
        plan.uses += 1
        if checking.due(plan.uses, self._check_every) or self._doubt is not None:
            return self._checked_update(plan, tensors, args, kwargs)
        return self._update_by(plan, tensors, args, kwargs)

    def _plan(self, args: tuple, kwargs: dict[str, Any]) -> tuple[Plan, list[Tensor]] | Step:
        """The graph for these arguments, or the step that Pyro has taken in its stead."""

        def by_pyro() -> Step:
            return self.pyro.update(args, kwargs)

        reason = self._not_now()
        if reason is not None:
            self._say(reason)
            return by_pyro()
        entry, tensors = self._graphs.lookup(args, kwargs)
        if any(tensor.requires_grad for tensor in tensors):
            self._say("an argument requires a gradient")
            return by_pyro()
        while entry.rehearsals_before:
            # In the run that is resumed Pyro took a step here: Python runs again, and leaves no mark.
            entry.rehearsals_before -= 1
            with untouched(), self._graphs.rehearsing(entry):
                _, _, met, leaves = self._training.objective.backward(args, kwargs)
            self._training.adopt(met, leaves)
            self._training.updater.note_gradients(met)
            self._training.updater.clear(met)
        plan = self._graphs.ready(entry, tensors)
        if plan is None:
            return self.pyro.update(args, kwargs, around=self._graphs.rehearsing(entry))
        if self._training.parallel is not None and plan.changes_by_programs:
            raise ValueError(
                "the programs change tensors in place, such as running means, and each process would do so by its own "
                "rows: leave that out, or train by one process"
            )
        if plan.overlaps(tensors):
            self._say("an argument lies in the memory of a parameter")
            return by_pyro()
        if plan.identity_matters(tensors):
            self._say("the programs ask whether two tensors are one object, and an argument is another tensor too")
            return by_pyro()
        return plan, tensors

    def progress(self) -> dict[str, dict[str, tuple[int, int]]]:
        """How far each signature has come, for a run that is resumed."""
        return {"updates": self._graphs.progress(), "evaluations": self._evaluations.progress()}

    def resume(self, progress: Mapping[str, Mapping[str, tuple[int, int]]]) -> None:
        """Take up what `progress` said in the run that is resumed."""
        self._graphs.resume(progress["updates"])
        self._evaluations.resume(progress["evaluations"])

    def _not_now(self) -> str | None:
        """Why Pyro takes this step, whatever graphs there are."""
        if handlers_around():
            return "a Pyro handler is active around the step"
        if modes_around():
            return "a torch mode is active around the step"
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            return "autocast is on"
        if torch.is_anomaly_enabled():
            return "torch looks for anomalies"
        if not torch.is_grad_enabled():
            return "gradients are switched off"
        if self._training.updater.gradients_of_the_caller():
            return "a parameter had a gradient before the step"
        return None

    def _say(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            logger.info("Pyro takes this step, because %s", reason)

    def _update_by(self, plan: Plan, tensors: list[Tensor], args: tuple, kwargs: dict[str, Any]) -> Step:
        training = self._training
        before = rng_state(training.device)
        self._copies = plan.copies()
        results = self._replay(plan, tensors, before)
        if not self._may_apply(results):
            # Not valid or not finite: Pyro says so in its own words, or finds that it was rounding; or another branch.
            restore_rng_state(before, training.device)
            self.take_back()
            plan.missed()
            return self.pyro.update(args, kwargs)
        plan.fitted()
        for index, gradient in results["gradients"].items():
            training.updater.parameters[index].grad = gradient
        loss = apply_update(training, results["loss"], plan.met)
        training.steps_taken[self.name] += 1
        return Step(loss, results["log_probs"])

    def take_back(self) -> None:
        """Undo what the programs themselves have changed in the last step by a graph."""
        with torch.no_grad():
            for tensor, value in self._copies:
                tensor.copy_(value)
        self._copies = []

    def _replay(self, plan: Plan, tensors: list[Tensor], before: dict[str, Tensor]) -> Any:
        try:
            with self._graphs.switched():
                return plan.results(tensors)
        except ReplayError:
            restore_rng_state(before, self._training.device)
            raise

    def _may_apply(self, results: dict[str, Any]) -> bool:
        valid = results.get("valid")
        finite = torch.isfinite(results["loss"])
        return bool(finite if valid is None else finite & valid)

    # ---- against Pyro

    def _checked_update(self, plan: Plan, tensors: list[Tensor], args: tuple, kwargs: dict[str, Any]) -> Step:
        """Let Pyro take the step, and compare what the graph would have done."""
        training = self._training
        before = rng_state(training.device)
        ours = self._rehearsal(plan, tensors, before)
        after = rng_state(training.device)
        restore_rng_state(before, training.device)
        earlier = [p.detach().clone() for p in training.updater.parameters]
        traces = self._traces_of_gradients(plan)
        step = self.pyro.update(args, kwargs, keep_gradients=True)
        doubt = None
        if ours is not None:
            gradients = _moved(traces) if plan.whole else self.pyro.gradients
            theirs = Outcome(step.loss, step.log_probs, dict(training.objective.weighted), gradients)
            doubt = checking.difference(ours, theirs, training.precision, training.names())
            if doubt is not None and doubt.startswith(checking.GRADIENT):
                moved = self._moved_rehearsal(plan, tensors, before, earlier)
                if moved is not None and checking.explained_by_rounding(ours, theirs, moved):
                    doubt = None
            if doubt is None and not same_state(after, rng_state(training.device)):
                doubt = "another number of random numbers is drawn"
        written = plan.watch.changes()
        if written:
            doubt = f"the programs change {written[0]}, a Python object"
        # A draw on the edge between two values falls differently once in a long while; a graph that is wrong stays so.
        if doubt is not None and (written or self._doubt is not None):
            self.last_by_pyro = step
            raise DisagreementError(doubt)
        self._doubt = doubt
        return step

    def _rehearsal(self, plan: Plan, tensors: list[Tensor], before: dict[str, Tensor]) -> Outcome | None:
        """What the graph computes, leaving tensors as they were; None where Pyro decides whether values are valid."""
        traces = self._traces_of_gradients(plan)
        saved = [tensor.detach().clone() for tensor in plan.captured.changed]
        try:
            results = self._replay(plan, tensors, before)
            if not self._may_apply(results):
                return None
            parameters = self._training.updater.parameters
            gradients = {parameters[index]: gradient.clone() for index, gradient in results["gradients"].items()}
            log_probs = {name: value.clone() for name, value in results["log_probs"].items()}
            weighted = dict(zip(plan.weighted, results["weighted"][0].clone(), strict=True)) if plan.weighted else {}
            return Outcome(results["loss"].clone(), log_probs, weighted, gradients or _moved(traces))
        finally:
            with torch.no_grad():
                for tensor, value in zip(plan.captured.changed, saved, strict=True):
                    tensor.copy_(value)

    def _traces_of_gradients(self, plan: Plan) -> dict[Tensor, tuple[Tensor, Tensor]]:
        """By parameter, the tensor that shows the gradient of a graph which updates, and a copy of it before.

        That is the first average that the optimizer keeps, which is moved in proportion to the gradient or its square,
        or the parameter itself, if it keeps none. (The step of Adam would not do: rounding decides its sign where a
        gradient is nearly zero.)
        """
        if not plan.whole:
            return {}
        found: dict[Tensor, tuple[Tensor, Tensor]] = {}
        for optimizer in self._training.updater.optimizers:
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                state = optimizer.state.get(parameter, {})
                averages = [
                    value
                    for name, value in state.items()
                    if name != "step" and isinstance(value, Tensor) and value.shape == parameter.shape
                ]
                trace = averages[0] if averages else parameter.detach()
                found[parameter] = trace, trace.clone()
        return found

    def _moved_rehearsal(
        self, plan: Plan, tensors: list[Tensor], before: dict[str, Tensor], earlier: Sequence[Tensor]
    ) -> Outcome | None:
        """What the graph computes from the parameters before the step, each changed by a rounding error."""
        training = self._training
        now, after = [p.detach().clone() for p in training.updater.parameters], rng_state(training.device)
        epsilon = torch.finfo(torch.bfloat16 if training.precision == "bfloat16" else torch.float32).eps
        try:
            with torch.no_grad():
                for parameter, value in zip(training.updater.parameters, earlier, strict=True):
                    precise = torch.finfo(value.dtype).eps if value.dtype == torch.float64 else epsilon
                    signs = torch.arange(value.numel(), device=value.device).view(value.shape) % 2 * 2 - 1
                    parameter.copy_(value * (1 + precise * signs))
            restore_rng_state(before, training.device)
            return self._rehearsal(plan, tensors, before)
        finally:
            restore_rng_state(after, training.device)
            with torch.no_grad():
                for parameter, value in zip(training.updater.parameters, now, strict=True):
                    parameter.copy_(value)

    # ---- what is traced

    def _slots(self) -> list[tuple[Any, str, str]]:
        return parameter_slots(self._training.objective.met_names)

    def _stale(self) -> list[Callable[[], bool]]:
        updater = self._training.updater
        trouble = updater.trouble()
        if trouble:
            raise UntraceableError(f"{trouble}; engine='pyro' may run it")
        version = updater.version
        return [lambda: updater.version != version or not updater.known()]

    def _loss_and_gradients(self, values: TracedValues, *args: Any, **kwargs: Any) -> dict[str, Any]:
        parameters = self._training.updater.parameters
        with torch.enable_grad():
            terms = self._training.objective.traced(args, kwargs, values)
            gradients: Sequence[Tensor | None] = [None] * len(parameters)
            trained = [p for p in parameters if p.requires_grad]
            if trained and terms.surrogate is not None and terms.surrogate.requires_grad:
                found = torch.autograd.grad(terms.surrogate, trained, allow_unused=True)
                by_parameter = dict(zip(trained, found, strict=True))
                gradients = [by_parameter.get(p) for p in parameters]
        return self._of_all(results_of(terms, {i: g for i, g in enumerate(gradients) if g is not None}))

    def _evaluation(self, values: TracedValues, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self._of_all(results_of(self._training.objective.traced_value(args, kwargs, values), {}))

    def _of_all(self, results: dict[str, Any]) -> dict[str, Any]:
        """The results summed over processes, by one reduction that is part of the graph."""
        parallel = self._training.parallel
        if parallel is None:
            return results
        loss, log_probs, weighted, gradients = (
            results[name] for name in ("loss", "log_probs", "weighted", "gradients")
        )
        numbers = [value.detach().to(loss) for value in (*log_probs.values(), *weighted)]
        broken = [results["valid"].logical_not().to(loss)] if "valid" in results else []
        loss, *sums = parallel.sums([loss, *numbers, *broken, *gradients.values()])
        found: dict[str, Any] = {"loss": loss, "log_probs": dict(zip(log_probs, sums, strict=False))}
        found["weighted"] = sums[len(log_probs) : len(numbers)]
        found["gradients"] = dict(zip(gradients, sums[len(numbers) + len(broken) :], strict=True))
        return found | {"valid": sums[len(numbers)] == 0} if broken else found

    # ---- an evaluation

    def run(self, batches: Sequence[tuple], done: Done) -> None:
        """One update for each tuple of arguments, each put behind what is done; changes are looked for once."""
        with self._graphs.unchanging():
            super().run(batches, done)

    def evaluate(self, args: tuple, kwargs: dict[str, Any]) -> Step:
        """Compute the loss, and change nothing."""
        if self._not_now() is not None:
            return self.pyro.evaluate(args, kwargs)
        entry, tensors = self._evaluations.lookup(args, kwargs)
        while entry.rehearsals_before:
            entry.rehearsals_before -= 1
            with untouched(), self._evaluations.rehearsing(entry):
                self.pyro.evaluate(args, kwargs)
        plan = self._evaluations.ready(entry, tensors)
        if plan is None:
            with self._evaluations.rehearsing(entry):
                return self.pyro.evaluate(args, kwargs)
        plan.uses += 1
        before = rng_state(self._training.device)
        results = self._replay(plan, tensors, before)
        if not self._may_apply(results):
            restore_rng_state(before, self._training.device)
            plan.missed()
            return self.pyro.evaluate(args, kwargs)
        plan.fitted()
        return Step(results["loss"], results["log_probs"])


def _moved(traces: Mapping[Tensor, tuple[Tensor, Tensor]]) -> dict[Tensor, Tensor]:
    """How far tensors have moved since they were copied."""
    return {parameter: trace - before for parameter, (trace, before) in traces.items()}


def results_of(terms: Terms, gradients: Mapping[int, Tensor]) -> dict[str, Any]:
    """What a traced step returns."""
    weighted = [torch.stack(list(terms.weighted.values()))] if terms.weighted else []
    results: dict[str, Any] = {"loss": terms.loss, "log_probs": terms.log_probs, "weighted": weighted}
    results["gradients"] = dict(gradients)
    return results if terms.valid is None else results | {"valid": terms.valid}
