"""The campaigns, short, from a seed that changes with nothing; and long."""

import pytest
from campaigns import files, kills


@pytest.mark.slow
def test_damaged_runs_are_refused_or_mended() -> None:
    report = files.main(seed=2026, cases=12)
    assert not report.failures
    assert report.outcomes["load: refused"] > 2
    assert report.outcomes["resume: the same"] > 2


@pytest.mark.slow
def test_killed_runs_go_on_to_the_same_bits() -> None:
    report = kills.main(seed=2026, cases=2)
    assert not report.failures
    assert report.outcomes["killed"] > 0


@pytest.mark.full
def test_many_damaged_runs() -> None:
    assert not files.main(seed=11, cases=500).failures


@pytest.mark.full
def test_many_killed_runs() -> None:
    assert not kills.main(seed=11, cases=100).failures
