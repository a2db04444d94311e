"""What SVI minimises: which bound, and how its two terms are weighted.

A model's programs stay the joint distribution that they are; an objective wraps them with a Pyro handler that
weights their sites, so that evaluation sees the true ELBO whatever the training's weights were.
"""

from pyrovae.objectives.base import LatentSite, Objective, kl_per_dimension, latent_sites, latent_sites_of
from pyrovae.objectives.importance import ImportanceWeighted, Renyi
from pyrovae.objectives.weighted import FreeBits, SiteWeights, TraceELBO, TraceMeanField

__all__ = [
    "FreeBits",
    "ImportanceWeighted",
    "LatentSite",
    "Objective",
    "Renyi",
    "SiteWeights",
    "TraceELBO",
    "TraceMeanField",
    "kl_per_dimension",
    "latent_sites",
    "latent_sites_of",
]
