"""A compiled function is called past torch's wrappers if they do nothing for it, and through them if they do."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.engine import compat
from pyrovae.engine.shortcut import Shortcut

CPP = {"cpp_wrapper": True}


def compiled(function: Callable[..., Any], *example: Tensor) -> Callable[..., Sequence[Tensor]]:
    graph = make_fx(function)(*(each.clone() for each in example))
    return compat.inductor_compile(graph, list(example), CPP)


def step(x: Tensor, w: Tensor, count: Tensor) -> tuple[Tensor, ...]:
    """Reads, writes, draws, and holds a constant."""
    w.sub_(0.1 * x.sum(0) * torch.tensor([1.0, 2.0, 3.0]))
    count.add_(1)
    return (x @ w).sum(), w * torch.rand(3)


def arguments(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, generator=generator), torch.randn(3, generator=generator), torch.zeros(())]


@pytest.mark.parametrize("seed", range(3))
def test_calls_past_the_wrappers_are_those_through_them(seed: int) -> None:
    """Results, writes, draws and versions, of any tensors, some given twice."""
    plain = compiled(step, *arguments(0))
    short = Shortcut(plain)
    drawn = random.Random(seed)
    one, other = arguments(seed), arguments(seed)
    states = [torch.get_rng_state()] * 2
    for call in range(8):
        if drawn.random() < 0.3:
            fresh = arguments(100 * seed + call)
            one[0], other[0] = fresh[0], fresh[0].clone()
        outcomes = []
        for place, (function, given) in enumerate(((short, one), (plain, other))):
            torch.set_rng_state(states[place])
            before = [tensor._version for tensor in given]
            results = function(*given)
            states[place] = torch.get_rng_state()
            versions = [tensor._version - old for tensor, old in zip(given, before, strict=True)]
            outcomes.append(([*results, *given, states[place]], versions))
        assert all(map(torch.equal, outcomes[0][0], outcomes[1][0]))
        assert outcomes[0][1] == outcomes[1][1] == [0, 1, 1]
        assert short.found == (call >= 1)


def wrapped(layer: str, call: Callable[..., Sequence[Tensor]]) -> Callable[..., Any]:
    """One more layer, which does something."""
    layers: dict[str, Callable[..., Any]] = {
        "arguments are copied": lambda *given: call(*(each.clone() for each in given)),
        "two arguments are exchanged": lambda x, y: call(y, x),
        "results are copied": lambda *given: [each.clone() for each in call(*given)],
        "results are left out": lambda *given: call(*given)[:1],
        "it is called twice": lambda *given: (call(*given), call(*given))[1],
        "versions are counted twice": lambda *given: (given[0].add_(0), given[0].add_(0), call(*given))[2],
    }
    return layers[layer]


@pytest.mark.parametrize(
    "layer",
    [
        "arguments are copied", "two arguments are exchanged", "results are copied", "results are left out",
        "it is called twice", "versions are counted twice",
    ],
)  # fmt: skip
def test_wrappers_that_do_something_stay(layer: str) -> None:
    call = compiled(lambda x, y: (x - y, x * y), torch.ones(3), torch.ones(3))
    plain = wrapped(layer, call)
    short = Shortcut(plain)
    for seed in range(4):
        x, y = torch.randn(3), torch.randn(3)
        assert all(map(torch.equal, short(x.clone(), y.clone()), plain(x.clone(), y.clone()))), seed
    assert not short.found


def test_a_constant_that_changes_keeps_the_wrappers() -> None:
    call = compiled(lambda c, x: (c * x,), torch.ones(3), torch.ones(3))
    constants = iter([torch.full((3,), float(i)) for i in range(9)])
    short = Shortcut(lambda x: call(next(constants), x))
    assert [float(short(torch.ones(3))[0][0]) for _ in range(4)] == [0, 1, 2, 3]
    assert not short.found


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x, x * 2),
        lambda x: (x[1:], x.view(3, 1)),
        lambda x: (x.add_(1), x),
        lambda x: (x.t_() if x.dim() > 1 else x.unsqueeze_(0),),
        lambda x: (torch.ones(3), x.sum()),
    ],
    ids=["an argument", "views", "written", "another shape", "no argument"],
)
def test_functions_whose_results_are_not_only_their_own(function: Callable[..., Any]) -> None:
    """Whatever the wrappers do for them is done."""
    example = torch.arange(3.0)
    try:
        plain = compiled(function, example)
    except Exception:
        pytest.skip("torch compiles no such function")
    short = Shortcut(plain)
    for call in range(4):
        one, other = torch.arange(3.0) + call, torch.arange(3.0) + call
        found, expected = short(one), plain(other)
        assert all(map(torch.equal, found, expected))
        assert torch.equal(one, other)
        assert [t.data_ptr() == one.data_ptr() for t in found] == [t.data_ptr() == other.data_ptr() for t in expected]


def test_arguments_of_another_size_are_refused() -> None:
    """By the code, not by the wrappers; torch 2.8 refuses them nowhere."""
    call = compiled(lambda x: (x * 2,), torch.ones(1000))
    short = Shortcut(call)
    for _ in range(3):
        short(torch.ones(1000))
    assert short.found
    outcomes = []
    for function in (short, call):
        try:
            outcomes.append(bool(function(torch.ones(10))))
        except (RuntimeError, AssertionError):
            outcomes.append(False)
    assert outcomes[0] == outcomes[1]


def test_what_is_not_compiled_is_called_as_it_is() -> None:
    short = Shortcut(lambda x: [x + 1])
    assert [float(short(torch.ones(()))[0]) for _ in range(3)] == [2, 2, 2]
    assert not short.found
