"""The true posterior beside the guide's: how they differ and why, and what follows. Inspection changes nothing."""

from pyrovae.inspection.calibration import Calibration, calibrate
from pyrovae.inspection.classes import ClassPosterior, Reliability, classify
from pyrovae.inspection.draws import PosteriorDraws, guide_draws
from pyrovae.inspection.export import MissingArvizError, save_arviz, summary, to_arviz
from pyrovae.inspection.gap import Comparison, Estimate, compare
from pyrovae.inspection.grid import GridPosterior, quadrature_posterior
from pyrovae.inspection.inpainting import Half, Inpainting, Method, half, inpaint
from pyrovae.inspection.local import LocalPosterior, fit_local
from pyrovae.inspection.nuts import nuts_posterior
from pyrovae.inspection.predictive import PredictiveCheck, predictive_check

__all__ = [
    "Calibration",
    "ClassPosterior",
    "Comparison",
    "Estimate",
    "GridPosterior",
    "Half",
    "Inpainting",
    "LocalPosterior",
    "Method",
    "MissingArvizError",
    "PosteriorDraws",
    "PredictiveCheck",
    "Reliability",
    "calibrate",
    "classify",
    "compare",
    "fit_local",
    "guide_draws",
    "half",
    "inpaint",
    "nuts_posterior",
    "predictive_check",
    "quadrature_posterior",
    "save_arviz",
    "summary",
    "to_arviz",
]
