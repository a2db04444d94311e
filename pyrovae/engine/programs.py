"""Run Pyro's own loss code so that the same lines give a float, a gradient, or a graph."""

from __future__ import annotations

import contextlib
import copy
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import pyro
import torch
import torch.distributions.distribution
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message, apply_stack
from pyro.util import warn_if_inf, warn_if_nan
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.engine.capture import untouched

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
_NAN_WARNINGS = (warn_if_nan.__code__, warn_if_inf.__code__)
_VALIDATION_OFF = threading.RLock()  # Pyro's validation is switched for the whole process, so one trace at a time
_VALIDATION_FILE = torch.distributions.distribution.__file__


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
    """

    loss: Tensor
    surrogate: Tensor | None
    log_probs: dict[str, Tensor]


class BFloat16Products(TorchFunctionMode):
    """Compute the products of linear and convolutional layers in bfloat16; leave the rest, log-probabilities too."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        kwargs = kwargs or {}
        if func not in _NETWORK_PRODUCTS:
            return func(*args, **kwargs)

        def low(value: Any) -> Any:
            return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value

        return func(*map(low, args), **{k: low(v) for k, v in kwargs.items()}).float()


class Unvalidated(TorchFunctionMode):
    """Let distributions be used on tensors that have no value yet: their validation, which asks for values, passes.

    Whoever traces under this mode makes a first call on real values, and that one validates.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        if func is torch._is_all_true or (func is Tensor.__bool__ and _asking_code().co_filename == _VALIDATION_FILE):
            return True
        return func(*args, **(kwargs or {}))


class _LossCode(TorchFunctionMode):
    """Let Pyro's `loss_and_grads` run on tensors that have no value yet, under `Unvalidated`.

    Outside model and guide, `item()` detaches, `backward()` puts the surrogate aside, and warnings about NaN pass. In
    model and guide the methods keep their meaning, so that control flow that depends on data is found, not hidden.
    """

    def __init__(self) -> None:
        super().__init__()
        self.surrogates: list[Tensor] = []
        self.program_depth = 0

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        if func is Tensor.__bool__ and _asking_code() in _NAN_WARNINGS:
            return False
        if not self.program_depth:
            if func is Tensor.item:
                return args[0].detach()
            if func is Tensor.backward:
                self.surrogates.append(args[0])
                return None
        return func(*args, **(kwargs or {}))

    @contextlib.contextmanager
    def user_program(self) -> Iterator[None]:
        """Mark that model or guide is running."""
        self.program_depth += 1
        try:
            yield
        finally:
            self.program_depth -= 1


def _asking_code() -> CodeType:
    """The code that called a tensor's method, behind the modes that passed the call on."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name == "__torch_function__":
        frame = frame.f_back
    return frame.f_code if frame is not None else sys._getframe(0).f_code


