"""How good a model is: bounds, likelihoods, and signs of collapse. Evaluation changes nothing."""

from pyrovae.evaluation.annealing import Annealing, BidirectionalBounds, annealed, bidirectional
from pyrovae.evaluation.collapse import ACTIVE_VARIANCE, active_units, collapse_warning
from pyrovae.evaluation.elbo import ElboEstimate, estimate_elbo
from pyrovae.evaluation.information import DensityRatio, KLSplit, density_ratio, split_kl
from pyrovae.evaluation.likelihood import LikelihoodEstimate, check_has_likelihood, importance_weighted
from pyrovae.evaluation.pareto import pareto_shape
from pyrovae.evaluation.quadrature import other_codes, quadrature
from pyrovae.evaluation.quality import (
    CodeAccuracy,
    SampleQuality,
    code_accuracy,
    precision_recall,
    sample_quality,
    trained_judge,
)
from pyrovae.evaluation.report import Budget, Policy, Report, Row, check_comparable, compare, evaluate

__all__ = [
    "ACTIVE_VARIANCE",
    "Annealing",
    "BidirectionalBounds",
    "Budget",
    "CodeAccuracy",
    "DensityRatio",
    "ElboEstimate",
    "KLSplit",
    "LikelihoodEstimate",
    "Policy",
    "Report",
    "Row",
    "SampleQuality",
    "active_units",
    "annealed",
    "bidirectional",
    "check_comparable",
    "check_has_likelihood",
    "code_accuracy",
    "collapse_warning",
    "compare",
    "density_ratio",
    "estimate_elbo",
    "evaluate",
    "importance_weighted",
    "other_codes",
    "pareto_shape",
    "precision_recall",
    "quadrature",
    "sample_quality",
    "split_kl",
    "trained_judge",
]
