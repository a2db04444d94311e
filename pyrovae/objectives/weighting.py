"""Weights of the two terms of a bound, and schedules of the KL weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae.shapes import WrongTypeError

Program = Callable[..., None]
Schedule = Literal["linear", "sigmoid", "cyclical"]


class SiteWeights(Messenger):
    """Weight the log-densities of a program: latent sites by one factor, observed sites by another.

    Unlike `pyro.poutine.scale` it accepts a weight of zero, which a warm-up starts with, and tensors that change from
    step to step without a new trace.
    """

    def __init__(self, latent: Tensor, observed: Tensor) -> None:
        super().__init__()
        self.latent = latent
        self.observed = observed

    def _pyro_sample(self, msg: Message) -> None:
        # A plate's own subsample site has no density to weight.
        if type(msg["fn"]).__name__ != "_Subsample":
            msg["scale"] = msg["scale"] * (self.observed if msg["is_observed"] else self.latent)


@dataclass(frozen=True)
class Weighting:
    """Weights of the two terms of a bound: loss = reconstruction_weight * reconstruction + beta(progress) * KL.

    References:
        I. Higgins et al., beta-VAE (2017), for beta; S. Bowman et al., Generating Sentences from a Continuous Space
        (2016), arXiv:1511.06349, for the warm-up, linear or sigmoid; H. Fu et al., Cyclical Annealing Schedule (2019),
        arXiv:1903.10145.

    Args:
        beta: Weight of the KL term; 0 leaves the reconstruction alone.
        reconstruction_weight: Weight of the reconstruction term; 0 leaves the KL alone.
        warmup: Share of all training steps, 0 to 1, over which the KL weight rises from 0 to beta.
        schedule: Shape of the warm-up: linear, sigmoid, or cyclical, which repeats the linear one in every cycle.
        cycles: Number of cycles of the cyclical schedule.

    Raises:
        ValueError: If an argument is out of range.
    """

    beta: float = 1.0
    reconstruction_weight: float = 1.0
    warmup: float = 0.0
    schedule: Schedule = "linear"
    cycles: int = 4

    def __post_init__(self) -> None:
        for name in ("beta", "reconstruction_weight", "warmup", "cycles"):
            if not isinstance(getattr(self, name), int | float):
                raise WrongTypeError(f"{name} must be a number, got {getattr(self, name)!r}")
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta, the weight of the KL term, must be at least 0, got {self.beta}")
        if not 0 <= self.reconstruction_weight < math.inf:
            raise ValueError(f"reconstruction_weight must be at least 0, got {self.reconstruction_weight}")
        if not self.beta and not self.reconstruction_weight:
            raise ValueError("beta and reconstruction_weight cannot both be 0: nothing would be left to minimise")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be a share of all steps, from 0 to 1, got {self.warmup}")
        if self.schedule not in ("linear", "sigmoid", "cyclical"):
            raise ValueError(f"schedule must be linear, sigmoid or cyclical, got {self.schedule!r}")
        if self.cycles < 1:
            raise ValueError(f"cycles must be at least 1, got {self.cycles}")
        for name in ("beta", "reconstruction_weight", "warmup"):
            # A tensor of a whole number is one of whole numbers, in which weights per image would be cut to 0.
            object.__setattr__(self, name, float(getattr(self, name)))

    def beta_at(self, progress: float) -> float:
        """Weight of the KL term after the share `progress`, 0 to 1, of all training steps."""
        if not self.warmup:
            return self.beta
        if self.schedule == "cyclical" and progress < 1:
            progress = progress * self.cycles % 1
        risen = min(1.0, progress / self.warmup)
        if self.schedule == "sigmoid":
            # The logistic curve from -6 to 6, rescaled to the range 0 to 1.
            risen = 0.5 + 0.5 * math.tanh(6 * (risen - 0.5)) / math.tanh(3)
        return self.beta * risen

    def program(self, program: Program) -> Program:
        """The program with weighted sites. Its first argument is the current KL weight, a 0-d tensor.

        Sums over a batch are divided by its size, so learning rates do not depend on it.
        """

        def weighted_program(beta: Tensor, x: Tensor, y: Tensor | None = None) -> None:
            per_image = 1.0 / len(x)
            with SiteWeights(beta * per_image, torch.full_like(beta, self.reconstruction_weight * per_image)):
                program(x, y)

        return weighted_program
