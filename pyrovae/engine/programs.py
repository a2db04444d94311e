"""Run Pyro's own loss code so that the same lines give a float, a gradient, or a graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import (
    ELBO,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
)
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.engine.capture import untouched
from pyrovae.engine.compat import (
    EQUAL_SCALES,
    EXPECTATION,
    PARAMETER_MARK,
    ZERO_PROBABILITY,
    Message,
    Messenger,
    asking_code,
    first_scale,
    mark_parameters,
    untraced,
)
from pyrovae.engine.parallel import DataParallel
from pyrovae.engine.turns import TURN
from pyrovae.engine.values import UNSEEN_STATE, TracedValues, ValueReadError

Program = Callable[..., Any]

_NETWORK_PRODUCTS = (
    torch.nn.functional.linear,
    torch.nn.functional.bilinear,
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
)
_PLAIN = {
    JitTrace_ELBO: Trace_ELBO,
    JitTraceEnum_ELBO: TraceEnum_ELBO,
    JitTraceGraph_ELBO: TraceGraph_ELBO,
    JitTraceMeanField_ELBO: TraceMeanField_ELBO,
}
_BY_PYRO_ALONE = (ReweightedWakeSleep, TraceTailAdaptive_ELBO, TraceTMC_ELBO, Trace_MMD)


class UntraceableError(ValueError):
    """A model or guide that cannot be turned into one static graph; says at which site, and why."""


@dataclass(frozen=True)
class Terms:
    """What one pass over model and guide gives.

    Attributes:
        loss: The negative bound, scalar, detached.
        surrogate: The scalar whose gradient trains, or None when nothing can be trained.
        log_probs: Per sample site ("model.z", "guide.z", "model.x"), the unscaled log-probability, scalar: summed
            over the batch, averaged over particles.
        weighted: Per sample site, what the loss counted, for the comparison with Pyro.
        valid: Whether all distributions accept their arguments and values, boolean (); None if nothing was checked.
    """

    loss: Tensor
    surrogate: Tensor | None
    log_probs: dict[str, Tensor]
    weighted: dict[str, Tensor]
    valid: Tensor | None


class BFloat16Products(TorchFunctionMode):
    """Compute the products of linear and convolutional layers in bfloat16; leave the rest, log-probabilities too."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        kwargs = kwargs or {}
        if func not in _NETWORK_PRODUCTS:
            return func(*args, **kwargs)

        def low(value: Any) -> Any:
            return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value

        return func(*map(low, args), **{k: low(v) for k, v in kwargs.items()}).float()


class _LossCode(TorchFunctionMode):
    """Let Pyro's `loss_and_grads` run on tensors that have no value yet, inside `TracedValues`.

    Outside model and guide, `item()` detaches, and `backward()` puts the surrogate aside. Enumeration leaves terms of
    probability zero out by a choice of elements, not by a smaller tensor. In model and guide the methods keep their
    meaning, so that control flow that depends on data is found, not hidden.

    Args:
        conditions: Takes up that scales are equal which Pyro compares.
    """

    def __init__(self, conditions: list[Tensor]) -> None:
        super().__init__()
        self._conditions = conditions
        self.surrogates: list[Tensor] = []
        self.program_depth = 0

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        kwargs = kwargs or {}
        if self.program_depth and func in UNSEEN_STATE:
            raise ValueReadError(None, "asks a tensor for its gradient or version")
        if self.program_depth and func is Tensor.backward:
            raise ValueReadError(None, "calls backward()")
        if func is Tensor.__bool__ and asking_code() is ZERO_PROBABILITY:
            return True
        if not self.program_depth:
            if func is Tensor.item:
                return args[0].detach()
            if func is Tensor.backward:
                self.surrogates.append(args[0])
                return None
            if func is Tensor.__float__ and asking_code() is EQUAL_SCALES:
                first = torch.as_tensor(first_scale(), dtype=torch.float64, device=args[0].device)
                self._conditions.append(args[0].detach().double() == first.detach())
                with untraced():
                    return func(*args)
            if func in (Tensor.mul, Tensor.__mul__, torch.tensordot) and asking_code() is EXPECTATION:
                probability, cost = args
                args = probability, torch.where(probability > 0, cost, 0.0)
        return func(*args, **kwargs)

    @contextlib.contextmanager
    def user_program(self) -> Iterator[None]:
        """Mark that model or guide is running."""
        self.program_depth += 1
        try:
            yield
        finally:
            self.program_depth -= 1


