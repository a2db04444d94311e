"""Claims, and how a measurement decides them: values with errors, criteria, verdicts."""

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
"""Standard errors that a value has to be away from a threshold for a verdict."""


@dataclass(frozen=True)
class Claim:
    """What a document says, and what becomes of it.

    Attributes:
        number: Such as "1a".
        source: Which documents say it.
        says: What they say.
        quantity: What decides it.
        criterion: When it holds.
        measured: The values, in words.
        verdict: Whether it holds.
        remark: What else there is to know.
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
    """What a measurement says of a claim.

    Attributes:
        measured: The values, in words.
        verdict: Whether the claim holds.
        values: The values that decided, by name.
        remark: What else there is to know.
    """

    measured: str
    verdict: Verdict
    values: dict[str, Estimate] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class Statement(Generic[Found]):
    """A row of an experiment's table of claims. Its texts may hold fields of the measurement: "β = {found.beta:g}".

    Attributes:
        number: Such as "1a".
        source: Which documents say it.
        says: What they say.
        quantity: What decides it.
        criterion: When it holds.
        decide: From the measurement to the decision.
    """

    number: str
    source: str
    says: str
    quantity: str
    criterion: str
    decide: Callable[[Found], Decision]

    def claim(self, found: Found) -> Claim:
        """The claim as the measurement decides it."""
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
        """The claim where there is nothing to measure."""
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
    """Several criteria, all of which must hold."""
    for verdict in ("does not hold", "undecided"):
        if verdict in verdicts:
            return verdict
    return "holds"


def over_seeds(values: Sequence[Estimate]) -> Estimate:
    """Mean over seeds; its error holds the scatter over seeds and each one's own."""
    k = len(values)
    own = math.sqrt(sum(value.error**2 for value in values)) / k
    means = np.array([value.value for value in values])
    scatter = float(means.std(ddof=1) / math.sqrt(k)) if k > 1 else 0.0
    return Estimate(float(means.mean()), math.hypot(own, scatter))


def bootstrapped(statistic: Callable[[np.ndarray], float], count: int, draws: int = 30, seed: int = 0) -> Estimate:
    """A statistic of `count` images, a function of their indices, and its bootstrap error."""
    rng = np.random.default_rng(seed)
    again = [statistic(rng.integers(0, count, count)) for _ in range(draws)]
    return Estimate(statistic(np.arange(count)), float(np.std(again, ddof=1)))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation, NaN of fewer than three pairs."""
    if len(x) < 3:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)
