"""What SVI minimises: which bound, and how its two terms are weighted.

A model's programs stay the joint distribution that they are; an objective wraps them with a Pyro handler that
weights their sites, so that evaluation sees the true ELBO whatever the training's weights were.
"""

from pyrovae.objectives.estimators import Estimator
from pyrovae.objectives.objectives import FreeBits, ImportanceWeighted, Objective, Renyi, TraceELBO, TraceMeanField
from pyrovae.objectives.sites import LatentSite, kl_per_dimension, latent_sites, latent_sites_of
from pyrovae.objectives.weighting import SiteWeights, Weighting

__all__ = [
    "Estimator",
    "FreeBits",
    "ImportanceWeighted",
    "LatentSite",
    "Objective",
    "Renyi",
    "SiteWeights",
    "TraceELBO",
    "TraceMeanField",
    "Weighting",
    "kl_per_dimension",
    "latent_sites",
    "latent_sites_of",
]
