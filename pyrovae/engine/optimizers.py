"""What moves the parameters: a torch optimizer or Pyro's own, step by step or inside a graph."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro.optim import PyroOptim
from pyro.optim.lr_scheduler import PyroLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from pyrovae.engine.compat import compiling, gradient_hooks, realize, step_hooks
from pyrovae.engine.values import ValueReadError

OptimizerFactory = Callable[[list[Tensor]], Optimizer]

_DIVISIONS = (Tensor.__truediv__, Tensor.div, torch.div, torch.true_divide)
_WITH_FACTOR: dict[Any, Callable[..., Tensor]] = {
    Tensor.add_: lambda other: other,
    Tensor.addcdiv_: torch.div,
    Tensor.addcmul_: torch.mul,
}
_OUTSIDE = ("params", "lr")


class UncapturableError(RuntimeError):
    """An optimizer whose step cannot be part of a graph."""


class Updater(ABC):
    """Moves parameters as `pyro.infer.SVI` does.

    A parameter that a step has met and that once had a gradient is moved even where it has none now, by a gradient of
    zero: the momentum of Adam goes on. Parameters of plain modules, which Pyro does not know by name, count as met.

    Attributes:
        parameters: What is trained, as far as it is known.
        version: A number that changes when other parameters are moved than before.
    """

    def __init__(self) -> None:
        self.parameters: list[Tensor] = []
        self.version = 0
        self._had_gradient: set[Tensor] = set()

    @property
    @abstractmethod
    def optimizers(self) -> list[Optimizer]:
        """The torch optimizers at work."""

    @abstractmethod
    def adopt(self, met: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
        """Take up parameters that a backward pass by Pyro has shown.

        Args:
            met: Parameters of Pyro's parameter sites.
            leaves: Tensors that the backward pass gave gradients to, in the order of their use.
        """

    @abstractmethod
    def moved(self, met: Sequence[Tensor]) -> list[Tensor]:
        """Parameters that a step which met these may move."""

    @abstractmethod
    def _apply(self, met: Sequence[Tensor]) -> None:
        """Let the optimizers step."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters[0].device if self.parameters else torch.device("cpu")

    def without_gradient(self, met: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
        """Parameters that a step moves by a gradient of zero, if only `given` have one."""
        present = set(given)
        return [p for p in self.moved(met) if p in self._had_gradient and p not in present]

    def note_gradients(self, met: Sequence[Tensor]) -> list[Tensor]:
        """Remember which parameters have a gradient now, and return them."""
        given = [p for p in self.moved(met) if p.grad is not None]
        if not self._had_gradient.issuperset(given):
            self._had_gradient.update(given)
            self.version += 1
        return given

    def step(self, met: Sequence[Tensor]) -> None:
        """Update from `.grad`, and clear it."""
        for parameter in self.without_gradient(met, self.note_gradients(met)):
            parameter.grad = torch.zeros_like(parameter)
        self._apply(met)
        self.clear(met)

    def clear(self, met: Iterable[Tensor] = ()) -> None:
        """Forget all gradients, those of parameters that were met too."""
        for parameter in (*self.parameters, *met):
            parameter.grad = None

    def known(self) -> bool:
        """Whether the optimizers have the parameters that they had at the last step by Pyro."""
        return True

    def clips(self) -> bool:
        """Whether gradients are clipped before a step."""
        return False

    def way_to_step(self) -> object:
        """The code that lets the optimizers step, if it is not their own."""
        return None

    def gradients_of_the_caller(self) -> bool:
        """Whether somebody has left a gradient, to which Pyro adds its own."""
        return any(parameter.grad is not None for parameter in self.parameters)

    def keep_state_on_device(self) -> None:
        """Have step counts on a GPU, where a graph can advance them, or bring them back."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if "capturable" in group and not group.get("fused"):
                    group["capturable"] = self.device.type == "cuda"
            for state in optimizer.state.values():
                state.update({k: v.to(self.device) for k, v in state.items() if isinstance(v, Tensor)})

    def trouble(self) -> str | None:
        """What about the parameters hinders every graph, or None."""
        devices = sorted({str(p.device) for p in self.parameters})
        if len(devices) > 1:
            return f"parameters live on {len(devices)} devices ({', '.join(devices)}), and a graph has one"
        if not all(p.is_leaf for p in self.parameters):
            return "some parameters are not leaves, so an update in place would not reach what they were made from"
        if any(gradient_hooks(p) for p in self.parameters):
            return "a parameter has a hook after the accumulation of its gradient, which only Pyro's step runs"
        if any(g.get("differentiable") for o in self.optimizers for g in o.param_groups):
            return "the optimizer is differentiable"
        return None

    def why_not_capturable(self) -> str | None:
        """The reason for which the update must run outside the graph, or None."""
        for optimizer in self.optimizers:
            name = type(optimizer).__name__
            if step_hooks(optimizer):
                return f"{name} has step hooks, which a graph would run only once"
            if not type(optimizer).__module__.startswith("torch.optim"):
                return f"{name} is not one of torch.optim, so its step may read values"
            if any("lr" not in group for group in optimizer.param_groups):
                return f"{name} has no learning rate"
        return None

    def has_state(self, parameters: Sequence[Tensor]) -> bool:
        """Whether the optimizers have made their state for these parameters, which no graph can make."""
        states = {p: s for o in self.optimizers for p, s in o.state.items()}
        stateless = {p for o in self.optimizers if _is_stateless(o) for g in o.param_groups for p in g["params"]}
        return all(states.get(p) or p in stateless for p in parameters)


def _is_stateless(optimizer: Optimizer) -> bool:
    return isinstance(optimizer, torch.optim.SGD) and not any(group["momentum"] for group in optimizer.param_groups)


class TorchUpdater(Updater):
    """Moves parameters by one torch optimizer.

    Args:
        optim: The optimizer, or a function that makes it from the list of parameters, once they are known; parameters
            that turn up later become a group of their own.
    """

    def __init__(self, optim: Optimizer | OptimizerFactory) -> None:
        super().__init__()
        self._make = None if isinstance(optim, Optimizer) else optim
        self.optimizer = optim if isinstance(optim, Optimizer) else None
        self._sites: set[Tensor] = set()
        self._refresh()

    @property
    def optimizers(self) -> list[Optimizer]:
        """The one optimizer, if it exists yet."""
        return [] if self.optimizer is None else [self.optimizer]

    def _refresh(self) -> None:
        self.parameters = [p for o in self.optimizers for group in o.param_groups for p in group["params"]]
        # What a loaded state was made for has had a gradient.
        self._had_gradient.update(p for o in self.optimizers for p in self.parameters if o.state.get(p))

    def adopt(self, met: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
        """Make the optimizer, or give it what is new."""
        self._sites.update(met)
        if self._make is not None:
            known = set(self.parameters)
            new = [leaf for leaf in leaves if leaf not in known]
            if new and self.optimizer is None:
                self.optimizer = self._make(new)
            elif new and self.optimizer is not None:
                self.optimizer.add_param_group({"params": new})
        if not self.known():
            self.version += 1
            self._refresh()

    def known(self) -> bool:
        """Whether the optimizer has the parameters that it had at the last step by Pyro."""
        now = [p for o in self.optimizers for group in o.param_groups for p in group["params"]]
        return list(map(id, now)) == list(map(id, self.parameters))

    def moved(self, met: Sequence[Tensor]) -> list[Tensor]:
        """All parameters but those of parameter sites that this step has not met."""
        unmet = self._sites.difference(met)
        return [p for p in self.parameters if p not in unmet]

    def _apply(self, met: Sequence[Tensor]) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


class PyroUpdater(Updater):
    """Moves parameters by Pyro's own optimizers, one for each parameter that a step meets.

    Args:
        optim: As `pyro.infer.SVI` takes it.
    """

    def __init__(self, optim: PyroOptim) -> None:
        super().__init__()
        self.optim = optim
        self.parameters = list(optim.optim_objs)
        self._left: dict[Tensor, tuple[Tensor, int]] = {}  # the gradient of zero that a step left, and its version

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers of all parameters met so far, without their schedulers."""
        return [getattr(o, "optimizer", o) for o in self.optim.optim_objs.values()]

    def adopt(self, met: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
        """Note the parameters that are new; Pyro makes their optimizers when they step."""
        known = set(self.parameters)
        new = [parameter for parameter in met if parameter not in known]
        if new:
            self.parameters += new
            self.version += 1

    def clear(self, met: Iterable[Tensor] = ()) -> None:
        """Leave gradients of zero, as Pyro does."""
        for parameter in dict.fromkeys((*self.parameters, *met)):
            if parameter.grad is not None:
                zero = torch.zeros_like(parameter.grad)
                parameter.grad, self._left[parameter] = zero, (zero, zero._version)

    def gradients_of_the_caller(self) -> bool:
        """Whether somebody has left a gradient, to which Pyro adds its own."""
        for parameter in self.parameters:
            gradient = parameter.grad
            if gradient is not None:
                left = self._left.get(parameter)
                if left is None or left[0] is not gradient or left[1] != gradient._version:
                    return True
        return False

    def moved(self, met: Sequence[Tensor]) -> list[Tensor]:
        """The parameters that a step has met."""
        return list(met)

    def _apply(self, met: Sequence[Tensor]) -> None:
        self.optim(list(met))

    def clips(self) -> bool:
        """Whether gradients are clipped before a step."""
        return any(clip is not None for clip in self.optim.grad_clip.values())

    def why_not_capturable(self) -> str | None:
        """The reason for which the update must run outside the graph, or None."""
        if self.clips():
            return "gradients are clipped"
        if self.way_to_step() not in (PyroOptim.__call__, PyroLRScheduler.__call__):
            return f"{type(self.optim).__name__} has a way to step of its own"
        return super().why_not_capturable()

    def way_to_step(self) -> object:
        """The code that lets Pyro's optimizers step."""
        return type(self.optim).__call__


def updater_for(optim: Any) -> Updater:
    """The updater of what a caller gave as `optim`."""
    return PyroUpdater(optim) if isinstance(optim, PyroOptim) else TorchUpdater(optim)


class LearningRates:
    """The learning rate of each parameter group as a tensor that graphs read.

    Args:
        updater: Its rates may be changed at any time, by schedulers, by hand or by `load_state_dict`.
    """

    def __init__(self, updater: Updater) -> None:
        self._optimizers = updater.optimizers
        groups = sum(len(optimizer.param_groups) for optimizer in self._optimizers)
        self._seen: list[Any] = [None] * groups
        self.tensors = [torch.zeros((), device=updater.device) for _ in range(groups)]
        self.refresh()

    def serve(self, updater: Updater) -> bool:
        """Whether these are the rates of the optimizers now at work, on their device."""
        groups = sum(len(optimizer.param_groups) for optimizer in updater.optimizers)
        return (
            list(map(id, self._optimizers)) == list(map(id, updater.optimizers))
            and groups == len(self.tensors)
            and all(tensor.device == updater.device for tensor in self.tensors)
        )

    def refresh(self) -> None:
        """Bring the tensors up to date with the groups; costs nothing when no rate has changed."""
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        for index, group in enumerate(groups[: len(self.tensors)]):
            rate = group.get("lr", 0.0)
            if isinstance(rate, Tensor):
                self.tensors[index].copy_(rate)
            elif rate != self._seen[index]:
                self._seen[index] = rate
                self.tensors[index].fill_(rate)


class StateWatch:
    """Notice what a captured `step()` took for granted: options, parameters, hooks, and the identity of state tensors.

    Args:
        updater: Its optimizers' state exists.
    """

    def __init__(self, updater: Updater) -> None:
        self._updater = updater
        self._optimizers = updater.optimizers
        self._options = self._options_now()
        self._states = [optimizer.state for optimizer in self._optimizers]
        self._counts = list(map(len, self._states))
        self._hooks = [updater.way_to_step(), *map(_how_it_steps, self._optimizers)]
        self._reason = updater.why_not_capturable()
        pairs = [(s, k, v) for states in self._states for s in states.values() for k, v in s.items()]
        self._tensors = [(state, key, value) for state, key, value in pairs if isinstance(value, Tensor)]

    def _options_now(self) -> list[Any]:
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        return [([v for k, v in g.items() if k not in _OUTSIDE], list(map(id, g["params"]))) for g in groups]

    def changed(self) -> bool:
        """Whether options or state are no longer those that were captured."""
        return (
            list(map(id, self._updater.optimizers)) != list(map(id, self._optimizers))
            or any(o.state is not s for o, s in zip(self._optimizers, self._states, strict=True))
            or list(map(len, self._states)) != self._counts
            or [self._updater.way_to_step(), *map(_how_it_steps, self._optimizers)] != self._hooks
            or (bool(self._updater.clips()) and self._reason is None)
            or any(state.get(key) is not value for state, key, value in self._tensors)
            or self._options_now() != self._options
        )


def _how_it_steps(optimizer: Optimizer) -> tuple[Any, ...]:
    """Hooks of an optimizer's step, and its own and its class's code."""
    return step_hooks(optimizer), vars(optimizer).get("step"), type(optimizer).step


def realized(tensor: Tensor) -> Tensor:
    """The same tensor, which Inductor will not inline into its users."""
    return realize()(tensor)


class _TensorScalars(TorchFunctionMode):
    """Let an optimizer that is written for numbers compute with 0-d tensors.

    Factors given as `alpha=` or `value=`, which must be numbers, become products. With `realize`, Inductor computes a
    0-d operand of a large operation once, not once for every vector of elements: otherwise the bias corrections of Adam
    (two powers of the step count) are inlined into the loop over the weights, where the C++ compiler cannot hoist them
    for fear of aliasing, and cost more than the matrix products. Division by such an operand becomes a product too,
    because vector division is several times slower.

    Args:
        realize: Whether to do so; of use on the CPU.
    """

    def __init__(self, realize: bool) -> None:
        super().__init__()
        self._realize = realize

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        options = dict(kwargs or {})
        factor = next((options.pop(k) for k in ("alpha", "value") if isinstance(options.get(k), Tensor)), None)
        if factor is not None and func in _WITH_FACTOR:
            func, args = Tensor.add_, (args[0], _WITH_FACTOR[func](*args[1:]) * factor)
        elif func in _DIVISIONS and _mixed(args[:2]) and isinstance(args[1], Tensor) and not args[1].dim():
            func, args = Tensor.mul, (args[0], args[1].reciprocal())
        if self._realize and _mixed(args):
            args = tuple(realized(a) if isinstance(a, Tensor) and not a.dim() else a for a in args)
        return func(*args, **options)


def _mixed(args: tuple) -> bool:
    """Whether large tensors meet 0-d ones."""
    large = [bool(a.dim()) for a in args if isinstance(a, Tensor)]
    return any(large) and not all(large)


def capturable_step(updater: Updater, rates: list[Tensor], gradients: Mapping[Tensor, Tensor]) -> None:
    """Let the optimizers step so that a tracer sees nothing but tensor operations.

    Args:
        updater: Its optimizers' state exists.
        rates: The learning rate of each group, 0-d.
        gradients: The gradient of each parameter that is moved.

    Raises:
        UncapturableError: If the step needs values on the host.
    """
    device = updater.device
    everything = [p for optimizer in updater.optimizers for group in optimizer.param_groups for p in group["params"]]
    before = [parameter.grad for parameter in everything]
    with _tensor_options(updater.optimizers, rates, foreach=device.type != "cpu"), torch.no_grad():
        for parameter in everything:
            parameter.grad = gradients.get(parameter)
        # Optimizers ask for compilation before they refuse `capturable` on the CPU.
        with compiling(), _TensorScalars(realize=device.type == "cpu"):
            try:
                for optimizer in updater.optimizers:
                    optimizer.step()
            except (RuntimeError, TypeError, ValueReadError) as error:
                names = ", ".join(sorted({type(optimizer).__name__ for optimizer in updater.optimizers}))
                raise UncapturableError(f"{names}.step() reads values") from error
            finally:
                for parameter, gradient in zip(everything, before, strict=True):
                    parameter.grad = gradient


@contextlib.contextmanager
def _tensor_options(optimizers: Sequence[Optimizer], rates: list[Tensor], *, foreach: bool) -> Iterator[None]:
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    saved = [dict(group) for group in groups]
    try:
        for group, rate in zip(groups, rates, strict=True):
            wanted = {"lr": rate, "capturable": True, "foreach": foreach, "fused": None}
            group.update({key: value for key, value in wanted.items() if key in group})
        yield
    finally:
        for group, before in zip(groups, saved, strict=True):
            group.update(before)
