"""How good a model is: bounds, and signs of collapse. Evaluation changes nothing."""

from pyrovae.evaluation.collapse import ACTIVE_VARIANCE, active_units, collapse_warning
from pyrovae.evaluation.elbo import ElboEstimate, estimate_elbo

__all__ = ["ACTIVE_VARIANCE", "ElboEstimate", "active_units", "collapse_warning", "estimate_elbo"]
