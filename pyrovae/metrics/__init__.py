"""Metrics of a model: samples, accuracy of codes, disentanglement, rate and distortion; a report of all numbers."""

from pyrovae.metrics.codes import CodeAccuracy, code_accuracy
from pyrovae.metrics.disentanglement import (
    Factors,
    Importance,
    InformationGap,
    Separation,
    importance,
    information_gap,
    separation,
)
from pyrovae.metrics.rate_distortion import RateDistortion, rate_distortion
from pyrovae.metrics.report import EvaluationBudget, Policy, Report, Row, check_comparable, compare_reports, evaluate
from pyrovae.metrics.samples import SampleQuality, precision_recall, sample_quality, trained_classifier

__all__ = [
    "CodeAccuracy",
    "EvaluationBudget",
    "Factors",
    "Importance",
    "InformationGap",
    "Policy",
    "RateDistortion",
    "Report",
    "Row",
    "SampleQuality",
    "Separation",
    "check_comparable",
    "code_accuracy",
    "compare_reports",
    "evaluate",
    "importance",
    "information_gap",
    "precision_recall",
    "rate_distortion",
    "sample_quality",
    "separation",
    "trained_classifier",
]
