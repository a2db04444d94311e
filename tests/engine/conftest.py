"""Programs and runs that the tests of the engine share."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn


class Pair(nn.Module):
    """A small VAE-like pair of programs; `family` names the guide's distribution."""

    def __init__(self, family="diagonal", pixels=12, hidden=16, latent=3):
        super().__init__()
        self.family, self.latent = family, latent
        width = {"diagonal": 2 * latent, "full": latent + latent**2, "two sites": 2 * latent, "discrete": latent}
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, width[family]))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, pixels))

    def model(self, x, beta=1.0):
        with pyro.plate("images", x.shape[0], dim=-1):
            with poutine.scale(scale=beta):
                z = self.latents(x)
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def latents(self, x):
        zeros = x.new_zeros(x.shape[0], self.latent)
        if self.family == "discrete":
            return pyro.sample("z", dist.Bernoulli(logits=zeros).to_event(1))
        if self.family == "two sites":
            first = pyro.sample("a", dist.Normal(zeros[:, :1], 1.0).to_event(1))
            rest = pyro.sample("z", dist.Normal(first.expand(-1, self.latent - 1), 2.0).to_event(1))
            return torch.cat([first, rest], -1)
        return pyro.sample("z", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))

    def guide(self, x, beta=1.0):
        out = self.encoder(x)
        loc, rest = out[:, : self.latent], out[:, self.latent :]
        with pyro.plate("images", x.shape[0], dim=-1), poutine.scale(scale=beta):
            if self.family == "discrete":
                pyro.sample("z", dist.Bernoulli(logits=loc).to_event(1))
            elif self.family == "full":
                factor = rest.reshape(-1, self.latent, self.latent).tril(-1) + torch.eye(self.latent)
                pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=factor))
            elif self.family == "two sites":
                scale = rest.exp()
                pyro.sample("a", dist.Normal(loc[:, :1], scale[:, :1]).to_event(1))
                pyro.sample("z", dist.Normal(loc[:, 1:], scale[:, 1:]).to_event(1))
            else:
                pyro.sample("z", dist.Normal(loc, rest.exp()).to_event(1))


@pytest.fixture(autouse=True)
def _empty_parameter_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.fixture
def make_pair():
    """A function that makes a pair of programs with the same weights every time."""

    def make(family="diagonal"):
        torch.manual_seed(1)
        return Pair(family)

    return make


@pytest.fixture
def images():
    """Binary images, shape (40, 12)."""
    return torch.rand(40, 12, generator=torch.Generator().manual_seed(2)).round()


@pytest.fixture
def by_pyro():
    """A function that trains a copy of a pair by `pyro.infer.SVI` and returns its losses and parameters."""

    def run(pair, loss, batches, optimizer=None):
        pair = copy.deepcopy(pair)

        def model(*args):
            pyro.module("pair", pair)
            pair.model(*args)

        svi = pyro.infer.SVI(model, pair.guide, optimizer or pyro.optim.SGD({"lr": 1e-3}), loss)
        torch.manual_seed(3)
        losses = [svi.step(*batch) for batch in batches]
        pyro.clear_param_store()
        return losses, [p.detach() for p in pair.parameters()]

    return run
