"""What every engine works on, and what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.infer.util import torch_item
from torch import Tensor

from pyrovae.engine.compat import stored_parameters
from pyrovae.engine.compilation import CompilerError
from pyrovae.engine.naming import named_parameters
from pyrovae.engine.optimizers import (
    UncapturableError,
    Updater,
)
from pyrovae.engine.parallel import DataParallel, raise_if_lost
from pyrovae.engine.programs import Objective, UntraceableError
from pyrovae.engine.steps import Done, Step


class DisagreementError(RuntimeError):
    """A graph computes something else than Pyro; says what."""


@dataclass
class Training:
    """What all engines work on.

    Attributes:
        objective: Model, guide and loss.
        updater: Moves the parameters.
        precision: Of matrix products.
        healthy: Whether every loss so far was finite, boolean (); no update happens after one that was not.
        steps_taken: Updates by the engine that took them.
        adopted: Whether the parameters are known.
    """

    objective: Objective
    updater: Updater
    precision: str
    healthy: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.bool))
    steps_taken: Counter[str] = field(default_factory=Counter)
    adopted: bool = False

    def adopt(self, met: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
        """Take up parameters that a backward pass by Pyro has shown."""
        self.updater.adopt(met, leaves)
        if not self.adopted and self.updater.parameters:
            self.adopted = True
            self.healthy = self.healthy.to(self.device)
            self.updater.keep_state_on_device()

    def as_loss(self, value: Any) -> Tensor:
        """What a loss returned as a tensor beside the parameters, and of their type."""
        number = sum(map(torch_item, value)) if isinstance(value, (tuple, list)) else torch_item(value)
        like = next((p for p in self.updater.parameters if p.is_floating_point()), torch.empty(0))
        return torch.tensor(number, dtype=like.dtype, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.updater.device

    @property
    def parallel(self) -> DataParallel | None:
        """The processes that train together, or None."""
        return self.objective.parallel

    def agree(self, error: Exception | None) -> None:
        """Have no process go on if one of them cannot.

        Raises:
            ValueError: If one cannot.
        """
        if self.parallel is not None:
            if error is not None:
                raise_if_lost(error)
            kinds = (UntraceableError, CompilerError, UncapturableError)
            self.parallel.agree(error, device=self.device, kinds=kinds)

    def names(self) -> dict[int, str]:
        """Names of parameters by the tensor's `id`, for messages."""
        stored = {id(tensor): name for name, tensor in stored_parameters().items()}
        return stored | named_parameters(self.objective.model, self.objective.guide, self.objective.prepare)


class Engine(ABC):
    """One way to take a step."""

    name: str

    @abstractmethod
    def update(self, args: tuple, kwargs: dict[str, Any]) -> Step:
        """Take one gradient step."""

    @abstractmethod
    def evaluate(self, args: tuple, kwargs: dict[str, Any]) -> Step:
        """Compute the loss, and change nothing."""

    def run(self, batches: Sequence[tuple], done: Done) -> None:
        """One update for each tuple of arguments, each put behind what is done."""
        for batch in batches:
            done.add(self.update(batch, {}))
