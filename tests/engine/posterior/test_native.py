"""The density in C: every operator against torch, generated programs, models, and the ways back to Python."""

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_models import EFFECTS, ERRORS, Conjugate, centred_schools, needs_nutpie, schools

from pyrovae.engine.posterior import nuts, samplers
from pyrovae.engine.posterior.chains import can_fork
from pyrovae.engine.posterior.density import density_of
from pyrovae.engine.posterior.graphs import trace_vector
from pyrovae.engine.posterior.native import NativeCall, UnsupportedError, check_native, library, native_call
from pyrovae.engine.posterior.native.elements import ELEMENTS
from pyrovae.engine.posterior.sampling import compiled_density

SIZE = 12


def with_gradient(function):
    """A function of a vector as a density is: value and gradient of a weighted sum of what it returns."""

    def both(u):
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            found = function(u).double()
            value = (found * torch.linspace(0.3, 1.7, found.numel()).double().reshape(found.shape)).sum() + 0 * u.sum()
            (gradient,) = torch.autograd.grad(value, u)
        return value.detach(), gradient

    return both


def check(function, points=4, low=-1.5, high=1.5):
    """C and torch agree near and far."""
    graph = trace_vector(with_gradient(function), torch.linspace(low + 0.1, high - 0.2, SIZE, dtype=torch.float64))
    call = native_call(graph, SIZE)
    for seed in range(points):
        u = torch.from_numpy(np.random.default_rng(seed).uniform(low, high, SIZE))
        for found, expected in zip(call(u), graph(u), strict=True):
            assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12, equal_nan=True)


MATRIX = torch.linspace(-1, 2, 60, dtype=torch.float64).sin().reshape(5, 12)
PLACES = torch.tensor([3, 0, -1, 3, 7])

torch.manual_seed(0)
LAYERS = torch.nn.Sequential(
    torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.GELU(), torch.nn.BatchNorm1d(6), torch.nn.LeakyReLU(0.1),
    torch.nn.Linear(6, 3, bias=False), torch.nn.ELU(), torch.nn.Hardtanh(), torch.nn.Linear(3, 2),
).double().eval().requires_grad_(False)  # fmt: skip


def assigned(u):
    found = torch.zeros(3, 5, dtype=torch.float64)
    found[:, 1:] = u.reshape(3, 4)
    found[0, :2] = u[3]
    found[:, 4] += 2 * u[:3]
    return found.cumsum(1)


def positive(u):
    factor = u.reshape(3, 4)
    return factor @ factor.T + 2 * torch.eye(3, dtype=torch.float64)


