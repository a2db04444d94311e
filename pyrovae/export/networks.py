"""Encoder and decoder as modules from tensors to tensors: the distributions that parts return, by their numbers."""

from __future__ import annotations

from typing import ClassVar

import torch
from pyro.distributions import MaskedDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from pyrovae.contracts import NotApplicable, name_of
from pyrovae.distributions import Flow, normal_points
from pyrovae.latent.codes import closed_moments
from pyrovae.models import LatentVariableModel

PARAMETERS = {
    "Bernoulli": ("logits",),
    "GreyBernoulli": ("logits",),
    "StableContinuousBernoulli": ("logits",),
    "Normal": ("scale",),
    "Laplace": ("scale",),
}
"""What is given beside the mean of a likelihood's family; of all others the mean alone."""


class Network(nn.Module):
    """A part of a model from tensors to named tensors.

    Attributes:
        inputs: Names of its inputs.
        outputs: Names of its outputs.
    """

    name: ClassVar[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def example(self, count: int) -> tuple[Tensor, ...]:
        """Inputs of a batch, of zeros."""
        raise NotImplementedError


class EncoderNetwork(Network):
    """q(z | x, y) by its mean and its variances, or its covariance if its dimensions are dependent.

    The moments of a flow have no closed form: they are those of 256 fixed points.

    Args:
        model: The model.

    Raises:
        NotApplicable: If the posterior is of a family whose moments nobody knows.
    """

    name = "encoder"
    points: Tensor

    def __init__(self, model: LatentVariableModel) -> None:
        super().__init__()
        self.posterior, self.shapes = model.posterior, model.shapes
        self.register_buffer("points", normal_points(model.shapes.latent_dim), persistent=False)
        self.inputs = ("x", "y") if model.shapes.num_classes else ("x",)
        with torch.no_grad():
            spread = self(*self.example(2))[1]
        self.outputs = ("mean", "variance" if spread.ndim == 2 else "covariance")

    def example(self, count: int) -> tuple[Tensor, ...]:
        """Black images, of class 0 if the model looks at labels."""
        x = torch.zeros(count, *self.shapes.image_shape)
        return (x, torch.zeros(count, dtype=torch.int64)) if self.shapes.num_classes else (x,)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images, (B, C, H, W), and labels, (B,): the mean, (B, n), and variances (B, n) or covariance (B, n, n)."""
        q = self.posterior(x, y)
        if isinstance(q, Flow):
            z = q.at(self.points)
            centred = z - z.mean(0)
            return z.mean(0), torch.einsum("s...d,s...f->...df", centred, centred) / (len(z) - 1)
        found = closed_moments(q)
        if found is None:
            raise NotApplicable(
                f"the posterior {name_of(self.posterior)} has neither mean nor covariance in closed form"
            )
        return found


class DecoderNetwork(Network):
    """p(x | z, y) by its mean, and by the parameters of its family where these are more.

    Args:
        model: The model.
    """

    name = "decoder"

    def __init__(self, model: LatentVariableModel) -> None:
        super().__init__()
        self.likelihood, self.shapes = model.likelihood, model.shapes
        self.inputs = ("z", "y") if model.shapes.num_classes else ("z",)
        with torch.no_grad():
            p = _pixels(self.likelihood(*self.example(2)))
        self.parameters_given = PARAMETERS.get(type(p).__name__, ())
        self.outputs = ("mean", *self.parameters_given)

    def example(self, count: int) -> tuple[Tensor, ...]:
        """Codes at the origin, of class 0 if the model looks at labels."""
        z = torch.zeros(count, self.shapes.latent_dim)
        return (z, torch.zeros(count, dtype=torch.int64)) if self.shapes.num_classes else (z,)

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        """Codes, (B, n), and labels, (B,): the mean and the parameters, (B, C, H, W) each."""
        p = self.likelihood(z, y)
        mean = p.mean
        return (mean, *(getattr(_pixels(p), name).expand_as(mean) for name in self.parameters_given))


def _pixels(p: Distribution) -> Distribution:
    """The distribution of single pixels below what surrounds it."""
    while isinstance(p, Independent | MaskedDistribution):
        p = p.base_dist
    return p
