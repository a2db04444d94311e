"""Posteriors whose parameters come from an encoder."""

from abc import abstractmethod

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.contracts import Posterior


class _Headed(Posterior):
    """Base class: the parameters are a linear layer of the encoder's features.

    Args:
        encoder: Module from images and labels to features, (B, encoder.out_features).
        outputs: Number of parameters of the family per image.
    """

    def __init__(self, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(out_features(encoder), outputs)

    def outputs(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The parameters of each image, (B, outputs)."""
        return self.head(self.encoder(x, y))


class NormalFamily(_Headed):
    """Base class: Normal posteriors by the numbers that the encoder gives, which may be changed for each image."""

    @abstractmethod
    def of(self, outputs: Tensor) -> dist.TorchDistribution:
        """The posterior of such numbers, (..., B, outputs): batch_shape (..., B), event_shape (latent_dim,)."""

    @abstractmethod
    def draws(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """The codes that standard Normal draws become, (..., B, latent_dim).

        Args:
            outputs: The numbers, (..., B, outputs).
            noise: The draws, (..., B, latent_dim), or a shape that broadcasts to it.
        """

    @abstractmethod
    def ascend(self, outputs: Tensor, slope: Tensor, rate: Tensor) -> Tensor:
        """The numbers after a step of natural-gradient ascent, whatever their scale.

        With the mean's gradient g and the curvature of the function, both as the slope has them, the precision moves by
        the share `rate` towards the curvature, and the mean by rate * covariance * g with the new covariance. For a
        quadratic log-density this leads to its own Normal distribution, or the best one of the family.

        References:
            M. E. Khan and D. Nielsen, Fast yet Simple Natural-Gradient Descent for Variational Inference (2018),
            arXiv:1807.04489.

        Args:
            outputs: The numbers, (..., B, outputs).
            slope: Gradient of the ELBO of each image with respect to them, of the same shape.
            rate: Size of the step, from 0 to 1, (..., B, 1).
        """

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        return self.of(self.outputs(x, y))


def precision_growth(slope: Tensor, rate: Tensor) -> Tensor:
    """What a step multiplies precisions by, given slopes of logarithms of scales: 1 - rate * slope, at least 0.1.

    The slope is 1 minus the ratio of the curvature to the precision; where the function is not concave it is above 1.
    """
    return (1 - rate * slope).clamp(min=0.1)


def out_features(encoder: nn.Module) -> int:
    """The number of features that an encoder returns; ValueError where it does not say."""
    features = getattr(encoder, "out_features", None)
    if not isinstance(features, int):
        raise ValueError(
            f"an encoder must say how many features it returns in its attribute out_features (a whole number); "
            f"{type(encoder).__name__} has {features!r}"
        )
    return features