CASES = {
    "arithmetic": lambda u: (u + 2) * (u - 1) / (u * u + 3) - 2 / (u.abs() + 1) + (3 - u).reciprocal(),
    "powers": lambda u: u**2 + u**3 + u.abs() ** 1.7 + 2.0**u + u.abs() ** 0.5 + (u.abs() + 1) ** -2,
    "exponentials": lambda u: u.exp() + u.expm1() + (u + 2).log() + (u + 2).log1p() + u.abs().sqrt() + u.abs().rsqrt(),
    "angles": lambda u: u.sin() + u.cos() + u.tanh() + u.atan() + (u / 2).asin() + torch.atan2(u, u + 3) + u.sinh(),
    "special": lambda u: u.erf() + u.sigmoid() + (u + 2).lgamma() + (u - 0.3).erfc() + torch.special.xlogy(u, u + 2),
    "choices": lambda u: torch.where(u > 0.2, u.exp(), -u) + u.clamp(-0.5, 0.7) + u.clamp(min=0.1) + u.relu(),
    "truths": lambda u: u * ((u > 0) & ~(u > 1) | (u == 0.5)).double() + u.sign() + (u > 0).sum() * u,
    "extremes": lambda u: torch.maximum(u, u.flip(0)) + u.reshape(3, 4).amax(1).sum() + u.min(),
    "logarithms of sums": lambda u: torch.logsumexp(u.reshape(3, 4), 1) + torch.softmax(u, 0).sum(),
    "softmax": lambda u: torch.log_softmax(u.reshape(4, 3), 1) * torch.softmax(u.reshape(4, 3), 0),
    "sums": lambda u: u.reshape(3, 4).sum(0) + u.reshape(3, 4).mean(1).sum() + (u.reshape(3, 2, 2) ** 2).sum((0, 2))[0],
    "products": lambda u: u.reshape(3, 4).prod(1) + u.prod(),
    "running": lambda u: u.reshape(3, 4).cumsum(1) + u.sigmoid().reshape(3, 4).cumprod(0),
    "views": lambda u: u.reshape(3, 4).T[1:, ::2] + u.reshape(3, 4)[:2, 1:].T.reshape(-1)[:2] + u[::-1 if 0 else 2][:2],
    "shapes": lambda u: u.reshape(3, 4).permute(1, 0).reshape(2, 6)[:, None].expand(2, 3, 6) * u[:6],
    "joins": lambda u: torch.cat([u, u[2:5] * 2, u.exp()]) * torch.stack([u[:3], u[3:6]]).sum(),
    "pads": lambda u: torch.nn.functional.pad(u.reshape(3, 4), (1, -1, 0, 2), value=0.5),
    "splits": lambda u: sum(part.prod() for part in u.split([5, 3, 4])) + u.reshape(3, 4).unbind(1)[2],
    "diagonals": lambda u: u[:9].reshape(3, 3).diagonal() + torch.diag_embed(u[:3])[0] + u.reshape(4, 3).tril()[1],
    "indices": lambda u: u[PLACES] * u.exp()[PLACES] + u.reshape(3, 4)[PLACES % 3, torch.tensor([1])],
    "rows by index": lambda u: u.reshape(6, 2)[PLACES % 6].exp(),
    "gather": lambda u: u.reshape(3, 4).gather(1, torch.tensor([[0, 3], [1, 1], [2, 0]])),
    "scatters": lambda u: (u[:9] * 0).index_add(0, PLACES % 9, u[:5]).scatter_add(0, PLACES % 9, u[5:10]),
    "vectors": lambda u: (MATRIX @ u).exp() + MATRIX.T[:5] @ u[:5],
    "matrices": lambda u: u.reshape(3, 4) @ MATRIX[:4] @ MATRIX.T + (u[:5] @ MATRIX).sum(),
    "batches": lambda u: torch.bmm(u.reshape(2, 2, 3), MATRIX[:, :12].reshape(2, 3, 10).sin()),
    "factors": lambda u: torch.linalg.cholesky(positive(u)),
    "triangles": lambda u: torch.linalg.solve_triangular(torch.linalg.cholesky(positive(u)), MATRIX[:3], upper=False),
    "triangles from the right": lambda u: torch.linalg.solve_triangular(
        torch.linalg.cholesky(positive(u)), MATRIX.T[:, :3], upper=False, left=False
    ),
    "in place": lambda u: u.clone().mul_(2).add_(u).masked_fill_(u > 0.5, 3.0),
    "types": lambda u: (u * 3).long().double() * u + (u > 0).long().sum() * u + u.float().double() * 0,
    "masks": lambda u: u.reshape(3, 4)[:, torch.tensor([True, False, True, True])] + u[MATRIX[0] > 0.3].sum(),
    "places between others": lambda u: u.reshape(2, 3, 2)[:, torch.tensor([2, 0, -1, 1]), :].exp(),
    "drawn places": lambda u: u.reshape(3, 4).gather(1, (u[:3] > 0).long()[:, None]) + u[((u > 0.5).long() - 1)],
    "scattered": lambda u: (u * 0).scatter(0, PLACES % 12, u[:5].exp()).scatter(0, (u[:1] > 0).long() + 10, u[:1]),
    "layers": lambda u: LAYERS(u.reshape(3, 4)) + torch.nn.functional.embedding(PLACES[:3] % 3, u.reshape(3, 4))[:, :2],
    "statistics": lambda u: u.reshape(3, 4).var(1) + u.std() + torch.var_mean(u.reshape(3, 4), 0, correction=0)[0][0],
    "systems by factors": lambda u: torch.cholesky_solve(MATRIX[:3, :2], torch.linalg.cholesky(positive(u)))
    + torch.cholesky_inverse(torch.linalg.cholesky(positive(u)))[:, :2],
    "whole numbers": lambda u: u * (torch.arange(12) * 0.1 + 1) / (torch.arange(12) + 3),
    "assigned": lambda u: assigned(u),
    "one number": lambda u: u[3].exp() * u[4] + u[0],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators_are_those_of_torch(name):
    check(CASES[name])


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-300, -1e300, 80.0, np.inf, -np.inf, np.nan]