class _SiteTracker(Messenger):
    """Remembers the sample sites that a program has reached, for error messages and for the check of structure."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[str] = []

    def _pyro_sample(self, msg: Message) -> None:
        self.sites.append(str(msg["name"]))


class Objective:
    """Model, guide and loss as one function of the arguments.

    Args:
        model: Pyro program.
        guide: Pyro program.
        loss: Any Pyro ELBO that trains through `loss_and_grads`.
        prepare: Turns the caller's arguments into those of model and guide.
        precision: "float32", "tf32" or "bfloat16".
    """

    def __init__(self, model: Program, guide: Program, loss: ELBO, prepare: Program | None, precision: str) -> None:
        self.model, self.guide, self.prepare = model, guide, prepare
        # A copy, because the hook below must not reach other users of the caller's loss object.
        self._loss = copy.copy(loss)
        self._inner_get_trace = self._loss._get_trace
        self._loss._get_trace = self._get_trace
        self._precision = precision
        self._log_probs: dict[str, Tensor] = {}
        self.sites: list[str] = []

    def traced(self, args: tuple, kwargs: dict) -> Terms:
        """One pass in which nothing reads a value: every result is a tensor, and no gradient is taken yet."""
        mode = _LossCode()
        with _VALIDATION_OFF, Unvalidated(), pyro.validation_enabled(False), mode:
            loss = self._run(self._loss.loss_and_grads, args, kwargs, mode.user_program)
        surrogate = sum(mode.surrogates) if mode.surrogates else None
        loss = torch.as_tensor(loss).detach()
        return Terms(loss, surrogate, self._log_probs)  # type: ignore[arg-type]

    def backward(self, args: tuple, kwargs: dict) -> tuple[float, dict[str, Tensor]]:
        """Pyro's own step up to the gradients, which it leaves in `.grad`: the reference."""
        loss = self._run(self._loss.loss_and_grads, args, kwargs, contextlib.nullcontext)
        return float(loss), self._log_probs

    def value(self, args: tuple, kwargs: dict) -> tuple[float, dict[str, Tensor]]:
        """Pyro's own loss, without gradients."""
        with torch.no_grad():
            loss = self._run(self._loss.loss, args, kwargs, contextlib.nullcontext)
        return float(loss), self._log_probs

    def traced_value(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Pyro's own loss as a tensor, without gradients."""
        mode = _LossCode()
        with _VALIDATION_OFF, Unvalidated(), pyro.validation_enabled(False), torch.no_grad(), mode:
            loss = self._run(self._loss.loss, args, kwargs, mode.user_program)
        return torch.as_tensor(loss).detach(), self._log_probs

    def settle(self, args: tuple, kwargs: dict) -> None:
        """Let the loss find out how deep plates are nested, which Pyro does by drawing numbers in its first step."""
        if self._loss.vectorize_particles and math.isinf(self._loss.max_plate_nesting):
            with untouched():
                self.value(args, kwargs)

    def trainable(self, args: tuple, kwargs: dict) -> list[Tensor]:
        """The leaves that the loss depends on, in the order of their use, from one run that leaves no mark."""
        with untouched():
            surrogate = self.traced(args, kwargs).surrogate
        if surrogate is None or surrogate.grad_fn is None:
            raise ValueError("the loss depends on no parameter that requires a gradient")
        return _leaves(surrogate.grad_fn)

    def seconds_per_step(self, args: tuple, kwargs: dict) -> float:
        """Roughly what one step by Pyro takes; leaves no mark."""
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            self.trainable(args, kwargs)
            best = min(best, time.perf_counter() - start)
        # Leaving no mark costs about what the gradient and the update, which are left out, would.
        return best

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

        def looking(*given: Any) -> tuple[Any, Any]:
            traces = self._inner_get_trace(*given)
            for role, trace in zip(("guide", "model"), reversed(traces), strict=True):
                inspect(role, trace)
            return traces

        self._loss._get_trace = looking
        try:
            with pyro.validation_enabled(False), untouched():
                self.value(args, kwargs)
        finally:
            self._loss._get_trace = self._get_trace
        return found[0] if found else None

    def _run(self, method: Callable, args: tuple, kwargs: dict, around: Callable) -> Any:
        self._log_probs, self.sites = {}, []
        precision = BFloat16Products() if self._precision == "bfloat16" else contextlib.nullcontext()
        with precision:
            if self.prepare is not None:
                with around():
                    args = _as_tuple(self.prepare(*args, **kwargs))
                kwargs = {}
            model = self._wrap("model", self.model, around)
            guide = self._wrap("guide", self.guide, around)
            return method(model, guide, *args, **kwargs)

    def _wrap(self, role: str, program: Program, around: Callable) -> Program:
        if isinstance(poutine.unwrap(program), Messenger):  # Pyro's GuideMessenger must be seen as itself
            return program

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            tracker = _SiteTracker()
            # Pyro takes no gradient unless a trace holds a parameter site; parameters of plain modules make none.
            apply_stack(_parameter_mark())
            try:
                with around(), tracker:
                    return program(*args, **kwargs)
            except RuntimeError as error:
                if "data-dependent control flow" not in str(error):
                    raise
                place = f"after site {tracker.sites[-1]!r}" if tracker.sites else "before its first site"
                reads = "reads a tensor's value in Python (.item(), float(), bool(), if, or a shape made from data)"
                raise UntraceableError(f"the {role} {reads}, {place}") from error
            finally:
                self.sites += [f"{role}.{name}" for name in tracker.sites]

        return wrapped

    def _get_trace(self, model: Program, guide: Program, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        traces = self._inner_get_trace(model, guide, args, kwargs)
        for role, trace in zip(("model", "guide"), traces, strict=True):
            for name, site in trace.nodes.items():
                if site["type"] == "sample" and "unscaled_log_prob" in site:
                    self._record(f"{role}.{name}", site["unscaled_log_prob"].detach(), site["mask"])
        return traces

    def _record(self, name: str, log_prob: Tensor, mask: Tensor | bool | None) -> None:
        if isinstance(mask, Tensor):
            log_prob = torch.where(mask, log_prob, 0.0)
        elif mask is False:
            log_prob = torch.zeros_like(log_prob)
        mean = log_prob.sum() / self._loss.num_particles
        self._log_probs[name] = self._log_probs[name] + mean if name in self._log_probs else mean


def _parameter_mark() -> Message:
    return Message(
        type="param",
        name="_pyrovae_parameters",
        fn=None,
        is_observed=False,
        args=(),
        kwargs={},
        value=torch.empty(0),
        infer={},
        scale=1.0,
        mask=None,
        cond_indep_stack=(),
        done=True,
        stop=False,
        continuation=None,
    )


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
