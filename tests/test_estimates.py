"""One number, two errors: combined by kind, and printed so that one sees which."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pyrovae.estimates import Estimate, PerImage, crossing


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (
            Estimate(-23.4012, 0.53, 0.0012, "nats per image"),
            "-23.4012 ± 0.0012 (Monte Carlo) ± 0.5300 (sampling) nats per image",
        ),
        (Estimate(-23.4, monte_carlo=0.12), "-23.40 ± 0.12 (Monte Carlo)"),
        (Estimate(0.5, 0.05), "0.500 ± 0.050"),
        (Estimate(0.5), "0.5"),
    ],
)
def test_print_says_which_error_it_is(estimate: Estimate, text: str) -> None:
    assert str(estimate) == text


def test_errors_are_combined_by_kind() -> None:
    difference = Estimate(5.0, 3.0, 0.3) - Estimate(2.0, 4.0)
    assert (difference.value, difference.sampling, difference.monte_carlo) == (3.0, 5.0, 0.3)
    ratio = Estimate(4.0, 0.1) / Estimate(2.0, 0.02)
    assert ratio.sampling == pytest.approx(math.hypot(0.1, 2 * 0.02) / 2)
    assert math.isnan(ratio.monte_carlo)


def test_the_mean_over_images_has_both() -> None:
    found = PerImage(np.array([1.0, 2.0, 3.0]), np.array([0.3, 0.4, 0.0])).mean
    assert found.value == 2
    assert found.monte_carlo == pytest.approx(0.5 / 3)
    assert found.sampling == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(PerImage(np.ones(1), np.zeros(1)).mean.sampling)


@pytest.mark.parametrize("seed", range(20))
def test_bounds_that_cross_within_their_errors_meet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, errors = rng.normal(0, 5), rng.uniform(0.1, 1, 2)
    own = float(np.hypot(*errors))
    for gap, word in (
        (0.5, None),
        (-0.9 * 3 * own, "within their errors: they meet"),
        (-1.1 * 3 * own, "trust neither"),
    ):
        said = crossing(Estimate(low, 9.0, errors[0]), Estimate(low + gap, 9.0, errors[1]))
        assert said is None if word is None else word in said


def test_an_unknown_error_is_left_out() -> None:
    """One image has no sampling error; no sentence says "nan"."""
    alone = Estimate(2.0)
    assert (f"{alone:.1f}", alone.errors, alone.percent) == ("2.0", "", "200 %")
    known = Estimate(2.0, sampling=0.5, monte_carlo=0.25)
    assert (f"{known:.1f}", known.errors) == ("2.0 ± 0.5", " ± 0.25 (Monte Carlo) ± 0.50 (sampling)")
    small = crossing(Estimate(2.003, monte_carlo=0.004), Estimate(2.0, monte_carlo=0.003))
    assert small == "cross by 0.003 ± 0.005, within their errors: they meet"
    said = crossing(Estimate(2.0), Estimate(1.5, monte_carlo=0.001))
    assert said == "cross by 0.5; the error of one of them is not known"


def test_unknown_errors_are_the_same() -> None:
    """Dataclasses take NaN for another number than itself, on Python 3.13 even where it is the same object."""
    one, same = (Estimate(1.0, sampling=float("nan"), monte_carlo=0.5, unit="nats") for _ in range(2))
    assert one == same
    assert len({one, same}) == 1
    for other in (
        replace(one, value=2.0),
        replace(one, sampling=0.5),
        replace(one, monte_carlo=0.4),
        replace(one, unit=""),
    ):
        assert one != other
    assert one != 1.0
