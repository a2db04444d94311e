"""Metrics of a model: quality of samples, accuracy of codes, rate and distortion, and a report of all numbers."""

from pyrovae.metrics.codes import CodeAccuracy, code_accuracy
from pyrovae.metrics.rate_distortion import RateDistortion, rate_distortion
from pyrovae.metrics.report import EvaluationBudget, Policy, Report, Row, check_comparable, compare_reports, evaluate
from pyrovae.metrics.samples import SampleQuality, precision_recall, sample_quality, trained_classifier

__all__ = [
    "CodeAccuracy",
    "EvaluationBudget",
    "Policy",
    "RateDistortion",
    "Report",
    "Row",
    "SampleQuality",
    "check_comparable",
    "code_accuracy",
    "compare_reports",
    "evaluate",
    "precision_recall",
    "rate_distortion",
    "sample_quality",
    "trained_classifier",
]
