"""`SVI`: the interface of `pyro.infer.SVI`, run by Pyro, by a traced graph, or by a compiled one."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor

from pyrovae.engine.capture import untouched
from pyrovae.engine.compilation import CompilerError, missing_compiler, tf32
from pyrovae.engine.functions import GraphFunction, TooManyGraphsError
from pyrovae.engine.optimizers import (
    LearningRates,
    StateWatch,
    UncapturableError,
    capturable_step,
    realized,
    why_not_capturable,
)
from pyrovae.engine.programs import Objective, UntraceableError
from pyrovae.engine.watching import named_parameters
from pyrovae.runtime import restore_rng_state, rng_state

logger = logging.getLogger(__name__)

ENGINES = ("auto", "compiled", "graph", "pyro")
PRECISIONS = ("float32", "tf32", "bfloat16")
OptimizerFactory = Callable[[list[Tensor]], torch.optim.Optimizer]

# What `auto` reckons with: seconds to make the graphs (two, since the last batch is a short one; compiled with cold
# caches, 4 s with warm ones), and the share of Pyro's time that they save (measured on two CPU cores; on a GPU more).
_COST = {"compiled": 25.0, "graph": 1.0}
_SAVING = {"compiled": 0.65, "graph": 0.3}


@dataclass(frozen=True)
class Step:
    """What one update or evaluation computed, still on the device.

    Attributes:
        loss: The negative bound (before the update), shape (); (steps,) from `SVI.run`.
        log_probs: Unscaled log-probability by site ("model.x", "model.z", "guide.z"), shaped like `loss`: summed over
            the batch, averaged over particles.
    """

    loss: Tensor
    log_probs: dict[str, Tensor] = field(default_factory=dict)


class SVI:
    """Stochastic variational inference for any Pyro model and guide with static structure.

    The programs themselves are traced, with Pyro's own loss code, into one graph that holds the caller's `prepare`,
    guide, model, gradients and the optimizer's update. Parameters and the optimizer's state stay where they are and
    change in place, so `module.state_dict()`, `optimizer.state_dict()` and `torch.get_rng_state()` are always the whole
    truth. The first step of a fresh optimizer runs its own `step()`, which makes its state.

    A loss that is not finite stops all further updates: parameters stay as they were before it, `update` returns NaN
    from then on, and `step` raises. `diagnose` names the cause and allows updates again.

    Args:
        model: Pyro program; receives the arguments of `step`, after `prepare`.
        guide: Pyro program with the same arguments.
        optim: A torch optimizer over the parameters, or a function from the list of parameters to one, for parameters
            that exist only once the programs have run (Pyro's parameter store, lazy modules).
        loss: A Pyro ELBO: `Trace_ELBO` (the default), `TraceMeanField_ELBO`, `RenyiELBO`.
        engine: "pyro" runs Pyro's own loss and gradients; "graph" a traced graph, without a compiler; "compiled" one
            compiled graph; "auto" the fastest that works here and pays for itself.
        prepare: Turns the arguments of `step` into those of model and guide, inside the graph: look up a batch,
            convert, binarise. Tensor arguments are inputs of the graph; others are constants.
        precision: "float32"; "bfloat16" for the products of linear and convolutional layers, everything else and
            log-probabilities in float32; "tf32" lets the GPU use TF32 for float32 products.
        steps: How many steps the run will take, if known, for "auto".

    Raises:
        ValueError: If an option is none of those named, or the parameters cannot be trained.

    Example:
        >>> svi = SVI(vae.model, vae.guide, torch.optim.Adam(vae.parameters()), prepare=lambda index: images[index])
        >>> for index in torch.randperm(len(images)).split(128):
        ...     svi.step(index)

    References:
        Bingham et al. 2019, Pyro: Deep Universal Probabilistic Programming, JMLR 20.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        optim: torch.optim.Optimizer | OptimizerFactory,
        loss: ELBO | None = None,
        *,
        engine: str = "auto",
        prepare: Callable[..., Any] | None = None,
        precision: str = "float32",
        steps: int | None = None,
    ) -> None:
        for name, value, allowed in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if loss is not None and not isinstance(loss, ELBO):
            raise ValueError(f"loss must be a pyro.infer.ELBO, got {type(loss).__name__}")
        self._objective = Objective(model, guide, loss or Trace_ELBO(), prepare, precision)
        self._watched = (model, guide, prepare)
        self._tf32 = precision == "tf32"
        self._optim, self._steps = optim, steps
        self._asked = engine
        self.engine: str | None = None if engine == "auto" else engine
        self.description = f"engine {engine}" + (", not yet chosen" if engine == "auto" else ", as asked")
        self._ready = False
        self._warned = False

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The torch optimizer."""
        if not isinstance(self._optim, torch.optim.Optimizer):
            raise ValueError("the optimizer does not exist before the first step, because `optim` is a function")
        return self._optim

    # ---- what the caller does

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Take one gradient step.

        Returns:
            The loss before the step, in the units of the model's log-probabilities.

        Raises:
            FloatingPointError: If the loss is not finite; names the site.
            UntraceableError: If the engine was named, and the programs cannot be traced.
            CompilerError: If "compiled" was named, and compilation is impossible.
        """
        self._prepare_for(args, kwargs)
        before = rng_state(self._device)
        loss = float(self.update(*args, **kwargs).loss)
        if not math.isfinite(loss):
            restore_rng_state(before, self._device)
            raise FloatingPointError(self.diagnose(*args, **kwargs))
        return loss

    def update(self, *args: Any, **kwargs: Any) -> Step:
        """Take one gradient step; the compiled engine does not read any result on the host."""
        self._prepare_for(args, kwargs)
        return self._guarded(self._update_by, args, kwargs)

    def run(self, batches: Iterable[tuple]) -> Step:
        """One update for each tuple of arguments, with the least host work between them.

        Args:
            batches: The arguments of each step. Between the steps nothing but tensors and learning rates may change.

        Returns:
            Losses and log-probabilities, shape (steps,).
        """
        batches = list(batches)
        if not batches:
            raise ValueError("run needs at least one batch")
        self._prepare_for(batches[0], {})
        if self._in_one_graph():
            self._rates.refresh()
            # What hinders graphs shows before any step is taken, and single steps then say so and go on without.
            with contextlib.suppress(UntraceableError, UncapturableError, CompilerError, TooManyGraphsError):
                return Step(*self._whole.stacked(batches))
        done = [self.update(*batches[0])]
        with self._whole.unchanging(), self._gradients.unchanging():
            done += [self.update(*batch) for batch in batches[1:]]
        losses = torch.stack([step.loss for step in done])
        return Step(losses, {k: torch.stack([step.log_probs[k] for step in done]) for k in done[0].log_probs})

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> float:
        """The loss, without a gradient or a change to any parameter."""
        return float(self.evaluate(*args, **kwargs).loss)

    def evaluate(self, *args: Any, **kwargs: Any) -> Step:
        """Loss and log-probabilities, without a gradient or a change to any parameter, on the device."""
        self._prepare_for(args, kwargs)
        return self._guarded(self._evaluate_by, args, kwargs)

    def diagnose(self, *args: Any, **kwargs: Any) -> str:
        """Run the programs by Pyro on these arguments, say where values stop being finite, and allow updates again.

        Returns:
            One or two sentences.
        """
        self._prepare_for(args, kwargs)
        self._healthy.fill_(True)
        names = named_parameters(*self._watched)
        bad = [
            names.get(id(p), f"parameter {i}") for i, p in enumerate(self._parameters) if not torch.isfinite(p).all()
        ]
        place = self._objective.first_not_finite(args, kwargs)
        if bad:
            return f"the loss is not finite, because parameters are not: {', '.join(bad)}; the step before broke them"
        if place:
            return f"the loss is not finite: {place}; parameters are as they were before this step"
        return "the loss was not finite in an earlier step; parameters are as before it, and this batch is sound"

    # ---- choosing and preparing

    def _prepare_for(self, args: tuple, kwargs: dict) -> None:
        if self._ready:
            return
        self._objective.settle(args, kwargs)
        if not isinstance(self._optim, torch.optim.Optimizer):
            self._optim = self._optim(self._objective.trainable(args, kwargs))
        self._parameters = [p for group in self._optim.param_groups for p in group["params"]]
        self._device = self._parameters[0].device
        self._rates = LearningRates(self._optim, self._device)
        self._healthy = torch.ones((), dtype=torch.bool, device=self._device)
        self._keep_state_on_device()
        trouble = self._trouble_with_parameters()
        if self.engine is None:
            self.engine, reason = self._choose(trouble, args, kwargs)
            self.description = f"engine {self.engine}, chosen because {reason}"
            logger.info(self.description)
        elif trouble and self.engine != "pyro":
            raise ValueError(f"{trouble}; engine='pyro' may run it")
        self._build()
        self._ready = True

    def _build(self, uncapturable: str | None = None) -> None:
        """Make the functions that will be traced; nothing is traced yet."""
        common: dict[str, Any] = {"watched": self._watched, "rehearsal": self._rehearse, "tf32": self._tf32}
        engine = "compiled" if self.engine == "compiled" else "graph"
        # A step from empty state makes the state, which no graph can; plain gradient descent has none to make.
        self._stateless = isinstance(self.optimizer, torch.optim.SGD) and not any(
            group["momentum"] for group in self.optimizer.param_groups
        )
        self._outside = uncapturable or why_not_capturable(self.optimizer)
        if engine == "compiled" and self._outside:
            self.description += f"; the update runs outside the graph: {self._outside}"
        self._gradients = GraphFunction(self._loss_and_gradients, engine if self._outside else "graph", **common)
        self._whole = GraphFunction(
            self._whole_step, "compiled", stale=lambda: StateWatch(self.optimizer).changed, **common
        )
        self._evaluation = GraphFunction(self._objective.traced_value, engine, **common)

    def _trouble_with_parameters(self) -> str | None:
        devices = sorted({str(p.device) for p in self._parameters})
        if len(devices) > 1:
            return f"parameters live on {len(devices)} devices ({', '.join(devices)}), and a graph has one"
        if not all(p.is_leaf for p in self._parameters):
            return "some parameters are not leaves, so an update in place would not reach what they were made from"
        return None

    def _choose(self, trouble: str | None, args: tuple, kwargs: dict) -> tuple[str, str]:
        """The engine for `auto`, and why."""
        if trouble:
            return "pyro", trouble
        lacking = missing_compiler(self._device)
        candidates = ["graph"] if lacking else ["compiled", "graph"]
        note = f" ({lacking})" if lacking else ""
        if self._steps is None:
            return candidates[0], f"the number of steps is not known{note}"
        seconds = self._objective.seconds_per_step(args, kwargs)
        outlook = f"{self._steps:,} steps of about {seconds * 1e3:.1f} ms by Pyro"
        for candidate in candidates:
            if self._steps * seconds * _SAVING[candidate] > _COST[candidate]:
                return candidate, f"{outlook} outweigh the {_COST[candidate]:g} s that the graph costs{note}"
        return "pyro", f"{outlook} do not outweigh making a graph{note}"

    def _keep_state_on_device(self) -> None:
        """Have the optimizer keep its step counts on a GPU, where a graph can advance them, or bring them back."""
        for group in self.optimizer.param_groups:
            if "capturable" in group and not group.get("fused"):
                group["capturable"] = self._device.type == "cuda"
        for state in self.optimizer.state.values():
            state.update({k: v.to(self._device) for k, v in state.items() if isinstance(v, Tensor)})

    def _guarded(self, action: Callable[[str, tuple, dict], Step], args: tuple, kwargs: dict) -> Step:
        """Run, and when a graph is impossible and the engine was not named, go on with the next engine."""
        assert self.engine is not None
        try:
            return action(self.engine, args, kwargs)
        except TooManyGraphsError as error:
            if not self._warned:
                logger.warning("%s; Pyro runs what has no graph yet", error)
            self._warned = True
            return action("pyro", args, kwargs)
        except UncapturableError as error:
            self._build(str(error))
        except (UntraceableError, CompilerError) as error:
            if self._asked != "auto":
                raise
            self._fall_back("graph" if isinstance(error, CompilerError) else "pyro", str(error))
        return self._guarded(action, args, kwargs)

    def _fall_back(self, engine: str, reason: str) -> None:
        self.engine = engine
        self.description = f"engine {engine}, because {reason}"
        logger.warning(self.description)
        self._build()

    # ---- the engines

    def _update_by(self, engine: str, args: tuple, kwargs: dict) -> Step:
        if engine == "pyro":
            return self._pyro_update(args, kwargs)
        if not self._in_one_graph():
            loss, log_probs, gradients = self._gradients(*args, **kwargs)
            for index, gradient in gradients.items():
                self._parameters[index].grad = gradient
            return Step(self._apply(loss), log_probs)
        self._rates.refresh()
        loss, log_probs = self._whole(*args, **kwargs)
        return Step(loss, log_probs)

    def _in_one_graph(self) -> bool:
        """Whether the next step is gradients and update in one graph."""
        return self.engine == "compiled" and not self._outside and bool(self.optimizer.state or self._stateless)

    def _evaluate_by(self, engine: str, args: tuple, kwargs: dict) -> Step:
        if engine == "pyro":
            with tf32(self._tf32):
                loss, log_probs = self._objective.value(args, kwargs)
            return Step(torch.tensor(loss, device=self._device), log_probs)
        return Step(*self._evaluation(*args, **kwargs))

    def _pyro_update(self, args: tuple, kwargs: dict) -> Step:
        self.optimizer.zero_grad(set_to_none=True)
        with tf32(self._tf32):
            loss, log_probs = self._objective.backward(args, kwargs)
        return Step(self._apply(torch.tensor(loss)).to(self._device), log_probs)

    def _apply(self, loss: Tensor) -> Tensor:
        """Update from `.grad` by the optimizer itself, if the loss is finite: on a GPU this waits for it."""
        if self._healthy.to(loss.device) & torch.isfinite(loss):
            self.optimizer.step()
        else:
            self._healthy.fill_(False)
            loss = torch.full_like(loss, math.nan)
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    # ---- what is traced

    def _rehearse(self, *args: Any, **kwargs: Any) -> None:
        """Let Pyro check sites and shapes on real values, and make parameters that do not exist yet."""
        with untouched():
            self._objective.value(args, kwargs)
        self._rehearsed = list(self._objective.sites)

    def _loss_and_gradients(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor], dict[int, Tensor]]:
        with torch.enable_grad():
            terms = self._objective.traced(args, kwargs)
            if self._objective.sites != self._rehearsed:
                changed = sorted(set(self._objective.sites) ^ set(self._rehearsed)) or self._rehearsed
                raise UntraceableError(f"the sites differ from call to call ({', '.join(changed)})")
            if terms.surrogate is None or not terms.surrogate.requires_grad:
                raise ValueError("the loss depends on no parameter that requires a gradient")
            gradients = torch.autograd.grad(terms.surrogate, self._parameters, allow_unused=True)
        return terms.loss, terms.log_probs, {i: g for i, g in enumerate(gradients) if g is not None}

    def _whole_step(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, log_probs, gradients = self._loss_and_gradients(*args, **kwargs)
        states = [v for s in self.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        with torch.no_grad():
            changing = [*(self._parameters[i].detach() for i in gradients), *states]
            before = [tensor.clone() for tensor in changing]
            capturable_step(
                self.optimizer, self._rates.tensors, [(self._parameters[i], g) for i, g in gradients.items()]
            )
            healthy = realized(self._healthy & torch.isfinite(loss))
            for tensor, old in zip(changing, before, strict=True):
                tensor.copy_(torch.where(healthy, tensor, old))
            self._healthy.copy_(healthy)
            return torch.where(healthy, loss, math.nan), log_probs
