"""One type for a number and its errors, and one for such a number of each image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number and how far off it may be.

    An error that is NaN is not known. Of two independent estimates each kind of error is combined by itself.

    >>> print(Estimate(-23.404, sampling=0.203, monte_carlo=0.004) - Estimate(-23.27, sampling=0.208))
    -0.1340 ± 0.0040 (Monte Carlo) ± 0.2906 (sampling)

    Attributes:
        value: The number.
        sampling: Standard error as an estimate for all images (or seeds) of which these are a sample. It is what a
            plain ± means in print. Where it is known it holds the Monte Carlo error too.
        monte_carlo: Standard error that comes from the method's own draws: of the number of these very images.
        unit: Such as "nats per image"; empty for shares and ratios.
    """

    value: float
    sampling: float = math.nan
    monte_carlo: float = math.nan
    unit: str = ""

    @classmethod
    def mean_of(cls, values: np.ndarray, unit: str = "") -> Estimate:
        """Mean over independent values, (n,), those that are not finite left out; the error is not known for n < 2."""
        finite = np.asarray(values, dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        error = float(finite.std(ddof=1) / math.sqrt(len(finite))) if len(finite) > 1 else math.nan
        return cls(float(finite.mean()) if len(finite) else math.nan, error, unit=unit)

    @classmethod
    def share(cls, share: float, count: int) -> Estimate:
        """A share of so many independent trials, with its binomial error."""
        return cls(float(share), math.sqrt(share * (1 - share) / count))

    @property
    def error(self) -> float:
        """The largest error that is known, 0 if none is."""
        known = [error for error in (self.sampling, self.monte_carlo) if not math.isnan(error)]
        return max(known, default=0.0)

    @property
    def is_known(self) -> bool:
        """Whether any of its errors is."""
        return not (math.isnan(self.sampling) and math.isnan(self.monte_carlo))

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.value - other.value,
            _hypot(self.sampling, other.sampling),
            _hypot(self.monte_carlo, other.monte_carlo),
            self.unit,
        )

    def __truediv__(self, other: Estimate) -> Estimate:
        """The ratio, its errors to first order."""
        ratio = self.value / other.value
        sampling, monte_carlo = (
            _hypot(one, ratio * another) / abs(other.value)
            for one, another in ((self.sampling, other.sampling), (self.monte_carlo, other.monte_carlo))
        )
        return Estimate(ratio, sampling, monte_carlo)

    def __str__(self) -> str:
        known = [error for error in (self.sampling, self.monte_carlo) if error and math.isfinite(error)]
        if not known:
            number = f"{self.value:.3g}"
        else:
            digits = max(0, min(6, 1 - math.floor(math.log10(min(known)))))
            number = f"{self.value:.{digits}f}"
            if self.monte_carlo in known:
                number += f" ± {self.monte_carlo:.{digits}f} (Monte Carlo)"
            if self.sampling in known:
                number += f" ± {self.sampling:.{digits}f}" + (" (sampling)" if self.monte_carlo in known else "")
        return f"{number} {self.unit}".rstrip()

    @property
    def percent(self) -> str:
        """The number as a percentage."""
        return f"{Estimate(100 * self.value, 100 * self.sampling, 100 * self.monte_carlo)} %"


def crossing(lower: Estimate, upper: Estimate) -> str | None:
    """What it means that a lower bound lies above an upper one, in a line; None where it does not.

    Both hold on average over their own draws, so they may cross by about their errors, and no further.

    >>> crossing(Estimate(1.0, monte_carlo=0.3), Estimate(2.0, monte_carlo=0.4))
    >>> crossing(Estimate(2.0, monte_carlo=0.3), Estimate(1.5, monte_carlo=0.4))
    'cross by 0.50 ± 0.50, within their errors: they meet'
    """
    over = lower - upper
    if not over.value > 0:
        return None
    own = over.error if math.isnan(over.monte_carlo) else over.monte_carlo
    if over.value <= 3 * own:
        return f"cross by {over.value:.2f} ± {own:.2f}, within their errors: they meet"
    return f"cross by {over.value:.2g} ± {own:.2g}, by more than their errors: these are too small, so trust neither"


@dataclass(frozen=True, eq=False)
class PerImage:
    """A number of each image with the Monte Carlo error of each, in nats.

    Attributes:
        value: One for each image, (images,).
        error: Standard error of each that comes from the method, (images,).
    """

    value: np.ndarray
    error: np.ndarray

    def __sub__(self, other: PerImage) -> PerImage:
        return PerImage(self.value - other.value, np.hypot(self.error, other.error))

    @property
    def mean(self) -> Estimate:
        """Mean over the images."""
        n = len(self.value)
        return Estimate(
            float(self.value.mean()),
            float(self.value.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
            mean_error(self.error),
            "nats per image",
        )


def mean_error(errors: np.ndarray) -> float:
    """Standard error of the mean of independent estimates with these errors, (n,)."""
    return float(np.sqrt(np.square(errors).sum()) / len(errors))


def _hypot(one: float, other: float) -> float:
    """Of two errors, of which one may not be known."""
    if math.isnan(one) or math.isnan(other):
        return other if math.isnan(one) else one
    return math.hypot(one, other)