def test_elements_are_right_at_zeros_infinities_and_where_there_is_no_number():
    names = sorted(set(ELEMENTS) - {"where", "addcmul", "addcdiv", "logical_not"})
    special = torch.tensor(SPECIAL, dtype=torch.float64)
    pairs = torch.cartesian_prod(special, special)

    def both(u):
        found = []
        for name, ones in zip(names, u.reshape(len(names), -1), strict=True):  # at ones, the pairs
            operands = (ones * pairs[:, 0], ones * pairs[:, 1])[: 2 if "{1}" in ELEMENTS[name] else 1]
            if name.startswith("logical"):
                operands = tuple(operand > 0 for operand in operands)
            found.append(getattr(torch.ops.aten, name)(*operands).double())
        return torch.zeros((), dtype=torch.float64), torch.cat(found)

    ones = torch.ones(len(names) * len(pairs), dtype=torch.float64)
    graph = trace_vector(both, ones)
    found, expected = (call(ones)[1].reshape(len(names), -1) for call in (native_call(graph, len(ones)), graph))
    close = torch.isclose(found, expected, rtol=1e-10, atol=1e-300, equal_nan=True)
    close |= torch.tensor([name in ("fmod", "remainder") for name in names])[:, None] & (pairs.abs() > 1e299).any(1)
    wrong = [(names[n], *pairs[i].tolist(), float(found[n, i]), float(expected[n, i])) for n, i in (~close).nonzero()]
    assert wrong == []


