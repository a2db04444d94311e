"""Diagnostics of a model and its guide: the inference gap, calibration, predictive checks, the parts of the KL."""

from pyrovae.diagnostics.calibration import Calibration, calibrate
from pyrovae.diagnostics.collapse import collapse_warning
from pyrovae.diagnostics.export import MissingArvizError, save_arviz, summary, to_arviz
from pyrovae.diagnostics.gap import Comparison, compare
from pyrovae.diagnostics.information import DensityRatio, KLSplit, density_ratio, split_kl
from pyrovae.diagnostics.predictive import PredictiveCheck, predictive_check

__all__ = [
    "Calibration",
    "Comparison",
    "DensityRatio",
    "KLSplit",
    "MissingArvizError",
    "PredictiveCheck",
    "calibrate",
    "collapse_warning",
    "compare",
    "density_ratio",
    "predictive_check",
    "save_arviz",
    "split_kl",
    "summary",
    "to_arviz",
]
