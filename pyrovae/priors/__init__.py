"""Priors p(z | y): modules whose forward returns a distribution over codes.

    prior(y) -> p(z | y)    batch_shape () or (B,), event_shape (latent_dim,)

A prior that does not depend on the label has an empty batch shape, which the plate of images expands.
"""

from pyrovae.contracts import Prior
from pyrovae.priors.base import Unscored
from pyrovae.priors.factorised import Laplace, Normal, StandardNormal, StudentT, Uniform, VonMises
from pyrovae.priors.flow import Flow
from pyrovae.priors.hierarchical import Hierarchical
from pyrovae.priors.mixtures import GaussianMixture, VampPrior

__all__ = [
    "Flow",
    "GaussianMixture",
    "Hierarchical",
    "Laplace",
    "Normal",
    "Prior",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "Unscored",
    "VampPrior",
    "VonMises",
]
