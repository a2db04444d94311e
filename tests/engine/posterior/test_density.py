"""The density over the unconstrained vector, held against Pyro's own potential and against arithmetic."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_models import EFFECTS, ERRORS, Conjugate, centred_schools, schools
from pyro.infer.mcmc.util import initialize_model

from pyrovae.engine.posterior.density import density_of, first_not_finite, scales_that_are_sampled
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.graphs import trace_vector
from pyrovae.engine.posterior.sampling import compiled_density

FAMILIES = {
    "real": lambda: dist.Normal(1.0, 2.0),
    "positive": lambda: dist.Gamma(2.0, 3.0),
    "unit": lambda: dist.Beta(2.0, 3.0),
    "interval": lambda: dist.Uniform(-2.0, 5.0),
    "above": lambda: dist.Pareto(1.5, 3.0),
    "simplex": lambda: dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0, 0.5])),
    "cholesky of a correlation": lambda: dist.LKJCholesky(3, 1.5),
    "vector": lambda: dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 0.5),
    "student": lambda: dist.StudentT(4.0, 0.0, 1.0).expand([2, 3]).to_event(2),
    "transformed": lambda: dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.ExpTransform()),
    "weibull": lambda: dist.Weibull(2.0, 1.5),
    "circle": lambda: dist.VonMises(0.3, 2.0),
}


def point(size, seed=0):
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_support_has_the_potential_that_pyro_gives_it(family):
    torch.set_default_dtype(torch.float64)
    try:

        def model():
            value = pyro.sample("value", FAMILIES[family]())
            pyro.sample("data", dist.Normal(value.sum(), 1.0), obs=torch.tensor(0.7))

        ours = density_of(model, (), {})
        start, potential, _, _ = initialize_model(model)
        for seed in range(3):
            u = point(ours.size, seed)
            expected = -potential({"value": u.reshape(start["value"].shape)})
            assert torch.allclose(ours.log_density(u), expected, rtol=1e-10), family
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_graph_says_what_the_program_says_and_so_does_its_gradient():
    density = density_of(Conjugate(), (), {})
    graph = trace_vector(density.with_gradient, point(density.size))
    for seed in range(1, 6):
        u = point(density.size, seed)
        value, gradient = graph(u)
        exact, slope = density.with_gradient(u)
        assert torch.allclose(value, exact, rtol=1e-12)
        assert torch.allclose(gradient, slope, rtol=1e-9, atol=1e-9)
        step = 1e-6 * point(density.size, seed + 100)
        difference = density.log_density(u + step) - density.log_density(u - step)
        assert float(difference) == pytest.approx(float(2 * slope @ step), rel=1e-4, abs=1e-10)


def test_a_support_that_depends_on_another_latent_follows_it():
    """Pyro's own potential takes the support of one run for that of all."""

    def model():
        top = pyro.sample("top", dist.Exponential(1.0))
        pyro.sample("below", dist.Uniform(0.0, top))

    density = density_of(model, (), {})
    for seed in range(5):
        u = point(2, seed)
        top, below = (float(density.values(u)[name]) for name in ("top", "below"))
        assert 0 < below < top
        share = below / top
        volume = math.log(top) + math.log(top * share * (1 - share))
        assert float(density.log_density(u)) == pytest.approx(-top - math.log(top) + volume, abs=1e-9)


