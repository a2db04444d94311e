"""Inference of p(z | x) and log p(x): importance weighting, annealing, quadrature, NUTS, local fits.

Nothing here changes a model.
"""

from pyrovae.inference.annealing import Annealing, BidirectionalBounds, annealed, bidirectional
from pyrovae.inference.classes import (
    ClassPosterior,
    LabelPredictions,
    Reliability,
    classify,
    predict_labels,
    with_predicted_labels,
)
from pyrovae.inference.draws import PosteriorDraws, guide_draws
from pyrovae.inference.elbo import ACTIVE_VARIANCE, ElboEstimate, active_units, estimate_elbo
from pyrovae.inference.grid import GridPosterior, quadrature_posterior
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.imputation import Imputation, impute
from pyrovae.inference.inpainting import Half, Inpainting, Method, half, inpaint
from pyrovae.inference.likelihood import LikelihoodEstimate, check_has_likelihood
from pyrovae.inference.local import LocalPosterior, fit_local
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.inference.pareto import pareto_shape
from pyrovae.inference.quadrature import quadrature
from pyrovae.inference.target import other_codes

__all__ = [
    "ACTIVE_VARIANCE",
    "Annealing",
    "BidirectionalBounds",
    "ClassPosterior",
    "ElboEstimate",
    "GridPosterior",
    "Half",
    "Imputation",
    "Inpainting",
    "LabelPredictions",
    "LikelihoodEstimate",
    "LocalPosterior",
    "Method",
    "PosteriorDraws",
    "Reliability",
    "active_units",
    "annealed",
    "bidirectional",
    "check_has_likelihood",
    "classify",
    "estimate_elbo",
    "fit_local",
    "guide_draws",
    "half",
    "importance_weighted",
    "impute",
    "inpaint",
    "nuts_posterior",
    "other_codes",
    "pareto_shape",
    "predict_labels",
    "quadrature",
    "quadrature_posterior",
    "with_predicted_labels",
]
