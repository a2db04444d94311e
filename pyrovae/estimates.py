"""A number with its errors, arrays of such numbers, and a number for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number and its errors.

    An unknown error is NaN. Arithmetic of independent estimates combines each kind of error separately.

    >>> print(Estimate(-23.404, sampling=0.203, monte_carlo=0.004) - Estimate(-23.27, sampling=0.208))
    -0.1340 ± 0.0040 (Monte Carlo) ± 0.2906 (sampling)

    Attributes:
        value: The number.
        sampling: Standard error due to the sample of images (or seeds). A plain ± in print means this error. It
            includes the Monte Carlo error.
        monte_carlo: Standard error due to the method's random draws, for the given images.
        unit: Unit, such as "nats per image"; empty for shares and ratios.
    """

    value: float
    sampling: float = math.nan
    monte_carlo: float = math.nan
    unit: str = ""

    @classmethod
    def mean_of(cls, values: np.ndarray, unit: str = "") -> Estimate:
        """Mean over independent values, (n,). Values that are not finite are left out; n < 2 has no known error."""
        finite = np.asarray(values, dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        error = float(finite.std(ddof=1) / math.sqrt(len(finite))) if len(finite) > 1 else math.nan
        return cls(float(finite.mean()) if len(finite) else math.nan, error, unit=unit)

    @classmethod
    def share(cls, share: float, count: int) -> Estimate:
        """A share of `count` independent trials, with its binomial error."""
        return cls(float(share), math.sqrt(share * (1 - share) / count))

    def __eq__(self, other: object) -> bool:
        """Whether numbers and unit are the same, for which one unknown error is like another."""
        return self._comparable == other._comparable if isinstance(other, Estimate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._comparable)

    @property
    def _comparable(self) -> tuple[float | str | None, ...]:
        numbers = (self.value, self.sampling, self.monte_carlo)
        return (*(None if math.isnan(number) else number for number in numbers), self.unit)

    @property
    def error(self) -> float:
        """The larger known error, or 0."""
        known = [error for error in (self.sampling, self.monte_carlo) if not math.isnan(error)]
        return max(known, default=0.0)

    @property
    def is_known(self) -> bool:
        """Whether one of its errors is known."""
        return not (math.isnan(self.sampling) and math.isnan(self.monte_carlo))

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.value + other.value,
            _hypot(self.sampling, other.sampling),
            _hypot(self.monte_carlo, other.monte_carlo),
            self.unit,
        )

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.value - other.value,
            _hypot(self.sampling, other.sampling),
            _hypot(self.monte_carlo, other.monte_carlo),
            self.unit,
        )

    def __truediv__(self, other: Estimate | float) -> Estimate:
        """The ratio, with first-order errors."""
        other = other if isinstance(other, Estimate) else Estimate(other)
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

    def __format__(self, spec: str) -> str:
        """Number and sampling error, each by the format, such as ".1f"; without one, `str`.

        >>> f"{Estimate(2.0, 0.25):.2f}, {Estimate(2.0):.2f}"
        '2.00 ± 0.25, 2.00'
        """
        if not spec:
            return str(self)
        return f"{self.value:{spec}}" + (f" ± {self.sampling:{spec}}" if math.isfinite(self.sampling) else "")

    @property
    def errors(self) -> str:
        """The errors that are known, each with its kind.

        >>> Estimate(2.0, sampling=0.25, monte_carlo=0.0123).errors
        ' ± 0.012 (Monte Carlo) ± 0.25 (sampling)'
        """
        random = f" ± {self.monte_carlo:.2g} (Monte Carlo)" if math.isfinite(self.monte_carlo) else ""
        return random + (f" ± {self.sampling:.2f} (sampling)" if math.isfinite(self.sampling) else "")

    @property
    def percent(self) -> str:
        """The number as a percentage."""
        return f"{Estimate(100 * self.value, 100 * self.sampling, 100 * self.monte_carlo)} %"


def crossing(lower: Estimate, upper: Estimate) -> str | None:
    """What it means that a lower bound lies above an upper one, in a line; None where it does not.

    Both hold on average over their own draws, so they may cross by about their errors, and no further.

    >>> crossing(Estimate(1.0, monte_carlo=0.3), Estimate(2.0, monte_carlo=0.4))
    >>> crossing(Estimate(2.0, monte_carlo=0.3), Estimate(1.5, monte_carlo=0.4))
    'cross by 0.5 ± 0.5, within their errors: they meet'
    """
    over = lower - upper
    if not over.value > 0:
        return None
    if not (lower.is_known and upper.is_known):
        return f"cross by {over.value:.2g}; the error of one of them is not known"
    own = over.error if math.isnan(over.monte_carlo) else over.monte_carlo
    if over.value <= 3 * own:
        return f"cross by {over.value:.2g} ± {own:.2g}, within their errors: they meet"
    return f"cross by {over.value:.2g} ± {own:.2g}, by more than their errors: these are too small, so trust neither"


@dataclass(frozen=True, eq=False)
class Estimates:
    """Numbers of one kind, each with its sampling error.

    Attributes:
        value: The numbers, an array of any shape.
        sampling: Standard error of each, as in `Estimate`, of the same shape; NaN where it is not known.
    """

    value: np.ndarray
    sampling: np.ndarray

    @classmethod
    def mean_of(cls, values: np.ndarray, axis: int) -> Estimates:
        """Means over an axis of independent values."""
        return cls(values.mean(axis), values.std(axis, ddof=1) / np.sqrt(values.shape[axis]))

    @classmethod
    def stack(cls, estimates: Sequence[Estimate]) -> Estimates:
        """Single estimates as one array."""
        return cls(np.array([e.value for e in estimates]), np.array([e.sampling for e in estimates]))

    def at(self, *index: int) -> Estimate:
        """One of the numbers."""
        return Estimate(float(self.value[index]), float(self.sampling[index]))

    def __getitem__(self, index: int | slice) -> Estimates:
        return Estimates(self.value[index], self.sampling[index])

    def __truediv__(self, scale: np.ndarray) -> Estimates:
        return Estimates(self.value / scale, self.sampling / scale)


def jackknife_error(without: np.ndarray) -> float:
    """Standard error of a statistic from its values with one of n equal groups of the sample left out at a time.

    References:
        B. Efron and C. Stein, The Jackknife Estimate of Variance (1981), The Annals of Statistics 9(3).

    Args:
        without: Those values, (n,), n at least 2.
    """
    return float(np.std(without) * math.sqrt(len(without) - 1))


def for_json(result: Any) -> dict[str, Any]:
    """The fields of a result under their names, for JSON.

    Arrays become lists. A number with an error becomes two entries, `name` and `name_error` (its sampling error).

    Args:
        result: A dataclass of numbers, arrays, text and estimates.
    """
    found: dict[str, Any] = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if isinstance(value, Estimate | Estimates):
            found[field.name] = np.asarray(value.value).tolist()
            found[f"{field.name}_error"] = np.asarray(value.sampling).tolist()
        else:
            found[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
    return found


@dataclass(frozen=True, eq=False)
class PerImage:
    """A number of each image, in nats, with its Monte Carlo error.

    Attributes:
        value: The number of each image, (images,).
        error: Its Monte Carlo error, (images,).
    """

    value: np.ndarray
    error: np.ndarray

    def __sub__(self, other: PerImage) -> PerImage:
        """The difference; its errors are those of independent draws, which for common ones are too large."""
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
    """Two errors combined; an unknown one is ignored."""
    if math.isnan(one) or math.isnan(other):
        return other if math.isnan(one) else one
    return math.hypot(one, other)
