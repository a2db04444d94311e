"""What steps have computed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """What one update or evaluation computed, still on the device.

    Attributes:
        loss: The negative bound (before the update), shape (); (steps,) from `SVI.run`.
        log_probs: Unscaled log-probability by site ("model.x", "model.z", "guide.z"), shaped like `loss`: summed over
            the batch, averaged over particles.
        value: What Pyro's own code returned, if it has taken the step: a number, or two of `ReweightedWakeSleep`.
    """

    loss: Tensor
    log_probs: dict[str, Tensor] = field(default_factory=dict)
    value: Any = None


class Done:
    """Steps in their order, as they were taken: one by one, or many at once.

    Attributes:
        taken: How many.
        last: What was added last, or None.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.last: Step | None = None
        self._parts: list[Step] = []

    def add(self, step: Step) -> None:
        """Add a step, or several as one `Step`."""
        self.taken += step.loss.numel()
        self.last = step
        self._parts.append(step)

    def joined(self) -> Step:
        """All of them, (steps,), with the log-probabilities that each has."""
        assert self.last is not None
        device, dtype = self.last.loss.device, self.last.loss.dtype
        names = [name for name in self.last.log_probs if all(name in step.log_probs for step in self._parts)]
        losses = _in_a_row(step.loss.to(device, dtype) for step in self._parts)
        return Step(losses, {n: _in_a_row(step.log_probs[n].to(device) for step in self._parts) for n in names})


def _in_a_row(values: Iterable[Tensor]) -> Tensor:
    """Numbers, () or (steps,), as one vector."""
    rows: list[Tensor] = []
    for dimensions, group in itertools.groupby(values, Tensor.dim):
        some = list(group)
        rows += some if dimensions else [torch.stack(some)]
    return rows[0] if len(rows) == 1 else torch.cat(rows)
