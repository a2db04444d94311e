"""Programs as people write them in Pyro, each held against Pyro's potential, as a graph and in C."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer.reparam import LocScaleReparam, TransformReparam
from pyro.ops.indexing import Vindex
from test_generated_models import check

POINTS = torch.sin(torch.arange(15) * 1.7).reshape(5, 3)


def hidden_markov():
    step = pyro.sample("step", dist.Dirichlet(torch.ones(2, 2)).to_event(1))
    where = pyro.sample("where", dist.Normal(torch.tensor([-1.0, 1.0]), 1.0).to_event(1))
    state = 0
    for time in pyro.markov(range(4)):
        state = pyro.sample(f"state_{time}", dist.Categorical(step[state]))
        pyro.sample(f"y_{time}", dist.Normal(where[state], 1.0), obs=torch.tensor(float(time) - 2))


def hidden_markov_in_one_site():
    step = pyro.sample("step", dist.Dirichlet(torch.ones(3, 3)).to_event(1))
    where = pyro.sample("where", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    pyro.sample("y", dist.DiscreteHMM(torch.zeros(3), step.log(), dist.Normal(where, 1.0)), obs=POINTS[:, 0])


def linear_gaussian_series():
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    one = torch.eye(2)
    normal = dist.MultivariateNormal(torch.zeros(2), one)
    noise = dist.MultivariateNormal(torch.zeros(2), scale_tril=scale * one)
    pyro.sample("y", dist.GaussianHMM(normal, 0.9 * one, noise, one, normal, duration=4), obs=torch.ones(4, 2))


def mixture():
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("components", 3):
        loc, scale = pyro.sample("loc", dist.Normal(0.0, 3.0)), pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("rows", 5):
        kind = pyro.sample("kind", dist.Categorical(weights))
        pyro.sample("x", dist.Normal(loc[kind], scale[kind]), obs=POINTS[:, 1])


def nested_discrete():
    share = pyro.sample("share", dist.Beta(1.0, 1.0))
    with pyro.plate("outer", 4, dim=-2):
        first = pyro.sample("first", dist.Bernoulli(share))
        with pyro.plate("inner", 3, dim=-1):
            second = pyro.sample("second", dist.Bernoulli(0.2 + 0.5 * first))
            pyro.sample("x", dist.Normal(second - first, 1.0), obs=torch.zeros(4, 3))


def discrete_by_discrete():
    table = pyro.sample("table", dist.Dirichlet(torch.ones(2, 3)).to_event(1))
    with pyro.plate("rows", 4):
        first = pyro.sample("first", dist.Bernoulli(0.4)).long()
        second = pyro.sample("second", dist.Categorical(Vindex(table)[first]))
        pyro.sample("x", dist.Normal(second.double(), 1.0), obs=torch.arange(4.0))


def partly_observed():
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("rows", 4):
        seen = torch.tensor([True, False, True, True])
        pyro.sample("x", dist.Normal(0.0, scale), obs=torch.arange(4.0), obs_mask=seen)


def correlated():
    factor = pyro.sample("factor", dist.LKJCholesky(3, 2.0))
    scale = pyro.sample("scale", dist.HalfCauchy(torch.ones(3)).to_event(1))
    with pyro.plate("rows", 5):
        pyro.sample("x", dist.MultivariateNormal(torch.zeros(3), scale_tril=scale[:, None] * factor), obs=POINTS)


def ordinal():
    normal = dist.Normal(torch.zeros(3), 2.0).to_event(1)
    cuts = pyro.sample("cuts", dist.TransformedDistribution(normal, dist.transforms.OrderedTransform()))
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", 5):
        pyro.sample("x", dist.OrderedLogistic(slope * torch.arange(5.0), cuts), obs=torch.tensor([0, 1, 3, 2, 3]))


def classes():
    weight = pyro.sample("weight", dist.Normal(torch.zeros(3, 3), 1.0).to_event(2))
    with pyro.plate("rows", 5):
        pyro.sample("label", dist.Categorical(logits=POINTS.double() @ weight), obs=torch.tensor([0, 1, 2, 0, 1]))
    pyro.sample("one", dist.OneHotCategorical(logits=weight[0]), obs=torch.tensor([0.0, 1.0, 0.0]))


def counts():
    rate, logits = pyro.sample("rate", dist.Gamma(2.0, 1.0)), pyro.sample("logits", dist.Normal(0.0, 1.0))
    gate = pyro.sample("gate", dist.Beta(1.0, 1.0))
    with pyro.plate("rows", 4):
        data = torch.tensor([0.0, 2.0, 3.0, 1.0])
        pyro.sample("zeros", dist.ZeroInflatedPoisson(rate, gate=gate), obs=data)
        pyro.sample("overdispersed", dist.NegativeBinomial(rate, logits=logits), obs=data)
        pyro.sample("mixed", dist.GammaPoisson(rate, 1 + logits.exp()), obs=data)
        pyro.sample("tossed", dist.BetaBinomial(rate, 1 + gate, 10), obs=data)


def scaled_and_masked():
    with poutine.scale(scale=0.5), pyro.plate("a", 2, dim=-2), poutine.scale(scale=3.0):
        rate = pyro.sample("rate", dist.Gamma(2.0, 2.0))
        with pyro.plate("b", 3, dim=-1), poutine.mask(mask=torch.tensor([True, True, False])):
            pyro.sample("y", dist.Exponential(rate), obs=torch.ones(2, 3))


def seasons():
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    time = torch.arange(6)
    with pyro.plate("time", 6):
        mean, scale = slope * time / 10 + torch.log(time + 1), 0.3 + 0.1 * (time > 2)
        pyro.sample("y", dist.Normal(mean, scale), obs=torch.sin(time * 0.5))


def assignments():
    value = pyro.sample("value", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    levels = torch.zeros(4)
    levels[1:] = value
    pyro.sample("data", dist.Normal(levels.cumsum(0), 1.0).to_event(1), obs=torch.ones(4))


def reparametrised():
    def plain():
        width = pyro.sample("width", dist.Normal(0.0, 1.0))
        x = pyro.sample("x", dist.Normal(width, width.exp()))
        y = pyro.sample("y", dist.LogNormal(x, 0.5))
        pyro.sample("data", dist.Normal(y, 1.0), obs=torch.tensor(1.0))

    return poutine.reparam(plain, config={"x": LocScaleReparam(0.3), "y": TransformReparam()})()


def latent_process():
    length = pyro.sample("length", dist.InverseGamma(3.0, 2.0))
    x = torch.linspace(0, 1, 8)
    covariance = torch.exp(-((x[:, None] - x) ** 2) / length**2 / 2) + 0.1 * torch.eye(8)
    level = pyro.sample("level", dist.MultivariateNormal(torch.zeros(8), covariance))
    with pyro.plate("rows", 8):
        pyro.sample("y", dist.Poisson(level.exp()), obs=torch.ones(8))


def series():
    slope, before = pyro.sample("slope", dist.Uniform(-1.0, 1.0)), torch.tensor(0.0)
    for time in range(4):
        before = pyro.sample(f"x{time}", dist.Normal(slope * before, 0.5))
        pyro.sample(f"y{time}", dist.Normal(before, 1.0), obs=torch.tensor(0.1 * time))


SHORT = [hidden_markov, mixture, discrete_by_discrete, partly_observed, ordinal, classes, seasons, assignments]
LONG = [
    hidden_markov_in_one_site, linear_gaussian_series, nested_discrete, correlated, counts, scaled_and_masked,
    reparametrised, latent_process, series,
]  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [pytest.param(m, id=m.__name__) for m in SHORT]
    + [pytest.param(m, id=m.__name__, marks=pytest.mark.full) for m in LONG],
)
def test_the_density_is_pyros(model):
    check(model, (), {}, graph=True)
