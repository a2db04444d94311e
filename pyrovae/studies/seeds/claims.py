"""Claims and their decisions: tables of statements, criteria on values with errors, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import numpy as np

from pyrovae.estimates import Estimate

Verdict = Literal["holds", "does not hold", "undecided", "skipped"]
Found = TypeVar("Found")

SIGNIFICANT = 2.0
"""Minimum distance of a value from a threshold for a verdict, in standard errors."""


@dataclass(frozen=True)
class Claim:
    """A claim of a document and its decision.

    Attributes:
        number: Number, such as "1a".
        source: The documents that make it.
        says: The claim.
        quantity: The quantity that decides it.
        criterion: The criterion by which it holds.
        measured: The measured values, in words.
        verdict: Whether it holds.
        remark: A remark.
        values: The values that decided, by name.
    """

    number: str
    source: str
    says: str
    quantity: str
    criterion: str
    measured: str
    verdict: Verdict
    remark: str = ""
    values: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The decision of a measurement on a claim.

    Attributes:
        measured: The measured values, in words.
        verdict: Whether the claim holds.
        values: The values that decided, by name.
        remark: A remark.
    """

    measured: str
    verdict: Verdict
    values: dict[str, Estimate] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class Statement(Generic[Found]):
    """A row of an experiment's table of claims.

    Its texts may contain fields of the measurement, such as "β = {found.beta:g}".

    Attributes:
        number: Number, such as "1a".
        source: The documents that make the claim.
        says: The claim.
        quantity: The quantity that decides it.
        criterion: The criterion by which it holds.
        decide: Function from the measurement to the decision.
    """

    number: str
    source: str
    says: str
    quantity: str
    criterion: str
    decide: Callable[[Found], Decision]

    def claim(self, found: Found) -> Claim:
        """The claim, decided by a measurement."""
        says, quantity, criterion = (text.format(found=found) for text in (self.says, self.quantity, self.criterion))
        decision = self.decide(found)
        return Claim(
            self.number,
            self.source,
            says,
            quantity,
            criterion,
            decision.measured,
            decision.verdict,
            decision.remark,
            decision.values,
        )

    def skipped(self, reason: str) -> Claim:
        """The claim without a measurement."""
        return Claim(self.number, self.source, self.says, "–", "–", measured="–", verdict="skipped", remark=reason)


def above(value: Estimate, threshold: float) -> Verdict:
    """Whether a value is above a threshold, undecided within `SIGNIFICANT` standard errors of it."""
    if math.isnan(value.value):
        return "undecided"
    if value.value - SIGNIFICANT * value.error > threshold:
        return "holds"
    return "does not hold" if value.value + SIGNIFICANT * value.error <= threshold else "undecided"


def below(value: Estimate, threshold: float) -> Verdict:
    """Whether a value is below a threshold, undecided within `SIGNIFICANT` standard errors of it."""
    return above(Estimate(-value.value, value.error), -threshold)


def every(*verdicts: Verdict) -> Verdict:
    """The verdict on criteria that must all hold."""
    for verdict in ("does not hold", "undecided"):
        if verdict in verdicts:
            return verdict
    return "holds"


def over_seeds(values: Sequence[Estimate]) -> Estimate:
    """Mean over seeds. Its error combines the scatter over seeds and the error of each."""
    k = len(values)
    own = math.sqrt(sum(value.error**2 for value in values)) / k
    means = np.array([value.value for value in values])
    scatter = float(means.std(ddof=1) / math.sqrt(k)) if k > 1 else 0.0
    return Estimate(float(means.mean()), math.hypot(own, scatter))


def bootstrapped(statistic: Callable[[np.ndarray], float], count: int, draws: int = 30, seed: int = 0) -> Estimate:
    """A statistic of `count` images, given as a function of their indices, with its bootstrap error."""
    rng = np.random.default_rng(seed)
    again = [statistic(rng.integers(0, count, count)) for _ in range(draws)]
    return Estimate(statistic(np.arange(count)), float(np.std(again, ddof=1)))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation; NaN for fewer than three pairs."""
    if len(x) < 3:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)