STEPS = {
    "square": lambda a, b: a.square() / 4, "sigmoid": lambda a, b: a.sigmoid(), "tanh": lambda a, b: (a + b).tanh(),
    "product": lambda a, b: a * b, "mean": lambda a, b: a.mean(-1, True) + b, "exp": lambda a, b: a.tanh().exp(),
    "transpose": lambda a, b: a.transpose(-1, -2) + b, "matmul": lambda a, b: (a @ b).tanh(),
    "row": lambda a, b: a[..., :1, :] * b, "where": lambda a, b: torch.where(a > b, a, b * 0.5),
    "sum": lambda a, b: (a.sum(0) - b.sum(-1, keepdim=True)).sin(), "lse": lambda a, b: torch.logsumexp(a, 0) - b,
    "flip": lambda a, b: a.flip(1) - b.cumsum(0), "cat": lambda a, b: torch.cat([a[:1], b[1:]]),
    "index": lambda a, b: a[torch.tensor([1, 1, 0])] + b, "softplus": lambda a, b: torch.nn.functional.softplus(a),
    "in place": lambda a, b: a.clone().add_(b), "diagonal": lambda a, b: a * b.diagonal(),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_generated_programs_agree(seed):
    numbers = random.Random(seed)
    steps = [(numbers.choice(sorted(STEPS)), numbers.random(), numbers.random()) for _ in range(10)]

    def program(u):
        values = [u[:9].reshape(3, 3), u[3:].reshape(3, 3)]
        for name, one, two in steps:
            a, b = values[int(one * len(values))], values[int(two * len(values))]
            values.append(STEPS[name](a, b))
        return values[-1] + values[-2]

    check(program, points=2)


# ---- models


@pytest.mark.parametrize(
    ("model", "args"), [(schools, (EFFECTS, ERRORS)), (centred_schools, (EFFECTS, ERRORS)), (Conjugate(), ())]
)
def test_models_are_c_and_agree_with_pyro(model, args):
    density = density_of(model, args, {})
    call = compiled_density(density, "compiled", 1000)
    assert isinstance(call, NativeCall)
    u = torch.from_numpy(np.random.default_rng(3).uniform(-1, 1, density.size))
    for found, expected in zip(call(u), density.with_gradient(u), strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


def short(**settings):
    settings = {"draws": 150, "tune": 150, "chains": 3, "engine": "compiled", "progress": False} | settings
    return nuts(schools, (EFFECTS, ERRORS), **settings)


@needs_nutpie
def test_the_same_seed_gives_the_same_bits_in_one_thread_or_several():
    alone, beside, again = short(cores=1), short(cores=3), short(cores=2)
    assert alone["posterior"].attrs["density"] == "C"
    assert alone["posterior"].equals(beside["posterior"])
    assert beside["posterior"].equals(again["posterior"])
    assert alone["sample_stats"].equals(beside["sample_stats"])
    assert not alone["posterior"].equals(short(seed=1)["posterior"])
    chains = alone["posterior"]["mu"].values
    assert not np.array_equal(chains[0], chains[1])


@needs_nutpie
def test_nutpie_calls_the_function_in_c():
    call = compiled_density(density_of(schools, (EFFECTS, ERRORS), {}), "compiled", 1000)
    assert samplers.calls_c(call)


@needs_nutpie
@pytest.mark.skipif(not can_fork(), reason="chains run one after the other here")
def test_chains_of_a_nutpie_that_calls_python_share_no_workspace(monkeypatch):
    """Python's calls of a C function let other threads run, which would write into the same numbers."""
    expected = short(cores=1)["posterior"]

    def other(call, start):
        raise TypeError("CompiledPyMCModel.__init__() missing 1 required positional argument")

    monkeypatch.setattr(samplers, "_native_model", other)
    for cores in (1, 2, 3):
        assert np.allclose(short(cores=cores)["posterior"]["mu"], expected["mu"], rtol=1e-9), cores


@needs_nutpie
def test_a_workspace_belongs_to_one_caller():
    density = density_of(schools, (EFFECTS, ERRORS), {})
    call = compiled_density(density, "compiled", 1000)
    other = NativeCall(call.native)
    other(torch.zeros(density.size, dtype=torch.float64))
    assert list(other.counts) == [1, 0]
    assert not {int(a) for a in call.table[:2]} & {int(a) for a in other.table[:2]}


# ---- ways back to Python


def no_kernel(u):
    return torch.linalg.eigvalsh(u[:9].reshape(3, 3) + u[:9].reshape(3, 3).T)


def test_an_operator_without_a_kernel_is_named():
    with pytest.raises(UnsupportedError, match="eigh"):
        check(no_kernel)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("_compiler", lambda: ["false"], "C compiler failed"),
        ("shutil.which", lambda name: None, "no C compiler"),
        ("FLAGS", ["--no-such-flag"], "C compiler failed"),
    ],
)
def test_without_a_compiler_python_goes_on(name, value, reason, monkeypatch):
    library._library.cache_clear()
    monkeypatch.setattr(f"pyrovae.engine.posterior.native.library.{name}", value)
    graph = trace_vector(with_gradient(lambda u: u.sin()), torch.zeros(SIZE, dtype=torch.float64))
    with pytest.raises(UnsupportedError, match=reason):
        native_call(graph, SIZE)


def test_a_function_that_disagrees_is_not_used():
    graph = trace_vector(with_gradient(lambda u: u.sin()), torch.zeros(SIZE, dtype=torch.float64))
    other = trace_vector(with_gradient(lambda u: u.sin() * (1 + 1e-8)), torch.zeros(SIZE, dtype=torch.float64))
    check_native(native_call(graph, SIZE), graph)
    with pytest.raises(UnsupportedError, match="disagrees"):
        check_native(native_call(other, SIZE), graph)


