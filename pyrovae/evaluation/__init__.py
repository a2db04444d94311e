"""How good a model is: bounds, likelihoods, and signs of collapse. Evaluation changes nothing."""

from pyrovae.evaluation.collapse import ACTIVE_VARIANCE, active_units, collapse_warning
from pyrovae.evaluation.elbo import ElboEstimate, estimate_elbo
from pyrovae.evaluation.likelihood import LikelihoodEstimate, check_has_likelihood, importance_weighted, quadrature

__all__ = [
    "ACTIVE_VARIANCE",
    "ElboEstimate",
    "LikelihoodEstimate",
    "active_units",
    "check_has_likelihood",
    "collapse_warning",
    "estimate_elbo",
    "importance_weighted",
    "quadrature",
]
