"""The learner: a model, an objective, an optimiser with its schedule, and the engine that runs the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyrovae.engine import SVI, Step, UntraceableError
from pyrovae.models import LatentVariableModel
from pyrovae.objectives import Objective
from pyrovae.objectives.sites import plates_of
from pyrovae.runtime import restore_rng_state, rng_state
from pyrovae.training.batches import Batches, sent
from pyrovae.training.processes import ALONE, Processes
from pyrovae.training.state import check_like

Losses = tuple[float, float, float]
"""Loss, reconstruction and KL of a step, nats per image."""


class BrokenStepError(ValueError):
    """A step without a finite loss.

    Attributes:
        place: Which of the steps that were run together, from 1.
    """

    def __init__(self, what: str, place: int) -> None:
        super().__init__(what)
        self.place = place


class Learner:
    """Updates a model in place, a few batches at a time.

    Args:
        model: The model, on its device.
        batches: Makes a step's pixels.
        objective: What is minimised.
        optimizer: Makes the optimiser from parameters.
        scheduler: Makes its schedule, or None.
        engine: How a step is run.
        precision: Of the networks' matrix products.
        total_steps: Steps of the whole training.
        processes: Those that share a batch.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        batches: Batches,
        objective: Objective,
        optimizer: Callable[[Iterable[torch.nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None,
        *,
        engine: Literal["auto", "compiled", "graph", "pyro"],
        precision: Literal["float32", "tf32", "bfloat16"],
        total_steps: int,
        processes: Processes = ALONE,
    ) -> None:
        self._model, self._batches, self._objective, self._total = model, batches, objective, total_steps
        self._optimizer = optimizer(model.parameters())
        self._scheduler = scheduler(self._optimizer) if scheduler else None
        self._programs = objective.programs(model, batches.order.few, images=len(batches.order.index))
        self._processes = processes
        plates = self._programs.parts(plates_of(model)) if processes.size > 1 else {}
        self._parallel = processes.parallel(plates, means=objective.additive)
        self._svi = SVI(
            self._programs.model,
            self._programs.guide,
            self._optimizer,
            loss=self._programs.elbo,
            engine=engine,
            precision=precision,
            prepare=self._prepare,
            steps=total_steps,
            parallel=self._parallel,
        )

    def _prepare(self, beta: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        return beta, *self._batches.prepare(*inputs)

    @property
    def description(self) -> str:
        """The engine, in words."""
        return self._svi.description

    @property
    def weights(self) -> dict[str, Tensor]:
        """The model's present weights."""
        return self._model.state_dict()

    def settings(self, step: int) -> dict[str, float]:
        """The present learning rate and weight of the KL term."""
        rate = float(self._optimizer.param_groups[0]["lr"])
        return {"learning_rate": rate, "beta": self._objective.beta_at(step / self._total)}

    def update(self, batches: Sequence[Tensor], step: int) -> list[Losses]:
        """Take a step with each batch, given its images' indices, and then read all losses at once.

        Args:
            batches: Indices of the images of each.
            step: Steps that were taken before.

        Raises:
            BrokenStepError: If a loss is not finite, or Pyro refuses a distribution's parameters.
        """
        inputs = self.inputs(batches, step)
        try:
            steps = self._svi.run(inputs)
        except UntraceableError:
            raise
        except (FloatingPointError, ValueError) as error:
            # Pyro's own words name the site first and print whole tensors after it.
            reason = next(line.strip() for line in str(error).splitlines() if line.strip())
            raise BrokenStepError(reason.rstrip(":"), 1) from error
        return self.read(steps, inputs, [len(index) for index in batches])

    @property
    def svi(self) -> SVI:
        """What takes the steps."""
        return self._svi

    def inputs(self, batches: Sequence[Tensor], step: int) -> list[tuple[Tensor, ...]]:
        """The arguments of each step; those of `update`."""
        betas = [float(self._objective.beta_at((step + 1 + i) / self._total)) for i in range(len(batches))]
        weights = sent(torch.tensor(betas), self._batches.device).unbind()  # one copy for all of them
        return [self._inputs(index, weight) for index, weight in zip(batches, weights, strict=True)]

    def read(self, steps: Step, inputs: Sequence[tuple[Any, ...]], images: Sequence[int]) -> list[Losses]:
        """Read what steps with these arguments computed.

        Args:
            steps: Losses and log-probabilities, (steps,).
            inputs: The arguments of each.
            images: Images of each.

        Raises:
            BrokenStepError: If a loss is not finite.
        """
        sizes = torch.tensor(images, device=steps.loss.device)
        terms = self._programs.terms(steps.log_probs, sizes)
        losses = torch.stack([steps.loss, *terms], 1).cpu().double().tolist()  # MPS has no float64
        for i, (loss, _, _) in enumerate(losses):
            if not math.isfinite(loss):
                raise BrokenStepError(self._svi.diagnose(*inputs[i]), i + 1)
        return losses

    def _inputs(self, index: Tensor, weight: Tensor) -> tuple[Any, ...]:
        if self._parallel is None:
            return weight, *self._batches.inputs(index)
        few = self._batches.order.few
        sizes = torch.Size([len(index)] if few is None else [few.known, len(index) - few.known])
        rows = self._parallel.shard(sizes, index.device).whole.rows
        return sizes, weight, *self._batches.inputs(index[rows])  # the others are not even read

    def align(self) -> bool:
        """Have all processes go on with the same state, that of the first; return whether it was another anywhere.

        Rounding may differ between machines.

        Raises:
            ValueError: If they have drawn different random numbers.
        """
        self._processes.check_random_numbers(rng_state(self._batches.device))
        moved = {
            f"{place}.{name}": value
            for place, state in enumerate(self._optimizer.state.values())
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        return self._processes.tensors_from_first({**self._model.state_dict(), **moved})

    def end_epoch(self, loss: float, watched: float) -> None:
        """Advance the schedule, with the monitored value if it depends on one."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(loss if math.isnan(watched) else watched)
        elif self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, schedule, random numbers and the engine of each step."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
            "rng": rng_state(self._batches.device),
            "engine": self._svi.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Raises:
            ValueError: If the optimiser or its schedule is of another kind.
        """
        fresh = self._optimizer.state_dict()["param_groups"]
        for given, group in zip(state["optimizer"]["param_groups"], fresh, strict=True):
            check_like(given, group, "the optimiser")
        if self._scheduler is not None:
            check_like(state["scheduler"], self._scheduler.state_dict(), "the schedule")
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        restore_rng_state(state["rng"], self._batches.device)
        if "engine" in state:  # runs of version 0.1 do not say; they go on as new ones begin
            self._svi.load_state_dict(state["engine"])
