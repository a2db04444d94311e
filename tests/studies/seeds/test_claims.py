"""Values, criteria and verdicts."""

import numpy as np
import pytest

from pyrovae.estimates import Estimate
from pyrovae.studies.seeds.claims import above, below, bootstrapped, every, over_seeds, rank_correlation


def test_a_verdict_needs_two_standard_errors() -> None:
    assert above(Estimate(1.0, 0.1), 0.79) == "holds"
    assert above(Estimate(1.0, 0.1), 0.81) == "undecided"
    assert above(Estimate(1.0, 0.1), 1.19) == "undecided"
    assert above(Estimate(1.0, 0.1), 1.21) == "does not hold"
    assert below(Estimate(1.0, 0.1), 1.21) == "holds"
    assert below(Estimate(1.0, 0.1), 0.79) == "does not hold"
    assert above(Estimate(float("nan")), 0) == "undecided"
    assert above(Estimate(0.0), 0) == "does not hold"


def test_several_criteria_must_all_hold() -> None:
    assert every("holds", "holds") == "holds"
    assert every("holds", "undecided") == "undecided"
    assert every("undecided", "does not hold", "holds") == "does not hold"


def test_arithmetic_carries_errors() -> None:
    difference = Estimate(5, 3) - Estimate(2, 4)
    assert (difference.value, difference.error) == (3, 5)
    rng = np.random.default_rng(0)
    ratio = Estimate(4, 0.1) / Estimate(2, 0.02)
    draws = rng.normal(4, 0.1, 100_000) / rng.normal(2, 0.02, 100_000)
    assert ratio.value == 2
    assert ratio.error == pytest.approx(draws.std(), rel=0.02)


@pytest.mark.parametrize(
    ("value", "text"),
    [(Estimate(0.12345, 0.0021), "0.1235 ± 0.0021"), (Estimate(123.4, 12), "123 ± 12"), (Estimate(0.5), "0.5")],
)
def test_values_are_written_with_two_digits_of_their_error(value: Estimate, text: str) -> None:
    assert str(value) == text


def test_percent() -> None:
    assert Estimate(0.985, 0.0012).percent == "98.50 ± 0.12 %"


def test_errors_over_images_and_seeds() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(3, 2, 10_000)
    assert Estimate.mean_of(images).error == pytest.approx(0.02, rel=0.05)
    assert Estimate.mean_of(np.array([1.0, np.nan, 3.0])).value == 2
    again = bootstrapped(lambda index: float(images[index].mean()), len(images), draws=200)
    assert again.error == pytest.approx(0.02, rel=0.2)
    one = over_seeds([Estimate(2.0, 0.3)])
    assert (one.value, one.error) == (2.0, pytest.approx(0.3))
    seeds = over_seeds([Estimate(1.0, 0.1), Estimate(2.0, 0.1), Estimate(3.0, 0.1)])
    assert seeds.value == 2
    assert seeds.error == pytest.approx(np.hypot(1 / np.sqrt(3), 0.1 / np.sqrt(3)))


def test_rank_correlation() -> None:
    assert rank_correlation([0, 1, 10], [3, 4, 100]) == 1
    assert rank_correlation([0, 1, 10], [3, 2, 1]) == -1
    assert np.isnan(rank_correlation([0, 1], [3, 2]))