class _Backward(TorchFunctionMode):
    """Notes the leaves that backward passes fill, in the order of their use."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves: dict[Tensor, None] = {}

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        if func is Tensor.backward and args[0].grad_fn is not None:
            self.leaves |= dict.fromkeys(_leaves(args[0].grad_fn))
        return func(*args, **(kwargs or {}))


class _SiteTracker(Messenger):
    """Remembers the sample site that a program has reached last, for error messages."""

    def __init__(self) -> None:
        super().__init__()
        self.last: str | None = None

    def _pyro_sample(self, msg: Message) -> None:
        self.last = str(msg["name"])


class Objective:
    """Model, guide and loss as one function of the arguments.

    Args:
        model: Pyro program.
        guide: Pyro program.
        loss: Any Pyro ELBO, or a function of model, guide and arguments, as `pyro.infer.SVI` takes it.
        prepare: Turns the caller's arguments into those of model and guide.
        precision: "float32", "tf32" or "bfloat16".
        mark: Whether parameters of plain modules are trained too, which Pyro's own optimizers do not know.
        parallel: The processes that train together, or None; the first of all arguments is then the number of rows.

    Attributes:
        met_names: Names of the parameter sites that the last gradient by Pyro has met.
        weighted: Log-probability by site as the last run's loss counted it, with its scale; of the last particle.
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        loss: Any,
        prepare: Program | None,
        precision: str,
        mark: bool,
        parallel: DataParallel | None = None,
    ) -> None:
        self.model, self.guide, self.prepare, self.loss = model, guide, prepare, loss
        self._precision, self._mark, self.parallel = precision, mark, parallel
        self._log_probs: dict[str, Tensor] = {}
        self.met_names: list[str] = []
        self.weighted: dict[str, Tensor] = {}

    @property
    def only_by_pyro(self) -> str | None:
        """The reason for which no graph of this loss is made, or None."""
        if not isinstance(self.loss, ELBO):
            return "the loss is a function, and not a pyro.infer.ELBO"
        if isinstance(self.loss, _BY_PYRO_ALONE):
            return f"{type(self.loss).__name__} is left to Pyro"
        return None

    @property
    def states_its_value(self) -> bool:
        """Whether the loss is a number that it minimises; `TraceTailAdaptive_ELBO` returns infinity at every step."""
        return not isinstance(self.loss, TraceTailAdaptive_ELBO)

    # ---- by Pyro

    def backward(self, args: tuple, kwargs: dict) -> tuple[Any, dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Pyro's own step up to the gradients, which it leaves in `.grad`: the reference.

        Returns:
            What the loss returned; log-probabilities by site; the parameters of its parameter sites; the leaves that
            the backward pass filled.
        """
        with TURN, _Backward() as backward, poutine.trace(param_only=True) as capture:
            loss = self._run(self._loss_and_grads(), args, kwargs, contextlib.nullcontext)
        self.met_names = sorted(name for name in capture.trace.nodes if name != PARAMETER_MARK)
        return loss, self._log_probs, _met(capture.trace), list(backward.leaves)

    def value(self, args: tuple, kwargs: dict) -> tuple[Any, dict[str, Tensor]]:
        """Pyro's own loss, without gradients."""
        with TURN, torch.no_grad():
            loss = self._run(self._plain_loss(), args, kwargs, contextlib.nullcontext)
        return loss, self._log_probs

    # ---- as a graph

    def traced(self, args: tuple, kwargs: dict, values: TracedValues) -> Terms:
        """One pass in which nothing reads a value: every result is a tensor, and no gradient is taken yet."""
        mode = _LossCode(values.valid)
        with TURN, mode, poutine.trace(param_only=True) as capture:
            loss = self._run(self._loss_and_grads(), args, kwargs, mode.user_program)
        surrogate: Any = sum(mode.surrogates) if mode.surrogates else None
        loss = torch.as_tensor(loss).detach()
        values.met, values.sites = _met(capture.trace), list(self._log_probs)
        values.weighted = list(self.weighted)
        return Terms(loss, surrogate, self._log_probs, self.weighted, values.all_valid())

    def traced_value(self, args: tuple, kwargs: dict, values: TracedValues) -> Terms:
        """Pyro's own loss as a tensor, without gradients."""
        mode = _LossCode(values.valid)
        with TURN, torch.no_grad(), mode:
            loss = self._run(self._plain_loss(), args, kwargs, mode.user_program)
        return Terms(torch.as_tensor(loss).detach(), None, self._log_probs, {}, values.all_valid())

    def first_not_finite(self, args: tuple, kwargs: dict) -> str | None:
        """Where, in the order of execution, values stop being finite; None if they do not."""
        found: list[str] = []

        def inspect(role: str, trace: Any) -> None:
            for name, site in trace.nodes.items():
                if site["type"] != "sample" or site["infer"].get("_deterministic"):
                    continue
                checks = {**_tensors_of(site["fn"]), "value": site["value"]}
                checks["log-probability"] = site.get("unscaled_log_prob")
                bad = [k for k, v in checks.items() if isinstance(v, Tensor) and not torch.isfinite(v).all()]
                if bad:
                    found.append(f"{' and '.join(bad)} of site {name!r} in the {role}")

        def look(model_trace: Any, guide_trace: Any) -> None:
            inspect("guide", guide_trace)
            inspect("model", model_trace)

        with TURN, torch.no_grad(), pyro.validation_enabled(False), untouched():
            self._run(self._plain_loss(), args, kwargs, contextlib.nullcontext, look)
        return found[0] if found else None

    # ---- the run itself

    def _loss_and_grads(self) -> Program:
        if not isinstance(self.loss, ELBO):
            return _gradients_of(self.loss)
        return plain_loss(self.loss).loss_and_grads

    def _plain_loss(self) -> Program:
        return plain_loss(self.loss).loss if isinstance(self.loss, ELBO) else self.loss

    def _run(
        self,
        method: Callable,
        args: tuple,
        kwargs: dict,
        around: Callable,
        look: Callable[[Any, Any], None] | None = None,
    ) -> Any:
        self._log_probs, self.weighted = {}, {}
        precision = BFloat16Products() if self._precision == "bfloat16" else contextlib.nullcontext()
        whole = contextlib.nullcontext((args, None)) if self.parallel is None else self.parallel.at_work(args)
        with precision, self._traces_seen(getattr(method, "__self__", None), look or self._record), whole as given:
            args, sharded = given
            if self.prepare is not None:
                with around():
                    prepare = self.prepare if sharded is None else sharded.prepare(self.prepare)
                    args = _as_tuple(prepare(*args, **kwargs))
                kwargs = {}
            programs = self.model, self.guide
            if sharded is not None:
                programs = sharded.program(self.model), sharded.program(self.guide)
            model, guide = (self._wrap(*both, around) for both in zip(("model", "guide"), programs, strict=True))
            return method(model, guide, *args, **kwargs)

    def _wrap(self, role: str, program: Program, around: Callable) -> Program:
        if isinstance(poutine.unwrap(program), Messenger):  # Pyro's GuideMessenger must be seen as itself
            return program

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._mark:
                mark_parameters()
            if around is contextlib.nullcontext:
                return program(*args, **kwargs)
            tracker = _SiteTracker()
            try:
                with around(), tracker:
                    return program(*args, **kwargs)
            except ValueReadError as error:
                error.where = f"the {role}"
                error.place = ", before its first site" if tracker.last is None else f", after site {tracker.last!r}"
                raise

        return wrapped

    @contextlib.contextmanager
    def _traces_seen(self, loss: Any, look: Callable[[Any, Any], None]) -> Iterator[None]:
        """Show every pair of traces that the loss makes to `look`."""
        if not isinstance(loss, ELBO):
            yield
            return
        inner = loss._get_trace
        own = vars(loss).get("_get_trace")  # a method that the caller has replaced on this one object

        def get_trace(*given: Any) -> tuple[Any, Any]:
            traces = inner(*given)
            look(*traces)
            return traces

        vars(loss)["_get_trace"] = get_trace
        try:
            yield
        finally:
            del vars(loss)["_get_trace"]
            if own is not None:
                vars(loss)["_get_trace"] = own

    def _record(self, model_trace: Any, guide_trace: Any) -> None:
        if self.parallel is not None:
            self.parallel.check_traces(model_trace, guide_trace)
        for role, trace in (("model", model_trace), ("guide", guide_trace)):
            for name, site in trace.nodes.items():
                if site["type"] == "sample" and "unscaled_log_prob" in site:
                    log_prob = site["unscaled_log_prob"].detach()
                    if self.parallel is not None and self.parallel.outside(site):
                        log_prob = log_prob / self.parallel.size
                    self._add(f"{role}.{name}", log_prob, site["mask"])
                    if "log_prob" in site:
                        self.weighted[f"{role}.{name}"] = site["log_prob"].detach().sum()

    def _add(self, name: str, log_prob: Tensor, mask: Tensor | bool | None) -> None:
        if isinstance(mask, Tensor):
            log_prob = torch.where(mask, log_prob, 0.0)
        elif mask is False:
            log_prob = torch.zeros_like(log_prob)
        mean = log_prob.sum() / self.loss.num_particles
        self._log_probs[name] = self._log_probs[name] + mean if name in self._log_probs else mean


def plain_loss(loss: ELBO) -> ELBO:
    """A loss without Pyro's own just-in-time compilation, which the engines do better; its options stay shared."""
    plain = _PLAIN.get(type(loss))
    if plain is None:
        return loss
    twin = plain.__new__(plain)
    twin.__dict__ = vars(loss)
    return twin


def _gradients_of(loss: Program) -> Program:
    """As `pyro.infer.SVI` takes the gradients of a loss that is a function."""

    def loss_and_grads(*args: Any, **kwargs: Any) -> Any:
        value = loss(*args, **kwargs)
        if getattr(value, "requires_grad", False):
            value.backward(retain_graph=True)
        return value

    return loss_and_grads


def _met(trace: Any) -> list[Tensor]:
    """The unconstrained parameters of a trace of parameter sites."""
    sites = [site for name, site in trace.nodes.items() if name != PARAMETER_MARK]
    return list(dict.fromkeys(site["value"].unconstrained() for site in sites))


def _as_tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _tensors_of(distribution: Any) -> dict[str, Tensor]:
    """The parameters of a distribution by name, through `Independent` and its like."""
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    names = getattr(distribution, "arg_constraints", {})
    return {name: vars(distribution)[name] for name in names if name in vars(distribution)}


def _leaves(start: Any) -> list[Tensor]:
    """The tensors whose `.grad` a backward pass from this node would fill."""
    found: list[Tensor] = []
    seen, pending = {start}, [start]
    while pending:
        node = pending.pop()
        if hasattr(node, "variable"):
            found.append(node.variable)
        new = [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(new)
        pending += new
    return found
