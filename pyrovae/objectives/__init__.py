"""Training objectives: a bound and the weights of its two terms.

An objective wraps a model's programs with a Pyro handler that weights their sites. The programs themselves are not
changed, so evaluation reports the ELBO with weights 1.
"""

from pyrovae.objectives.estimators import Estimator
from pyrovae.objectives.objectives import FreeBits, ImportanceWeighted, Objective, Renyi, TraceELBO, TraceMeanField
from pyrovae.objectives.penalised import DIPVAE, BetaTCVAE, Contractive, InfoVAE, Penalised, Sparse
from pyrovae.objectives.penalties import Penalty
from pyrovae.objectives.programs import FewLabels, Programs, weigh_enumerated
from pyrovae.objectives.sites import LatentSite, kl_per_dimension, latent_sites, latent_sites_of
from pyrovae.objectives.weighting import SiteWeights, Weighting

__all__ = [
    "DIPVAE",
    "BetaTCVAE",
    "Contractive",
    "Estimator",
    "FewLabels",
    "FreeBits",
    "ImportanceWeighted",
    "InfoVAE",
    "LatentSite",
    "Objective",
    "Penalised",
    "Penalty",
    "Programs",
    "Renyi",
    "SiteWeights",
    "Sparse",
    "TraceELBO",
    "TraceMeanField",
    "Weighting",
    "kl_per_dimension",
    "latent_sites",
    "latent_sites_of",
    "weigh_enumerated",
]
