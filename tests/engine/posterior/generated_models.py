"""Generated Pyro models: every continuous distribution that Pyro can transform, under plates, handlers and parents."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.distributions import constraints, transforms
from pyro.nn import PyroModule, PyroSample
from scipy import special, stats

Tensor = torch.Tensor


def rows(s: Tensor, *values: float) -> Tensor:
    """A vector for each element of s."""
    return s[..., None] * torch.tensor(values)


def matrix(s: Tensor, size: int = 3) -> Tensor:
    """A positive-definite matrix for each element of s."""
    return s[..., None, None] * torch.eye(size) + 0.3


def transformed(base: Callable[[Tensor], dist.Distribution], *steps) -> Callable[[Tensor], dist.Distribution]:
    return lambda s: dist.TransformedDistribution(base(s), list(steps))


def normal_rows(s: Tensor) -> dist.Distribution:
    return dist.Normal(rows(s, 0.1, -0.2, 0.3), 1.0).to_event(1)


FAMILIES: dict[str, Callable[[Tensor], dist.Distribution]] = {
    "AffineBeta": lambda s: dist.AffineBeta(s + 1, 2.0, -1.0, 3.0),
    "AsymmetricLaplace": lambda s: dist.AsymmetricLaplace(0.3, s, 1.5),
    "Beta": lambda s: dist.Beta(s, 1.5),
    "Cauchy": lambda s: dist.Cauchy(0.2, s),
    "Chi2": lambda s: dist.Chi2(s + 1),
    "ContinuousBernoulli": lambda s: dist.ContinuousBernoulli(logits=s),
    "Dirichlet": lambda s: dist.Dirichlet(rows(s, 1.0, 2.0, 0.7)),
    "Exponential": lambda s: dist.Exponential(s),
    "FisherSnedecor": lambda s: dist.FisherSnedecor(s + 2, 5.0),
    "Gamma": lambda s: dist.Gamma(s, 2.0),
    "Gumbel": lambda s: dist.Gumbel(0.1, s),
    "HalfCauchy": lambda s: dist.HalfCauchy(s),
    "HalfNormal": lambda s: dist.HalfNormal(s),
    "InverseGamma": lambda s: dist.InverseGamma(s + 1, 2.0),
    "Kumaraswamy": lambda s: dist.Kumaraswamy(s, torch.tensor(1.7)),
    "LKJ": lambda s: dist.LKJ(3, s),
    "LKJCholesky": lambda s: dist.LKJCholesky(4, s),
    "Laplace": lambda s: dist.Laplace(0.2, s),
    "LogNormal": lambda s: dist.LogNormal(0.2, s),
    "Logistic": lambda s: dist.Logistic(0.2, s),
    "LogisticNormal": lambda s: dist.LogisticNormal(rows(s, 0.1, 0.2), torch.tensor(1.0)),
    "LowRankMultivariateNormal": lambda s: dist.LowRankMultivariateNormal(
        rows(s, 0.1, 0.2, 0.3), torch.tensor([[0.3], [0.2], [-0.5]]), torch.tensor([1.0, 0.5, 0.7])
    ),
    "MaskedMixture": lambda s: dist.MaskedMixture(
        torch.tensor(True).expand(s.shape), dist.Normal(s, 1.0), dist.Normal(-s, 2.0)
    ),
    "MixtureOfDiagNormals": lambda s: dist.MixtureOfDiagNormals(
        torch.tensor([[0.1, 0.2], [1.0, -1.0]]), torch.tensor([[1.0, 0.5], [0.3, 2.0]]), rows(s, 0.2, 1.0)
    ),
    "MixtureOfDiagNormalsSharedCovariance": lambda s: dist.MixtureOfDiagNormalsSharedCovariance(
        torch.tensor([[0.1, 0.2], [1.0, -1.0]]), torch.tensor([1.0, 0.5]), rows(s, 0.2, 1.0)
    ),
    "MixtureSameFamily": lambda s: dist.MixtureSameFamily(
        dist.Categorical(logits=rows(s, 0.3, -1.0)), dist.Normal(rows(s, -1.0, 2.0), torch.tensor([0.5, 1.0]))
    ),
    "MultivariateNormal": lambda s: dist.MultivariateNormal(rows(s, 0.1, 0.2, 0.3), matrix(s)),
    "MultivariateNormal of a factor": lambda s: dist.MultivariateNormal(
        rows(s, 0.1, 0.2, 0.3), scale_tril=torch.linalg.cholesky(matrix(s))
    ),
    "MultivariateNormal of a precision": lambda s: dist.MultivariateNormal(
        rows(s, 0.1, 0.2, 0.3), precision_matrix=matrix(s)
    ),
    "MultivariateStudentT": lambda s: dist.MultivariateStudentT(
        s + 3, rows(s, 0.1, 0.2, 0.3), torch.linalg.cholesky(matrix(s))
    ),
    "Normal": lambda s: dist.Normal(0.3, s),
    "Normal of float32 data": lambda s: dist.Normal(torch.tensor(0.3, dtype=torch.float32), s),
    "OMTMultivariateNormal": lambda s: dist.OMTMultivariateNormal(
        torch.tensor([0.1, 0.2]), torch.tensor([[1.0, 0.0], [0.4, 0.7]])
    ),
    "Pareto": lambda s: dist.Pareto(torch.tensor(1.5), s + 1),
    "RelaxedBernoulli": lambda s: dist.RelaxedBernoulli(torch.tensor(0.7), logits=s),
    "RelaxedOneHotCategorical": lambda s: dist.RelaxedOneHotCategorical(torch.tensor(0.7), logits=rows(s, 1.0, 2, 3)),
    "SkewLogistic": lambda s: dist.SkewLogistic(0.1, s, torch.tensor(1.5)),
    "SoftAsymmetricLaplace": lambda s: dist.SoftAsymmetricLaplace(0.1, s, 1.5, 0.7),
    "SoftLaplace": lambda s: dist.SoftLaplace(0.1, s),
    "StableWithLogProb": lambda s: dist.StableWithLogProb(torch.tensor(1.7), torch.tensor(0.2), s),
    "StudentT": lambda s: dist.StudentT(s + 3, 0.1, 1.5),
    "TruncatedPolyaGamma": lambda s: dist.TruncatedPolyaGamma(torch.tensor(1.0)),
    "Uniform": lambda s: dist.Uniform(-1.0, 2.0 + 0 * s.detach()),
    "VonMises": lambda s: dist.VonMises(0.3, s),
    "SineSkewed VonMises": lambda s: dist.SineSkewed(
        dist.VonMises(torch.zeros(2), torch.tensor(1.5)).to_event(1), torch.tensor([0.2, 0.3])
    ),
    "SineBivariateVonMises": lambda s: dist.SineBivariateVonMises(
        torch.tensor(0.1), torch.tensor(0.2), s + 2, torch.tensor(2.0), torch.tensor(0.5)
    ),
    "Weibull": lambda s: dist.Weibull(s + 0.5, torch.tensor(1.5)),
    "exponential of a Normal": transformed(lambda s: dist.Normal(0.1, s), transforms.ExpTransform()),
    "sigmoid of a Normal": transformed(lambda s: dist.Normal(0.1, s), transforms.SigmoidTransform()),
    "power of a Gamma": transformed(lambda s: dist.Gamma(s, 1.0), transforms.PowerTransform(torch.tensor(2.0))),
    "affine Beta": transformed(lambda s: dist.Beta(s, 2.0), transforms.AffineTransform(1.0, 3.0)),
    "negative": transformed(lambda s: dist.HalfNormal(s), transforms.AffineTransform(0.0, -1.0)),
    "softplus": transformed(lambda s: dist.Normal(0.1, s), transforms.SoftplusTransform()),
    "tanh": transformed(lambda s: dist.Normal(0.1, s), transforms.TanhTransform()),
    "ordered": transformed(normal_rows, transforms.OrderedTransform()),
    "stick-breaking": transformed(normal_rows, transforms.StickBreakingTransform()),
    "independent positive": lambda s: dist.Gamma(rows(s, 1.0, 2.0), 1.0).to_event(1),
    "independent unit": lambda s: dist.Beta(rows(s, 1.0, 2.0), 1.0).to_event(1),
    "matrix": lambda s: dist.Normal(rows(s, 0.1, 0.2)[..., None].expand(*s.shape, 2, 3), 1.0).to_event(2),
    "rows of simplices": lambda s: dist.Dirichlet(rows(s, 1.0, 2.0, 0.7)[..., None, :].expand(*s.shape, 2, 3)).to_event(
        1
    ),
    "expanded": lambda s: dist.Normal(0.3, 1.0).expand([*s.shape, 2]).to_event(1),
    "expanded Gamma": lambda s: dist.Gamma(2.0, 1.0).expand(s.shape),
    "folded": lambda s: dist.FoldedDistribution(dist.Normal(s, 1.0)),
    "zero mask": lambda s: dist.Normal(0.0, 1.0).expand(s.shape).mask(False),
    **{
        f"improper {name}": lambda s, c=constraint, e=event: dist.ImproperUniform(c, s.shape, torch.Size(e))
        for name, (constraint, event) in {
            "real": (constraints.real, ()),
            "vector": (constraints.real_vector, (3,)),
            "half space": (constraints.greater_than(1.5), ()),
            "half space below": (constraints.less_than(1.5), ()),
            "interval": (constraints.interval(-1.0, 2.0), ()),
            "unit": (constraints.unit_interval, ()),
            "positive": (constraints.positive, ()),
            "softplus positive": (constraints.softplus_positive, ()),
            "simplex": (constraints.simplex, (4,)),
            "correlation": (constraints.corr_matrix, (3, 3)),
            "correlation factor": (constraints.corr_cholesky, (3, 3)),
            "ordered": (constraints.ordered_vector, (3,)),
            "positive ordered": (constraints.positive_ordered_vector, (3,)),
            "independent": (constraints.independent(constraints.positive, 1), (3,)),
        }.items()
    },
}
"""A distribution of batch shape s.shape, or one that expands to it, for a positive tensor s."""

ALONE = {
    "LKJ", "MixtureOfDiagNormals", "MixtureOfDiagNormalsSharedCovariance",
    "OMTMultivariateNormal", "SineSkewed VonMises", "SoftAsymmetricLaplace", "TruncatedPolyaGamma",
}  # fmt: skip
"""Families that Pyro does not expand, so that a plate cannot hold them."""


@dataclass(frozen=True)
class Generated:
    """A model, and what it is made of.

    Attributes:
        model: The program.
        args: Its arguments.
        kwargs: The same by name.
        words: What was chosen.
    """

    model: Callable
    args: tuple
    kwargs: dict
    words: str


SHAPES = {
    "alone": (),
    "plate": (3,),
    "nested plates": (2, 3),
    "plates with a gap": (2, 1, 3),
    "sequential plate": (),
}
HANDLERS = ("none", "scale", "mask", "mask of a tensor", "reparameter", "block")


def generated(family: str, seed: int) -> Generated:
    """A model with a site of this family, put together by chance."""
    chance = random.Random(f"{family} {seed}")
    shape = chance.choice(sorted(SHAPES))
    shape = shape if family not in ALONE else "alone"
    handler = chance.choice(HANDLERS[:4])
    parent, child, factor, discrete, named = (chance.random() < p for p in (0.6, 0.7, 0.3, 0.25, 0.3))
    data = torch.tensor(chance.choice([0.4, 1.3, -0.2]), dtype=chance.choice([torch.float32, torch.float64]))

    def body(options: dict) -> None:
        s = pyro.sample("parent", dist.Gamma(3.0, 2.0)) + 0.3 if parent else torch.tensor(0.8)
        with _handled(handler, SHAPES[shape]):
            values = _sites(family, shape, s)
        total = sum(value.mean() for value in values)
        pyro.deterministic("total", total)
        if factor:
            pyro.factor("extra", -0.1 * total**2)
        if discrete:
            kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
            total = total + torch.tensor([-1.0, 0.0, 2.0])[kind]
        if child:
            with pyro.plate("rows", 3):
                pyro.sample("data", dist.Normal(total, 1.5), obs=options["data"])

    def model(first: dict, *, unused: None = None) -> None:
        body(first)

    argument = {"data": data.expand(3), "unused": "text"}
    words = ", ".join(
        [family, shape, handler]
        + [w for w, yes in (("parent", parent), ("child", child), ("factor", factor), ("discrete", discrete)) if yes]
    )
    if named:
        return Generated(model, (), {"first": argument}, words)
    return Generated(model, (argument,), {}, words)


def _sites(family: str, shape: str, s: Tensor) -> list[Tensor]:
    make = FAMILIES[family]
    if shape == "sequential plate":
        return [pyro.sample(f"value_{i}", make(s * (1 + 0.1 * i))) for i in pyro.plate("steps", 2)]
    sizes = SHAPES[shape]
    plates = [
        pyro.plate(f"plate_{d}", size, dim=d - len(sizes)) for d, size in enumerate(sizes) if size > 1 or len(sizes) < 3
    ]
    each = s * torch.linspace(0.6, 1.4, sizes[-1]) if sizes else s
    for plate in plates:
        plate.__enter__()
    try:
        return [pyro.sample("value", make(each))]
    finally:
        for plate in reversed(plates):
            plate.__exit__(None, None, None)


def _handled(handler: str, sizes: tuple) -> object:
    if handler == "scale":
        return poutine.scale(scale=2.5)
    if handler == "mask":
        return poutine.mask(mask=True)
    if handler == "mask of a tensor":
        return poutine.mask(mask=torch.arange(sizes[-1]) != 1 if sizes else torch.tensor(True))
    return poutine.scale(scale=1.0)


# ---- supports that move with a latent


@dataclass(frozen=True)
class Moving:
    """A model whose data bound a latent.

    Attributes:
        model: The program, with one continuous latent "s".
        log_joint: Its log-density at a value of "s", by SciPy.
        words: What was chosen.
    """

    model: Callable
    log_joint: Callable[[float], float]
    words: str


def shifted(base: dist.Distribution, by: Tensor) -> dist.Distribution:
    return dist.TransformedDistribution(base.expand(by.shape), [transforms.AffineTransform(by, 1.0)])


PRIORS = {
    "Normal": (lambda: dist.Normal(1.0, 2.0), stats.norm(1.0, 2.0)),
    "Uniform": (lambda: dist.Uniform(-1.0, 6.0), stats.uniform(-1.0, 7.0)),
    "Gamma": (lambda: dist.Gamma(2.0, 1.0), stats.gamma(2.0)),
    "shifted Exponential": (lambda: shifted(dist.Exponential(1.0), torch.tensor(0.5)), stats.expon(0.5)),
    "shifted twice": (
        lambda: dist.TransformedDistribution(
            dist.Gamma(2.0, 1.0), [transforms.AffineTransform(1.0, 2.0), transforms.AffineTransform(0.5, 1.0)]
        ),
        stats.gamma(2.0, 1.5, 2.0),
    ),
}
DATA = {
    "Pareto": (lambda s: dist.Pareto(s.abs() + 0.1, torch.tensor(2.0)), lambda s: stats.pareto(2.0, 0, abs(s) + 0.1)),
    "shifted Exponential": (lambda s: shifted(dist.Exponential(1.0), s), lambda s: stats.expon(s)),
    "shifted Gamma": (lambda s: shifted(dist.Gamma(2.0, 1.0), s), lambda s: stats.gamma(2.0, s)),
    "Uniform": (lambda s: dist.Uniform(s - 3, s + 4), lambda s: stats.uniform(s - 3, 7.0)),
    "AffineBeta": (lambda s: dist.AffineBeta(2.0, 2.0, s - 2, 6.0), lambda s: stats.beta(2.0, 2.0, s - 2, 6.0)),
    "Gumbel": (lambda s: dist.Gumbel(s, 1.0), lambda s: stats.gumbel_r(s)),
}


def moving(seed: int) -> Moving:
    """A model of data whose support depends on its latent, put together by chance."""
    chance = random.Random(f"moving {seed}")
    prior, data, place = (chance.choice(sorted(words)) for words in (PRIORS, DATA, ("plate", "event", "mask", "kinds")))
    y = torch.tensor([chance.uniform(2.5, 5.0) for _ in range(3)], dtype=torch.float64)
    seen = [True, False, True] if place == "mask" else [True] * 3

    def model() -> None:
        s = pyro.sample("s", PRIORS[prior][0]())
        if place == "event":
            pyro.sample("y", DATA[data][0](s.expand(3)).to_event(1), obs=y)
            return
        with pyro.plate("rows", 3), poutine.mask(mask=torch.tensor(seen) if place == "mask" else True):
            if place == "kinds":
                s = s - pyro.sample("kind", dist.Bernoulli(torch.tensor(0.3)))
            pyro.sample("y", DATA[data][0](s.expand(3) if s.ndim < 1 else s), obs=y)

    def log_joint(s: float) -> float:
        kinds = {0.0: 0.7, 1.0: 0.3} if place == "kinds" else {0.0: 1.0}
        terms = [np.log(share) + DATA[data][1](s - away).logpdf(y.numpy()) for away, share in kinds.items()]
        each = special.logsumexp(terms, axis=0)
        return float(PRIORS[prior][1].logpdf(s) + each[seen].sum())

    return Moving(model, log_joint, f"{prior}, {data}, {place}")


class Regression(PyroModule):
    """Weights that are sampled, by both kinds of declaration."""

    def __init__(self) -> None:
        super().__init__()
        self.first = PyroModule[torch.nn.Linear](2, 3)
        self.first.weight = PyroSample(dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
        self.scale = PyroSample(lambda self: dist.HalfNormal(self.width + 0.5))
        self.width = PyroSample(dist.Exponential(1.0))

    def forward(self, x: Tensor, y: Tensor) -> None:
        mean = torch.tanh(self.first(x)).sum(-1)
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(mean, self.scale), obs=y)
