"""What the compiled engine computes in other words is what torch computes."""

import math
import os
import subprocess
import sys

import pytest
import scipy.special
import torch
from torch.testing import assert_close

from pyrovae.engine import compile_function, rewriting
from pyrovae.engine.rewriting import WORTHWHILE, digamma, joined, log_gamma, stacked

REWRITTEN = pytest.mark.parametrize(
    ("ours", "torchs", "exact"),
    [(log_gamma, torch.lgamma, scipy.special.gammaln), (digamma, torch.digamma, scipy.special.digamma)],
    ids=["log_gamma", "digamma"],
)
POSITIVE = torch.cat(
    [
        torch.logspace(-30, 30, 100_001, dtype=torch.float64),
        torch.linspace(1e-3, 20, 100_001, dtype=torch.float64),
        1 + torch.linspace(-1e-3, 1e-3, 2001, dtype=torch.float64),  # around the zeros of log Gamma
        2 + torch.linspace(-1e-3, 1e-3, 2001, dtype=torch.float64),
        torch.arange(1, 1000, dtype=torch.float64),
    ]
).float()
NEGATIVE = -torch.cat([torch.logspace(-30, 5, 100_001), torch.linspace(1e-3, 30, 100_001)])
POLES = torch.tensor([0.0, -0.0, -1.0, -2.0, -3.0, -1e7, -1e20])
EXTREME = torch.tensor([math.inf, -math.inf, math.nan, 1e35, 3e38, 1e-36, -1e-36])


def error(found, exact, x):
    """Absolute where the value is below 1, relative where it is above."""
    true = torch.from_numpy(exact(x.double().numpy()))
    return float(((found.double() - true).abs() / true.abs().clamp(min=1)).max())


@REWRITTEN
def test_values(ours, torchs, exact):
    assert error(ours(POSITIVE), exact, POSITIVE) < 8 * torch.finfo(torch.float32).eps
    between = NEGATIVE[NEGATIVE.round() != NEGATIVE]
    assert len(between) > 190_000
    assert error(ours(between), exact, between) < 24 * torch.finfo(torch.float32).eps
    assert_close(ours(POLES), torchs(POLES), rtol=0, atol=0, equal_nan=True)
    assert_close(ours(EXTREME), torchs(EXTREME), equal_nan=True)


@REWRITTEN
def test_other_types_are_left_to_torch(ours, torchs, exact):
    for x in (torch.tensor([0.3, 1.0, -2.5, 1e40], dtype=torch.float64), torch.tensor([0.5, 3.0]).half()):
        assert_close(ours(x), torchs(x), rtol=0, atol=0)


def test_slope():
    """The derivative of the one is the other."""
    x = torch.cat([torch.linspace(0.01, 30, 5001), -torch.linspace(0.1, 5, 1001)])
    x = x[(x - x.round()).abs() > 0.02].requires_grad_()
    (slope,) = torch.autograd.grad(log_gamma(x).sum(), x)
    assert_close(slope, torch.digamma(x.detach()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (3, 1, 2, 4, 5), (3, 2, 4, 5), (3, 4)])
def test_joined_and_stacked(shape):
    a, b, c = (torch.randn(shape) for _ in range(3))
    for dim in range(-len(shape), len(shape)):
        assert_close(joined([a, b, c], dim), torch.cat([a, b, c], dim), rtol=0, atol=0)
        assert_close(stacked([a, b, c], dim), torch.stack([a, b, c], dim), rtol=0, atol=0)
    longer = torch.randn(7, *shape[1:])
    assert_close(joined([a, longer]), torch.cat([a, longer]), rtol=0, atol=0)