def test_discrete_latents_are_summed_out():
    data = torch.tensor([-1.0, 2.0, 0.3])

    def model():
        where = pyro.sample("where", dist.Normal(torch.tensor([-1.0, 1.0]), 1.0).to_event(1))
        with pyro.plate("rows", 3):
            kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.3, 0.7])))
            pyro.sample("data", dist.Normal(where[kind], 0.5), obs=data)

    density = density_of(model, (), {})
    assert density.enumerated == ["kind"]
    u = point(2)
    terms = (
        torch.distributions.Normal(u, 0.5).log_prob(data.double()[:, None]) + torch.tensor([0.3, 0.7]).double().log()
    )
    prior = torch.distributions.Normal(torch.tensor([-1.0, 1.0]).double(), 1.0).log_prob(u).sum()
    expected = terms.logsumexp(1).sum() + prior
    assert float(density.log_density(u)) == pytest.approx(float(expected), rel=1e-7)
    assert float(trace_vector(density.with_gradient, u)(u)[0]) == pytest.approx(float(expected), rel=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_everything_is_computed_in_double_precision_whatever_the_data_are(dtype):
    points = torch.linspace(-1, 1, 12).reshape(4, 3).to(dtype)
    layer = torch.nn.Linear(3, 2).to(dtype).requires_grad_(False)

    def model():
        weight = pyro.sample("weight", dist.Normal(torch.zeros(3, dtype=dtype), 1).to_event(1))
        with pyro.plate("rows", 4):
            hidden = layer(points * weight).sum(-1).to(dtype)
            pyro.sample("data", dist.Normal(hidden, torch.ones((), dtype=dtype)), obs=points[:, 0])

    density = density_of(model, (), {})
    u = point(3)
    value, gradient = trace_vector(density.with_gradient, u)(u)
    assert value.dtype == gradient.dtype == torch.float64
    hidden = ((points.double() * u) @ layer.weight.double().T + layer.bias.double()).sum(-1)
    expected = torch.distributions.Normal(hidden, 1.0).log_prob(points[:, 0].double()).sum()
    expected = expected + torch.distributions.Normal(0.0, 1.0).log_prob(u).sum()
    assert float(value) == pytest.approx(float(expected), rel=1e-13)
    assert torch.get_default_dtype() == torch.float32


def test_tensors_that_the_program_makes_are_of_double_precision_in_the_graph_too():
    """The graph runs where the default type is another than where it was traced."""

    def model():
        width = pyro.sample("width", dist.HalfNormal(1.0))
        covariance = 0.3 + width * torch.eye(3) + torch.full((3, 3), 0.1) * torch.ones(3, 3)
        pyro.sample("data", dist.MultivariateNormal(torch.zeros(3), covariance), obs=torch.linspace(0, 1, 3))

    density = density_of(model, (), {})
    graph = trace_vector(density.with_gradient, point(1))
    assert all(constant.dtype == torch.float64 for constant in graph.constants)
    for seed in range(1, 4):
        u = point(1, seed)
        assert torch.allclose(graph(u)[0], density.log_density(u), rtol=1e-13)


def test_constants_of_what_is_not_asked_for_are_no_inputs():
    def model():
        width = pyro.sample("width", dist.HalfNormal(1.0))
        covariance = width * torch.eye(3) + torch.arange(9.0).reshape(3, 3)
        pyro.sample("data", dist.Normal(covariance.sum(), 1.0), obs=torch.tensor(1.0))

    density = density_of(model, (), {})
    graph = trace_vector(density.values, point(1))
    many = torch.stack([point(1, seed) for seed in range(3)])
    assert torch.allclose(graph.of_many(many)["width"], many[:, 0].exp())


def test_scales_and_masks_count_as_in_pyro():
    def model():
        with pyro.poutine.scale(scale=3.0):
            value = pyro.sample("value", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 3), pyro.poutine.mask(mask=torch.tensor([True, False, True])):
            pyro.sample("data", dist.Normal(value, 1.0), obs=torch.tensor([1.0, 9.0, 2.0]))

    u = torch.tensor([0.4], dtype=torch.float64)
    normal = torch.distributions.Normal(torch.tensor(0.4, dtype=torch.float64), 1.0)
    expected = 3 * torch.distributions.Normal(0.0, 1.0).log_prob(u[0]) + sum(
        normal.log_prob(torch.tensor(x, dtype=torch.float64)) for x in (1.0, 2.0)
    )
    assert float(density_of(model, (), {}).log_density(u)) == pytest.approx(float(expected), abs=1e-12)


def test_a_tensor_that_the_program_makes_and_changes_is_made_anew_at_each_call():
    def model():
        value = pyro.sample("value", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        total = torch.zeros(3)
        total[1:] += torch.arange(2.0)
        total += value
        pyro.sample("data", dist.Normal(total, 1.0).to_event(1), obs=torch.ones(3))

    density = density_of(model, (), {})
    graph = trace_vector(density.with_gradient, point(3))
    for seed in (1, 1, 2):
        u = point(3, seed)
        assert torch.allclose(graph(u)[0], density.log_density(u))


def test_constrained_values_lead_back_to_the_vector():
    density = density_of(Conjugate(), (), {})
    u = point(density.size)
    assert torch.allclose(density.free(density.values(u)), u, atol=1e-9)


def test_a_scale_that_is_sampled_is_found():
    density = density_of(centred_schools, (EFFECTS, ERRORS), {})
    assert scales_that_are_sampled(density, point(density.size)) == ["theta"]
    density = density_of(schools, (EFFECTS, ERRORS), {})
    assert scales_that_are_sampled(density, point(density.size)) == []


def test_where_a_density_is_not_finite_is_named():
    def model():
        scale = pyro.sample("scale", dist.Normal(50.0, 1.0))
        pyro.sample("bad", dist.Normal(0.0, scale.sqrt()))

    density = density_of(model, (), {})
    assert first_not_finite(density, torch.tensor([1.0, 0.0], dtype=torch.float64)) is None
    assert "'bad'" in str(first_not_finite(density, torch.tensor([-1.0, 0.0], dtype=torch.float64)))


# ---- what is refused


def plated(distribution):
    def model():
        pyro.sample("fine", dist.Normal(0.0, 1.0))
        pyro.sample("wrong", distribution())

    return model


def subsampled():
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", 10, subsample_size=3) as rows:
        pyro.sample("data", dist.Normal(level, 1.0), obs=torch.zeros(10)[rows])


def impossible_data():
    level = pyro.sample("level", dist.Beta(1.0, 1.0))
    pyro.sample("grey", dist.Bernoulli(level), obs=torch.tensor(0.5))


def branching():
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    scale = 1.0 if level > 0 else 2.0
    pyro.sample("data", dist.Normal(level, scale), obs=torch.tensor(0.5))


def noisy():
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    pyro.sample("data", dist.Normal(level + torch.rand(()), 1.0), obs=torch.tensor(0.5))


def sequential():
    pyro.sample("level", dist.Normal(0.0, 1.0))
    pyro.sample("kind", dist.Bernoulli(0.5), infer={"enumerate": "sequential"})


def failing():
    pyro.sample("level", dist.Normal(0.0, 1.0))
    raise RuntimeError("no such thing")


def nothing():
    pyro.sample("data", dist.Normal(0.0, 1.0), obs=torch.tensor(0.5))


BAD = {
    "not enumerable": (plated(lambda: dist.Poisson(3.0)), "'wrong' is discrete and cannot be enumerated, Poisson"),
    "Delta": (plated(lambda: dist.Delta(torch.tensor(1.0))), "'wrong' is a latent Delta"),
    "subsample": (subsampled, "plate 'rows' takes 3 of 10"),
    "data": (impossible_data, "site 'grey' cannot be scored"),
    "sequential": (sequential, "'kind' asks to be enumerated 'sequential'"),
    "fails": (failing, r"fails after site 'level' \(test_density.py, line \d+\): no such thing"),
    "nothing": (nothing, "no continuous latent site"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_model_that_cannot_be_sampled_is_refused_by_site(kind):
    model, message = BAD[kind]
    with pytest.raises(ModelError, match=message):
        density_of(model, (), {})


@pytest.mark.parametrize(("model", "message"), [(branching, "after site 'level'"), (noisy, "density is random")])
def test_what_a_graph_cannot_hold_is_refused(model, message):
    with pytest.raises(ModelError, match=message):
        compiled_density(density_of(model, (), {}), "graph", 10)


def test_a_model_that_changes_from_call_to_call_is_found():
    calls = []

    def model():
        calls.append(1)
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        pyro.sample("data", dist.Normal(level, 1.0 + len(calls)), obs=torch.tensor(0.5))

    with pytest.raises(ModelError, match="does not do the same at each call"):
        compiled_density(density_of(model, (), {}), "graph", 10)


def test_a_handler_around_the_call_is_refused():
    with pyro.poutine.scale(scale=2.0), pytest.raises(ModelError, match="handler is active"):
        density_of(schools, (EFFECTS, ERRORS), {})


def test_parameters_of_the_model_leave_no_trace_in_pyros_store():
    def model():
        scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        pyro.sample("level", dist.Normal(0.0, scale))

    density = density_of(model, (), {})
    trace_vector(density.with_gradient, point(1))
    assert not list(pyro.get_param_store().keys())
