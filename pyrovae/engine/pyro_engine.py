"""Pyro itself, and the optimizer's own step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.base import Engine, Training
from pyrovae.engine.compilation import tf32
from pyrovae.engine.parallel import DataParallel, not_lost
from pyrovae.engine.randomness import rng_state
from pyrovae.engine.steps import Step


class PyroEngine(Engine):
    """Pyro's own loss and gradients, and the optimizer's own step.

    Args:
        training: What is trained.
    """

    name = "pyro"

    def __init__(self, training: Training) -> None:
        self._training = training
        self.gradients: dict[Tensor, Tensor] = {}

    def update(
        self,
        args: tuple,
        kwargs: dict[str, Any],
        *,
        around: contextlib.AbstractContextManager[Any] | None = None,
        keep_gradients: bool = False,
    ) -> Step:
        """Take one gradient step.

        Args:
            args: Arguments of the programs.
            kwargs: The same, by name.
            around: What loss and gradients, but not the optimizer, are computed in.
            keep_gradients: Whether to leave copies of the gradients in `gradients`.
        """
        training = self._training
        try:
            with tf32(training.precision == "tf32"), around or contextlib.nullcontext():
                value, log_probs, met, leaves = training.objective.backward(args, kwargs)
        except BaseException as error:
            training.updater.clear()
            if isinstance(error, Exception):
                training.agree(error)
            raise
        training.adopt(met, leaves)
        loss = training.as_loss(value)
        if training.parallel is not None:
            loss, log_probs, value = *self._of_all(training.parallel, loss, log_probs), None
        if keep_gradients:
            self.gradients = {p: p.grad.clone() for p in training.updater.parameters if p.grad is not None}
        if training.objective.states_its_value:
            loss = apply_update(training, loss, met)
        else:
            apply_update(training, torch.zeros_like(loss), met)
        training.steps_taken["pyro"] += 1
        return Step(loss, log_probs, value)

    def _of_all(
        self, parallel: DataParallel, loss: Tensor, log_probs: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and log-probabilities summed over processes, and gradients in their places."""
        training = self._training
        given = [p for p in training.updater.parameters if p.grad is not None]
        gradients: list[Tensor] = [p.grad for p in given if p.grad is not None]
        weighted = training.objective.weighted
        drawn = {name: bytes(state.tolist()) for name, state in rng_state(training.device).items()}
        parallel.agree(None, [[(*p.shape, p.dtype) for p in given], *log_probs, *weighted, drawn], training.device)
        numbers = [value.to(loss) for value in (*log_probs.values(), *weighted.values())]
        with not_lost():
            loss, *sums = parallel.sums([loss, *numbers, *gradients])
        for parameter, gradient in zip(given, sums[len(numbers) :], strict=True):
            parameter.grad = gradient
        training.objective.weighted = dict(zip(weighted, sums[len(log_probs) : len(numbers)], strict=True))
        return loss, dict(zip(log_probs, sums, strict=False))

    def evaluate(self, args: tuple, kwargs: dict[str, Any]) -> Step:
        """Compute the loss, and change nothing."""
        training = self._training
        with tf32(training.precision == "tf32"):
            value, log_probs = training.objective.value(args, kwargs)
        loss = training.as_loss(value)
        if training.parallel is None:
            return Step(loss, log_probs, value)
        with not_lost():
            loss, *sums = training.parallel.sums([loss, *(each.to(loss) for each in log_probs.values())])
        return Step(loss, dict(zip(log_probs, sums, strict=True)))


def apply_update(training: Training, loss: Tensor, met: Sequence[Tensor]) -> Tensor:
    """Update from `.grad` by the optimizer itself, if the loss is finite: on a GPU this waits for it."""
    if training.healthy.to(loss.device) & torch.isfinite(loss):
        training.updater.step(met)
    else:
        training.healthy.fill_(False)
        training.updater.clear()
        loss = torch.full_like(loss, math.nan)
    return loss