@needs_nutpie
def test_a_model_without_c_is_sampled_all_the_same(monkeypatch):
    def refuse(graph, size):
        raise UnsupportedError("a test says so")

    monkeypatch.setattr("pyrovae.engine.posterior.sampling.native_call", refuse)
    monkeypatch.setattr("pyrovae.engine.posterior.sampling.compile_vector", lambda graph, example: graph)
    found = short(draws=20, tune=20)
    assert found["posterior"].attrs["density"] == "Python"


@needs_nutpie
def test_data_are_given_and_not_written_into_the_text():
    library._library.cache_clear()

    def model(y):
        mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    for shift in (0.0, 100.0, -7.0):
        y = torch.linspace(-1, 1, 50) + shift
        found = nuts(model, (y,), draws=200, tune=200, chains=1, engine="compiled", progress=False)
        exact = 50 * shift / (50 + 0.01)
        assert abs(float(found["posterior"]["mean"].mean()) - exact) < 0.1
    assert library._library.cache_info().misses == 1


def test_the_text_of_one_number_is_not_taken_for_another():
    for scale in (1.5, 0.8):

        def model(scale):
            pyro.sample("x", dist.LKJCholesky(3, scale))

        density = density_of(model, (torch.tensor(scale),), {})
        call = compiled_density(density, "compiled", 1000)
        assert isinstance(call, NativeCall)
        u = torch.linspace(-1, 1, 3, dtype=torch.float64)
        assert torch.allclose(call(u)[0], density.log_density(u), rtol=1e-10)


def test_a_matrix_without_a_factor_is_no_density():
    """Where torch raises, a graph would go on with numbers, and C with others."""

    def program(u):
        size = torch.eye(3, dtype=torch.float64)
        return torch.linalg.cholesky(size + u[0] * (1 - size)) @ u[1:4]

    graph = trace_vector(with_gradient(program), torch.zeros(SIZE, dtype=torch.float64))
    call = native_call(graph, SIZE)
    inside, outside = (torch.full((SIZE,), value, dtype=torch.float64) for value in (0.5, 1.5))
    assert torch.allclose(call(inside)[0], graph(inside)[0])
    for found in (*call(outside), *graph(outside)):
        assert torch.isnan(found).all()


def test_truths_add_up_to_a_truth_far_from_where_the_function_is_tried():
    def program(u):
        return u * ((u > 5) + (u > 4)).double() + u * ((u > 5).long() + (u > 4))

    check(program, low=-8.0, high=8.0)


def test_a_place_outside_is_no_density():
    """Where torch raises, C reads no memory of others."""

    def program(u):
        return u[:1] * torch.arange(4.0).gather(0, (u[:1] * 10).long())

    graph = trace_vector(with_gradient(program), torch.full((SIZE,), 0.1, dtype=torch.float64))
    call = native_call(graph, SIZE)
    inside, outside = (torch.full((SIZE,), value, dtype=torch.float64) for value in (0.25, 0.4))
    assert torch.allclose(call(inside)[0], graph(inside)[0])
    assert torch.isnan(call(outside)[0])


def test_data_of_any_strides_are_told_apart():
    """Views and expanded tensors are constants too."""
    for shift in (0, 1):
        labels = torch.tensor([1 + shift]).expand(6)
        points = torch.arange(12.0).reshape(6, 2).T[:, ::2] + shift

        def model(labels, points):
            weight = pyro.sample("weight", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            with pyro.plate("rows", 6):
                pyro.sample("label", dist.Categorical(logits=weight), obs=labels)
            pyro.sample("data", dist.Normal(points * weight[0], 1.0).to_event(2), obs=points)

        density = density_of(model, (labels, points), {})
        call = compiled_density(density, "compiled", 1000)
        u = torch.linspace(-1, 1, 3, dtype=torch.float64)
        assert torch.allclose(call(u)[0], density.log_density(u), rtol=1e-10)
