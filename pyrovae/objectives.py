"""What SVI minimises: which bound, and how its two terms are weighted.

A model's programs stay the joint distribution that they are; an objective wraps them with a Pyro handler that
weights their sites, so that evaluation sees the true ELBO whatever the training's weights were.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pyro.infer import Trace_ELBO
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

Program = Callable[..., None]


class SiteWeights(Messenger):
    """Weight the log-densities of a program: latent sites by one factor, observed sites by another.

    Unlike `pyro.poutine.scale` it takes a weight of zero, which the start of a warm-up needs, and tensors that
    change from step to step without another trace.
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
class TraceELBO:
    """The evidence lower bound by Monte Carlo over traces: loss = weight * reconstruction + beta * KL.

    In nats per image: the programs' sums over a batch are divided by its size, so that learning rates and
    tolerances mean the same whatever the batch.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114; I. Higgins et al.,
        beta-VAE (2017), for beta; S. Bowman et al. (2016), arXiv:1511.06349, for the warm-up.

    Args:
        beta: Weight of the KL term; 0 leaves the reconstruction alone.
        reconstruction_weight: Weight of the reconstruction term.
        warmup: Share of all training steps, 0 to 1, over which the KL weight rises linearly from 0 to beta.
        particles: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of its range.
    """

    beta: float = 1.0
    reconstruction_weight: float = 1.0
    warmup: float = 0.0
    particles: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.beta < float("inf"):
            raise ValueError(f"beta, the weight of the KL term, must be at least 0, got {self.beta}")
        if not 0 < self.reconstruction_weight < float("inf"):
            raise ValueError(f"reconstruction_weight must be positive, got {self.reconstruction_weight}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be a share of all steps, from 0 to 1, got {self.warmup}")
        if self.particles < 1:
            raise ValueError(f"particles must be at least 1, got {self.particles}")

    def beta_at(self, progress: float) -> float:
        """Weight of the KL term when the share `progress`, 0 to 1, of all training steps is done."""
        return self.beta * min(1.0, progress / self.warmup) if self.warmup else self.beta

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound."""
        return Trace_ELBO(num_particles=self.particles, vectorize_particles=True, max_plate_nesting=1)

    def weighted(self, program: Program) -> Program:
        """The program with its sites weighted; its first argument is the current KL weight, a 0-d tensor."""

        def weighted_program(beta: Tensor, x: Tensor, y: Tensor | None = None) -> None:
            per_image = 1.0 / len(x)
            with SiteWeights(beta * per_image, torch.full_like(beta, self.reconstruction_weight * per_image)):
                program(x, y)

        return weighted_program
