"""Supports: volumes of their transforms, data that bound a latent, and masks that leave one without a prior."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from generated_models import moving
from posterior_models import needs_nutpie
from pyro.distributions import constraints

from pyrovae.engine.posterior import ModelError, nuts
from pyrovae.engine.posterior.density import density_of
from pyrovae.engine.posterior.graphs import trace_vector
from pyrovae.engine.posterior.sampling import compiled_density

BOUNDS = torch.tensor([0.0, -1.0]), torch.tensor([2.0, 5.0])
CONSTRAINTS = {
    "interval of tensors": (constraints.interval(*BOUNDS), (2,), ()),
    "half open": (constraints.half_open_interval(*BOUNDS), (2,), ()),
    "above a tensor": (constraints.greater_than_eq(BOUNDS[0]), (2,), ()),
    "below a tensor": (constraints.less_than(BOUNDS[0]), (2,), ()),
    "not negative": (constraints.nonnegative, (3,), ()),
    "stacked": (constraints.stack([constraints.positive, constraints.unit_interval], 0), (), (2,)),
    "joined": (constraints.cat([constraints.positive, constraints.real], 0, [2, 1]), (), (3,)),
    "independent": (constraints.independent(constraints.interval(*BOUNDS), 1), (), (2,)),
    "ordered": (constraints.ordered_vector, (2,), (3,)),
    "positive ordered": (constraints.positive_ordered_vector, (), (3,)),
    "simplex": (constraints.simplex, (2,), (3,)),
    "correlation factor": (constraints.corr_cholesky, (), (4, 4)),
    "correlation": (constraints.corr_matrix, (), (3, 3)),
}
FREE = {"simplex": [0, 1, 3, 4], "correlation factor": [4, 8, 9, 12, 13, 14], "correlation": [3, 6, 7]}
"""Elements of a value that say all of it, where there are others."""


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_the_volume_is_that_of_the_transform(name):
    constraint, batch, event = CONSTRAINTS[name]

    def model():
        pyro.sample("v", dist.ImproperUniform(constraint, torch.Size(batch), torch.Size(event)))

    density = density_of(model, (), {})
    u = torch.randn(density.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slopes = torch.autograd.functional.jacobian(lambda u: density.values(u)["v"], u).reshape(-1, density.size)
    exact = torch.linalg.slogdet(slopes[FREE.get(name, slice(None))])[1]
    assert float(density.log_density(u)) == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize("seed", range(16))
def test_data_bound_a_latent_as_scipy_says(seed):
    made = moving(seed)
    density = density_of(made.model, (), {})
    graph = trace_vector(density.with_gradient, torch.zeros(1, dtype=torch.float64))
    call = compiled_density(density, "compiled", 1000) if seed % 8 == 0 else graph
    finite = 0
    for u in torch.linspace(-5, 5, 21, dtype=torch.float64)[:, None].requires_grad_():
        s = density.values(u)["s"]
        (slope,) = torch.autograd.grad(s, u)
        exact = made.log_joint(s.item()) + math.log(abs(slope.item()))
        for found in (density.with_gradient(u)[0], graph(u.detach())[0], call(u.detach())[0]):
            if math.isfinite(exact):
                assert float(found) == pytest.approx(exact, rel=1e-6, abs=1e-6), made.words
            else:
                assert not torch.isfinite(found), made.words
        finite += math.isfinite(exact)
    assert finite


@needs_nutpie
@pytest.mark.filterwarnings("ignore:.*transitions diverged")
def test_draws_stay_below_the_smallest_observation():
    """And the model is no fault, though most draws from its prior leave no room for the data."""
    y = torch.tensor([2.0, 2.5, 4.0, 3.0, 8.0])

    def model():
        least = pyro.sample("least", dist.Uniform(0.0, 10.0))
        with pyro.plate("rows", 5):
            pyro.sample("y", dist.Pareto(least, 2.0), obs=y)

    least = nuts(model, draws=400, tune=200, chains=2, engine="compiled", progress=False)["posterior"]["least"].values
    assert least.max() < 2
    assert least.mean() == pytest.approx(2 * 11 / 12, abs=0.06)  # the density is that of a power, least ** 10


def test_a_mask_leaves_what_has_no_other_bounds_improper():
    """The volume of a transform is no prior."""
    for distribution, proper in (
        (dist.Gamma(2.0, 2.0), False), (dist.Normal(0.0, 1.0), False), (dist.Pareto(1.0, 2.0), False),
        (dist.Beta(2.0, 2.0), True), (dist.Dirichlet(torch.ones(3)), True),
    ):  # fmt: skip

        def model(distribution=distribution):
            pyro.sample("hidden", distribution.mask(False))
            pyro.sample("other", dist.Normal(0.0, 1.0))

        settings = {"draws": 4, "tune": 4, "chains": 1, "engine": "graph", "sampler": "pyro", "progress": False}
        if proper:
            assert "hidden" in nuts(model, **settings)["posterior"]
            continue
        with pytest.raises(ModelError, match="does not depend on site 'hidden'"):
            nuts(model, **settings)
