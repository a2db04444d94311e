"""`SVI`: the interface of `pyro.infer.SVI`, run by Pyro, by a traced graph, or by a compiled one."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from pyro.infer import ELBO, Trace_ELBO
from pyro.infer.util import torch_item
from pyro.optim import PyroOptim

from pyrovae.engine.base import DisagreementError, Engine, Training
from pyrovae.engine.choice import ENGINES, TIERS, Work, tier_for
from pyrovae.engine.compilation import CompilerError, missing_compiler
from pyrovae.engine.compiled_engine import CompiledEngine
from pyrovae.engine.functions import TooManyGraphsError
from pyrovae.engine.graph_engine import GraphEngine
from pyrovae.engine.naming import reached_modules
from pyrovae.engine.observation import observing
from pyrovae.engine.optimizers import OptimizerFactory, PyroUpdater, TorchUpdater, updater_for
from pyrovae.engine.parallel import DataParallel
from pyrovae.engine.programs import Objective, UntraceableError
from pyrovae.engine.pyro_engine import PyroEngine
from pyrovae.engine.randomness import restore_rng_state, rng_state
from pyrovae.engine.steps import Done, Step
from pyrovae.engine.work import Counting

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "tf32", "bfloat16")


class SVI:
    """Stochastic variational inference for any Pyro model and guide.

    The programs themselves are traced, with Pyro's own loss code, into one graph that holds the caller's `prepare`,
    guide, model, gradients and the optimizer's update. Parameters and the optimizer's state stay where they are and
    change in place, so `module.state_dict()`, `optimizer.state_dict()` and `torch.get_rng_state()` are always the whole
    truth. The first two steps with each signature of the arguments are Pyro's own: they make what is made at the first
    step, and show what the programs use. A graph is made anew when any of that has changed, and is compared with Pyro
    at its first step, its second, fourth, eighth, and so on.

    A loss that is not finite stops all further updates: parameters stay as they were before it, `update` returns NaN
    from then on, and `step` raises. `diagnose` names the cause and allows updates again.

    Args:
        model: Pyro program; receives the arguments of `step`, after `prepare`.
        guide: Pyro program with the same arguments.
        optim: One of Pyro's optimizers, which trains the parameters that Pyro knows by name; or a torch optimizer over
            parameters, or a function from the list of parameters to one, for parameters that exist only once the
            programs have run (Pyro's parameter store, lazy modules).
        loss: A Pyro ELBO (`Trace_ELBO` by default), or any loss that `pyro.infer.SVI` takes.
        engine: "pyro" runs Pyro's own loss and gradients; "graph" a traced graph, without a compiler; "compiled" one
            compiled graph; "auto" starts with Pyro, and goes on with what pays.
        prepare: Turns the arguments of `step` into those of model and guide, inside the graph: look up a batch,
            convert, binarise. Tensor arguments are inputs of the graph; others are constants.
        precision: "float32"; "bfloat16" for the products of linear and convolutional layers, everything else and
            log-probabilities in float32; "tf32" lets the GPU use TF32 for float32 products.
        steps: How many steps the run will take, if known, for "auto".
        check_every: Pyro takes the 1st, 2nd, 4th, 8th … and every `check_every`-th step of each graph, and what the
            graph would have done is compared; a difference is warned of, and Pyro goes on. None: never.
        tiers: For "auto", after how many steps an engine takes over, by name, as in `{"graph": 2, "compiled": 500}`; by
            default that follows from how much work a step is.
        parallel: The processes that train together, each with its rows of the arguments.

    Attributes:
        engine: The engine at work.

    Raises:
        ValueError: If an option is none of those named, or the parameters cannot be trained.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model():
        ...     pyro.sample("z", dist.Normal(3.0, 1.0))
        >>> def guide():
        ...     pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))
        >>> svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), engine="graph")
        >>> losses = [svi.step() for _ in range(200)]
        >>> round(pyro.param("loc").item())
        3
        >>> pyro.clear_param_store()

    References:
        Bingham et al. 2019, Pyro: Deep Universal Probabilistic Programming, JMLR 20.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        optim: torch.optim.Optimizer | OptimizerFactory | PyroOptim,
        loss: ELBO | Callable[..., Any] | None = None,
        *,
        engine: str = "auto",
        prepare: Callable[..., Any] | None = None,
        precision: str = "float32",
        steps: int | None = None,
        check_every: int | None = 1000,
        tiers: Mapping[str, int] | None = None,
        parallel: DataParallel | None = None,
    ) -> None:
        for name, value, allowed in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if not (loss is None or isinstance(loss, ELBO) or (callable(loss) and not isinstance(loss, torch.nn.Module))):
            raise ValueError(f"loss must be a pyro.infer.ELBO or a function, got {type(loss).__name__}")
        if check_every is not None and check_every < 1:
            raise ValueError(f"check_every must be at least 1, or None for no check, got {check_every}")
        if tiers is not None and not tiers.keys() <= set(TIERS):
            raise ValueError(f"tiers names engines ({', '.join(TIERS)}), got {', '.join(map(str, tiers))}")
        if not (callable(optim) or isinstance(optim, (torch.optim.Optimizer, PyroOptim))):
            raise ValueError(
                f"optim must be a pyro.optim optimizer, a torch optimizer or a function, got {type(optim).__name__}"
            )
        objective = Objective(
            model, guide, loss or Trace_ELBO(), prepare, precision, not isinstance(optim, PyroOptim), parallel
        )
        if parallel is not None:
            parallel.check(objective.loss, guide, reached_modules(model, guide, prepare))
        self._parallel, self._alike = parallel, False
        self._training = Training(objective, updater_for(optim), precision)
        self._asked, self._steps, self._check_every, self._tiers = engine, steps, check_every, tiers
        self._pyro = PyroEngine(self._training)
        self._engines: dict[str, Engine] = {"pyro": self._pyro}
        self._work: Work | None = None
        self._settled = engine != "auto"  # no other engine will be chosen
        self._unread = False  # losses since the last one that was looked at
        self._warned = False
        self.engine = "pyro" if engine == "auto" else engine
        self._reason = f"engine {engine}, as asked"
        if engine == "auto":
            self._reason = "engine pyro, until the first steps have shown what pays"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("model", "guide", "optim", "loss", "loss_and_grads"):  # attributes of Pyro's SVI
            raise AttributeError(f"the {name} of an SVI cannot be replaced: make another SVI")
        super().__setattr__(name, value)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The torch optimizer.

        Raises:
            ValueError: If it does not exist yet, or Pyro's optimizers train.
        """
        updater = self._training.updater
        if isinstance(updater, PyroUpdater):
            raise ValueError("Pyro's optimizers train, one for each parameter: they are in the `optim` that was given")
        assert isinstance(updater, TorchUpdater)
        if updater.optimizer is None:
            raise ValueError("the optimizer does not exist before the first step, because `optim` is a function")
        return updater.optimizer

    @property
    def training(self) -> Training:
        """What the engines work on, for engines of several trainings."""
        return self._training

    def join(self, engine: GraphEngine) -> None:
        """Keep the progress of another engine that takes steps of this training, that of an ensemble."""
        self._engines[engine.name] = engine

    @property
    def outlook(self) -> tuple[int | None, Work | None]:
        """How many steps the run will take, if known, and the work of one, once that was counted."""
        return self._steps, self._work

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._training.device

    @property
    def description(self) -> str:
        """The engine at work, and why, in a line."""
        engine = self._engines.get(self.engine)
        outside = engine.outside if isinstance(engine, CompiledEngine) else None
        return self._reason + (f"; the update runs outside the graph: {outside}" if outside else "")

    @property
    def steps_taken(self) -> Counter[str]:
        """Updates so far, by the engine that took them."""
        return self._training.steps_taken

    @property
    def graphs_made(self) -> int:
        """How many graphs of updates there are now."""
        return sum(len(e.graphs.plans) for e in self._engines.values() if isinstance(e, GraphEngine))

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
        args = self._rows(args)
        before = rng_state(self._training.device)
        unread = self._unread
        result = self.update(*args, **kwargs)
        self._unread = False
        if math.isfinite(float(result.loss)) or not self._training.objective.states_its_value:
            return _as_returned(result)
        restore_rng_state(before, self._training.device)
        engine = self._engine(self.engine)
        if not unread and result.value is None and isinstance(engine, GraphEngine):
            engine.take_back()
            # Pyro takes the step: it says in its own words what is not valid, or finds that it was rounding.
            self._training.healthy.fill_(True)
            result = self._pyro.update(args, kwargs)
            if math.isfinite(float(result.loss)):
                return _as_returned(result)
            restore_rng_state(before, self._training.device)
        raise FloatingPointError(self.diagnose(*args, **kwargs))

    def update(self, *args: Any, **kwargs: Any) -> Step:
        """Take one gradient step; the compiled engine does not read any result on the host."""
        args = self._rows(args)
        self._unread = True
        if not self._settled:
            taken = self._training.steps_taken.total()
            if taken in (1, 2) and self._tiers is None:
                return self._measured_update(taken, args, kwargs)
            self._choose()
        return self._guarded(lambda engine: engine.update(args, kwargs))

    def run(self, batches: Iterable[tuple]) -> Step:
        """One update for each tuple of arguments, with the least host work between them.

        Args:
            batches: The arguments of each step, a tuple. The steps of a list or tuple of batches are a row, at whose
                first step alone it is looked whether anything of Python has changed. Any other iterable, such as a
                generator, is asked for a batch when its step is due; it may change anything.

        Returns:
            Losses and log-probabilities, shape (steps,).

        Raises:
            TypeError: If a batch is no tuple.
            ValueError: If there is none.
        """
        done = Done()
        for row in [batches] if isinstance(batches, (list, tuple)) else ([batch] for batch in batches):
            self._run_row([self._rows(_as_arguments(batch)) for batch in row], done)
        if not done.taken:
            raise ValueError("run needs at least one batch")
        self._unread = True
        return done.joined()

    def _run_row(self, batches: list[tuple], done: Done) -> None:
        """Take these steps; nothing but tensors changes between them."""
        before = done.taken

        def go_on(engine: Engine) -> Step:
            """Take as many of those that remain as one engine takes."""
            stands_in = engine is self._pyro and self.engine != "pyro"  # for a step that has no graph
            engine.run(batches[done.taken - before :][: 1 if stands_in else None], done)
            assert done.last is not None
            return done.last

        while (taken := done.taken - before) < len(batches):
            step = self._guarded(go_on) if self._settled else self.update(*batches[taken])
            if step is not done.last:
                done.add(step)

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> float:
        """The loss, without a gradient or a change to any parameter."""
        return _as_returned(self.evaluate(*args, **kwargs))

    def evaluate(self, *args: Any, **kwargs: Any) -> Step:
        """Loss and log-probabilities, without a gradient or a change to any parameter, on the device."""
        args = self._rows(args)
        return self._guarded(lambda engine: engine.evaluate(args, kwargs))

    def diagnose(self, *args: Any, **kwargs: Any) -> str:
        """Run the programs by Pyro on these arguments, say where values stop being finite, and allow updates again.

        Returns:
            One or two sentences.
        """
        training, args = self._training, self._rows(args)
        training.healthy.fill_(True)
        names = training.names()
        bad = [
            names.get(id(p), f"parameter {i}")
            for i, p in enumerate(training.updater.parameters)
            if not torch.isfinite(p).all()
        ]
        place = training.objective.first_not_finite(args, kwargs)
        if self._parallel is not None:
            place = next(filter(None, self._parallel.gather(place or "")), None)
        if bad:
            return f"the loss is not finite, because parameters are not: {', '.join(bad)}; the step before broke them"
        if place:
            return f"the loss is not finite: {place}; parameters are as they were before this step"
        return "the loss was not finite in an earlier step; parameters are as before it, and this batch is sound"

    def state_dict(self) -> dict[str, Any]:
        """Which engine takes which step, for a run that is to be resumed to the bit.

        Parameters, the optimizer's state and the generators' are kept by their owners, not here.
        """
        return {
            "engine": self.engine,
            "reason": self._reason,
            "settled": self._settled,
            "work": None if self._work is None else asdict(self._work),
            "steps_taken": dict(self.steps_taken),
            "graphs": {name: e.progress() for name, e in self._engines.items() if isinstance(e, GraphEngine)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the run whose `state_dict` this is; to be called before the first step.

        Raises:
            ValueError: If a step has been taken.
        """
        if self.steps_taken:
            raise ValueError("load_state_dict is for an SVI that has not taken a step")
        if self._asked in ("auto", state["engine"]):
            self.engine, self._reason, self._settled = state["engine"], state["reason"], state["settled"]
        self._work = None if state["work"] is None else Work(**state["work"])
        self.steps_taken.update(state["steps_taken"])
        for name, progress in state["graphs"].items():
            if name not in self._engines and name not in TIERS:
                continue  # that of an ensemble, in which this training does not go on
            engine = self._engine(name)
            assert isinstance(engine, GraphEngine)
            engine.resume(progress)

    def _rows(self, args: tuple) -> tuple:
        """This process's rows of the arguments, where several train together; they must begin alike."""
        if self._parallel is None:
            return args
        if not self._alike and not self.steps_taken:
            self._alike = True
            training = self._training
            names = training.names()
            values = {names.get(id(p), f"parameter {i}"): p for i, p in enumerate(training.updater.parameters)}
            if not (args and isinstance(args[0], torch.Size)):
                values |= {f"argument {i}": a for i, a in enumerate(args) if isinstance(a, torch.Tensor)}
            self._parallel.check_alike({**rng_state(training.device), **values})
        return self._parallel.rows(*args)

    # ---- which engine

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            make = {"graph": GraphEngine, "compiled": CompiledEngine}[name]
            self._engines[name] = make(self._training, self._check_every)
        return self._engines[name]

    def _measured_update(self, taken: int, args: tuple, kwargs: dict[str, Any]) -> Step:
        """The second or third step, by Pyro, with its work counted; the first makes what later ones use."""
        if taken == 1:
            observed = observing()
            step = self._pyro.update(args, kwargs, around=observed)
            self._work = Work(observed.found.calls)
            return step
        with Counting() as counted:  # by itself, because it is Python too
            step = self._pyro.update(args, kwargs)
        calls = self._work.calls if self._work is not None else 0
        self._work = Work(calls, counted.operators, counted.flops, counted.elements)
        return step

    def _choose(self) -> None:
        """Let `auto` choose the engine of the next step."""
        taken = self._training.steps_taken.total()
        if taken == 0 or (self._tiers is None and self._steps is None and taken & (taken - 1)):
            return  # without a stated length it looks again whenever the run has become twice as long
        trouble = self._training.objective.only_by_pyro or self._training.updater.trouble()
        if not self._training.updater.parameters:
            trouble = trouble or "the loss depends on no parameter that requires a gradient: nothing is trained"
        if trouble:
            self._go_on_with("pyro", trouble)
            self._settled = True
            return
        lacking = missing_compiler(self._training.device)
        name, reason = tier_for(taken, self._steps, self._work, lacking, self._tiers)
        last = "graph" if lacking else "compiled"
        self._settled = name == last or (self._steps is not None and self._tiers is None and self._work is not None)
        if self._parallel is not None:
            name, reason, self._settled = self._parallel.from_first([name, reason, self._settled])
        if name != self.engine or self._settled:
            self._go_on_with(name, reason)

    def _go_on_with(self, name: str, reason: str) -> None:
        self.engine = name
        self._reason = f"engine {name}, because {reason}"
        logger.info(self._reason)

    def _guarded(self, action: Callable[[Engine], Step]) -> Step:
        """Run, and when a graph is impossible and the engine was not named, go on with the next engine."""
        if self._asked not in ("auto", "pyro") and self.engine != "pyro":
            self._refuse_trouble()
        engine = self._engine(self.engine)
        try:
            return action(engine)
        except TooManyGraphsError as error:
            if not self._warned:
                logger.warning("%s; Pyro runs what has no graph yet", error)
            self._warned = True
            return action(self._pyro)
        except DisagreementError as error:
            self._fall_back("pyro", f"the graph and Pyro differ: {error}")
            assert isinstance(engine, GraphEngine)
            return engine.last_by_pyro
        except (UntraceableError, CompilerError) as error:
            if self._asked != "auto":
                raise
            self._fall_back("graph" if isinstance(error, CompilerError) else "pyro", str(error))
        return self._guarded(action)

    def _refuse_trouble(self) -> None:
        trouble = self._training.objective.only_by_pyro
        if trouble:
            raise UntraceableError(f"{trouble}; engine='pyro' runs it")
        trouble = self._training.updater.trouble()
        if trouble:
            raise UntraceableError(f"{trouble}; engine='pyro' may run it")

    def _fall_back(self, engine: str, reason: str) -> None:
        self.engine, self._settled = engine, True
        self._reason = f"engine {engine}, because {reason}"
        logger.warning(self._reason)


def _as_arguments(batch: Any) -> tuple:
    if not isinstance(batch, (tuple, list)):
        raise TypeError(
            f"each batch must be a tuple of a step's arguments, got a {type(batch).__name__}: "
            f"of one argument it is (x,)"
        )
    return tuple(batch)


def _as_returned(step: Step) -> Any:
    """The loss as `pyro.infer.SVI` returns it: a number, or several."""
    if isinstance(step.value, (tuple, list)):
        return type(step.value)(map(torch_item, step.value))
    return torch_item(step.loss if step.value is None else step.value)