@pytest.mark.slow
def test_compiled_functions_and_gradients():
    def values_and_slopes(x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = torch.lgamma(x)
            return value, torch.autograd.grad(value.sum(), x)[0]

    x = torch.cat([POSITIVE[::5], NEGATIVE[::5]])
    x = x[(x - x.round()).abs() > 0.01]
    assert len(x) > WORTHWHILE
    found, slopes = compile_function(values_and_slopes)(x)
    value, slope = values_and_slopes(x)
    assert_close(found, value, rtol=5e-6, atol=5e-6)
    assert_close(slopes, slope, rtol=5e-6, atol=5e-6)
    assert not torch.equal(found, value)  # it was rewritten


def _factors(case, dtype=torch.float32):
    """Two matrices, or batches of them, of generated sizes, as views of all kinds, and a bias or none."""
    numbers = torch.Generator().manual_seed(case)

    def upto(most):
        return int(torch.randint(1, most + 1, (), generator=numbers))

    def matrix(rows, columns):
        kind, batched = upto(4), batch or 1
        if kind == 1:
            x = torch.randn(batched, rows, columns, generator=numbers)
        elif kind == 2:
            x = torch.randn(batched, columns, rows, generator=numbers).mT
        elif kind == 3:  # neither direction lies together
            x = torch.randn(batched, 2 * rows, 3 * columns, generator=numbers)[:, ::2, 1::3]
        else:  # part of a larger one
            x = torch.randn(batched, rows + 5, columns + 3, generator=numbers)[:, 2:-3, 3:]
        x = x.to(dtype)
        return x if batch else x[0]

    batch = upto(4) if case % 3 == 0 else 0
    m, n, k = (upto(130) if case % 2 else upto(40) for _ in range(3))
    k += 600 * (case % 7 == 0)  # more than one block
    return matrix(m, k), matrix(k, n), torch.randn(n, generator=numbers).to(dtype) if case % 5 < 3 else None


def _products(*factors):
    return tuple(a @ b if bias is None else a @ b + bias for a, b, bias in zip(*[iter(factors)] * 3, strict=True))


def _layers(x, w, v, bias):
    """Two products forward, one of them with a bias, those of their gradients, and sums with other factors."""
    h = torch.addmm(bias, x, w.t())
    y = h @ v
    return y, y @ v.t(), h.t() @ y, torch.addmm(bias, x, w.t(), alpha=2), torch.addmm(h, x, w.t()), y[:0] @ v.t()


needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="the products of the engine need AVX-512"
)


@pytest.fixture
def slow_products(monkeypatch, tmp_path):
    """torch's products count as slow, and no graph comes from the disk."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(rewriting, "slow_float32_products", lambda: True)
    taken = []
    product = rewriting.fast_product()
    monkeypatch.setattr(rewriting, "fast_product", lambda: lambda *given: taken.append(given) or product(*given))
    return taken


@needs_avx512
def test_generated_products(slow_products):
    cases = [_factors(case) for case in range(40)]
    given = [x for case in cases for x in case]
    tensors = [x for x in given if x is not None]

    def products(*tensors):
        left = iter(tensors)
        return _products(*(None if x is None else next(left) for x in given))

    run = compile_function(products)
    torch.set_num_threads(before := torch.get_num_threads())
    found = run(*tensors)
    assert slow_products
    assert len(slow_products) % len(cases) == 0  # Inductor traces more than once
    exact = _products(*(None if x is None else x.double() for x in given))
    for ours, truth in zip(found, exact, strict=True):
        assert_close(ours.double(), truth, rtol=0, atol=float(3e-6 * truth.abs().max()))
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        assert all(map(torch.equal, run(*tensors), found))  # whatever the number of threads
    finally:
        torch.set_num_threads(before)


@needs_avx512
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_layers(dtype, slow_products):
    x, w, v, bias = (torch.randn(*s, dtype=dtype) for s in ((64, 150), (130, 150), (130, 170), (130,)))
    found = compile_function(_layers)(x, w, v, bias)
    assert bool(slow_products) == (dtype == torch.float32)
    assert len(slow_products) % 5 == 0
    for ours, torchs in zip(found, _layers(x, w, v, bias), strict=True):
        assert_close(ours, torchs, rtol=0, atol=1e-6 * float(torchs.abs().max()) if torchs.numel() else 0)


@needs_avx512
def test_products_spread_what_is_not_finite(slow_products):
    x, w = torch.randn(20, 150), torch.randn(150, 37)
    x[3, 5], w[7, 11] = math.nan, math.inf
    (found,) = compile_function(lambda a, b: (a @ b,))(x, w)
    assert_close(found, x @ w, rtol=1e-4, atol=1e-3, equal_nan=True)


def test_compilation_says_nothing(tmp_path):
    """In a process of its own: loggers and warnings of torch go where pytest does not look."""
    program = (
        "import torch; from pyrovae.engine import compile_function\n"
        "a, b = torch.eye(3) * 2, torch.ones(3, 2)\n"
        "solve = compile_function(lambda a, b: (torch.linalg.solve_triangular(a, b, upper=False),))\n"
        "print(float(solve(a, b)[0].sum()))"
    )
    surroundings = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=surroundings, check=True, timeout=300
    )
    assert (done.stdout.strip(), done.stderr) == ("3.0", "")
