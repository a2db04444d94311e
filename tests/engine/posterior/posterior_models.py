"""Models that the tests of posteriors share."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.engine.posterior.samplers import has_nutpie

needs_nutpie = pytest.mark.skipif(not has_nutpie(), reason="nutpie is not installed: pip install 'pyrovae[nuts]'")
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools(effects, errors):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(errors)):
        away = pyro.sample("away", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * away)
        pyro.sample("effect", dist.Normal(theta, errors), obs=effects)


def centred_schools(effects, errors):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(errors)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("effect", dist.Normal(theta, errors), obs=effects)


class Conjugate:
    """Five problems with known posteriors, side by side in one model."""

    heads, tosses = 7.0, 20
    counts = torch.tensor([3.0, 0.0, 5.0, 2.0])
    votes = torch.tensor([4.0, 1.0, 9.0])
    points = torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0], [2.0, 0.3]])
    answers = torch.tensor([1.2, 3.0, 0.7, 2.2])
    noise = 0.7

    def __call__(self):
        p = pyro.sample("p", dist.Beta(2.0, 3.0))
        pyro.sample("heads", dist.Binomial(self.tosses, p), obs=torch.tensor(self.heads))
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("counts_plate", 4):
            pyro.sample("counts", dist.Poisson(rate), obs=self.counts)
        share = pyro.sample("share", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
        pyro.sample("votes", dist.Multinomial(int(self.votes.sum()), share), obs=self.votes)
        weight = pyro.sample("weight", dist.Normal(torch.zeros(2), 1.5).to_event(1))
        with pyro.plate("rows", 4):
            pyro.sample("answers", dist.Normal(self.points @ weight, self.noise), obs=self.answers)

    def exact(self):
        """Mean and standard deviation of each latent."""
        p = torch.distributions.Beta(2 + self.heads, 3 + self.tosses - self.heads)
        rate = torch.distributions.Gamma(2 + self.counts.sum(), 1.0 + 4)
        share = torch.distributions.Dirichlet(torch.tensor([1.0, 2.0, 3.0]) + self.votes)
        x, y = self.points.double(), self.answers.double()
        precision = x.T @ x / self.noise**2 + torch.eye(2) / 1.5**2
        mean = torch.linalg.solve(precision, x.T @ y / self.noise**2)
        weight = mean, torch.linalg.inv(precision).diagonal().sqrt()
        others = {"p": p, "rate": rate, "share": share}
        return {name: (d.mean, d.stddev if name != "share" else d.variance.sqrt()) for name, d in others.items()} | {
            "weight": weight
        }
