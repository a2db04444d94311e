"""`auto` goes up a tier by counts alone, and stays with Pyro where a graph would not pay."""

import pytest

from pyrovae.engine import checking
from pyrovae.engine.choice import LARGEST_COMPILED, Work, tier_for

SMALL = Work(calls=1_000, operators=300, flops=10**6, elements=10**5)


@pytest.mark.parametrize(
    ("taken", "steps", "engine"),
    [(2, 20, "pyro"), (2, 1_000, "graph"), (2, 100_000, "compiled"), (64, None, "pyro"), (1_024, None, "graph")],
)
def test_length_of_the_run(taken, steps, engine):
    assert tier_for(taken, steps, SMALL, None, None)[0] == engine


def test_a_run_without_a_stated_length_is_compiled_in_the_end():
    taken = 2
    while tier_for(taken, None, SMALL, None, None)[0] != "compiled":
        taken *= 2
    assert taken < 100_000


def test_what_is_lacking_and_what_is_too_large():
    name, reason = tier_for(2, 10**6, SMALL, "no C++ compiler was found", None)
    assert name == "graph"
    assert "no C++ compiler" in reason
    large = Work(calls=100_000, operators=LARGEST_COMPILED + 1, flops=0, elements=0)
    name, reason = tier_for(2, 10**6, large, None, None)
    assert name == "graph"
    assert "minutes to compile" in reason


def test_a_graph_that_would_not_be_faster_is_not_made():
    mostly_operators = Work(calls=10, operators=3_000, flops=10**10, elements=10**8)
    name, reason = tier_for(2, 10**5, mostly_operators, "no compiler", None)
    assert name == "pyro"
    assert "would not be faster" in reason


def test_the_caller_says_when():
    tiers = {"graph": 2, "compiled": 50}
    names = [tier_for(taken, None, None, None, tiers)[0] for taken in (1, 2, 49, 50, 100)]
    assert names == ["pyro", "graph", "graph", "compiled", "compiled"]
    assert tier_for(50, None, None, "no compiler", tiers)[0] == "graph"


def test_when_a_graph_is_compared():
    assert [use for use in range(1, 30) if checking.due(use, 10)] == [1, 2, 4, 8, 10, 20]
    assert [use for use in range(1, 3000) if checking.due(use, 1000)][-3:] == [512, 1000, 2000]
    assert not any(checking.due(use, None) for use in range(1, 100))
