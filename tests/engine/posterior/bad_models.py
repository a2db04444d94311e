"""Generated models that cannot be sampled: each fault at a place, beside sites and in plates that are right."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints


@dataclass(frozen=True)
class Bad:
    """A model with one fault.

    Attributes:
        model: The program.
        names: What the message names: one of these.
        words: What was chosen.
    """

    model: Callable
    names: tuple[str, ...]
    words: str


class NoTransform(dist.Normal):
    """A support that no transform leads to."""

    support = constraints.lower_cholesky


class NoSupport(dist.Normal):
    """A distribution that does not say where it lives."""

    @property
    def support(self):
        raise NotImplementedError


def latent(distribution: Callable[[], dist.Distribution]) -> Callable:
    return lambda name, level: pyro.sample(name, distribution())


def observed(make: Callable, value: object) -> Callable:
    return lambda name, level: pyro.sample(name, make(level), obs=torch.as_tensor(value))


def branching(name, level):
    pyro.sample(name, dist.Normal(0.0, 1.0))
    if level > 0:
        pyro.sample("positive", dist.Normal(0.0, 1.0))


def counting(name, level):
    value = pyro.sample(name, dist.Normal(0.0, 1.0))
    return sum(range(int(value.abs() * 10)))


def shaped(name, level):
    value = pyro.sample(name, dist.Normal(torch.zeros(4), 1.0).to_event(1))
    pyro.sample("few", dist.Normal(value[value > 0].sum(), 1.0), obs=torch.tensor(0.0))


def wrong_shapes(name, level):
    value = pyro.sample(name, dist.Normal(torch.zeros(4), 1.0).to_event(1))
    return value @ torch.ones(3)


def wrong_plate(name, level):
    with pyro.plate("seven", 7):
        pyro.sample(name, dist.Normal(torch.zeros(4), 1.0))


def wrong_data(name, level):
    with pyro.plate("seven", 7):
        pyro.sample(name, dist.Normal(level, 1.0), obs=torch.zeros(5))


def subsampled(name, level):
    with pyro.plate(name, 10, subsample_size=3) as rows:
        pyro.sample("part", dist.Normal(level, 1.0), obs=torch.zeros(10)[rows])


def twice(name, level):
    pyro.sample(name, dist.Normal(0.0, 1.0))
    pyro.sample(name, dist.Normal(0.0, 1.0))


def noisy(name, level):
    pyro.sample(name, dist.Normal(level + torch.rand(()), 1.0), obs=torch.tensor(0.5))


def infinite(name, level):
    pyro.sample(name, dist.Normal(0.0, 1.0))
    pyro.factor("wall", torch.tensor(float("-inf")) + 0 * level)


def flat(name, level):
    pyro.sample(name, dist.ImproperUniform(constraints.real_vector, (), (2,)))


def hidden(name, level):
    with pyro.poutine.mask(mask=False):
        pyro.sample(name, dist.Normal(0.0, 1.0))


def steep(name, level):
    value = pyro.sample(name, dist.Normal(0.0, 1.0))
    pyro.factor("cliff", torch.where(value == 99.0, (-(value**2) - 1).sqrt(), torch.zeros(())))


FAULTS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "Poisson": (latent(lambda: dist.Poisson(3.0)), ("NAME",)),
    "Geometric": (latent(lambda: dist.Geometric(0.3)), ("NAME",)),
    "NegativeBinomial": (latent(lambda: dist.NegativeBinomial(3.0, 0.4)), ("NAME",)),
    "Multinomial": (latent(lambda: dist.Multinomial(5, torch.ones(3))), ("NAME",)),
    "Delta": (latent(lambda: dist.Delta(torch.tensor(1.0))), ("NAME",)),
    "Wishart": (latent(lambda: dist.Wishart(torch.tensor(4.0), torch.eye(2))), ("NAME",)),
    "sphere": (latent(lambda: dist.ProjectedNormal(torch.ones(3))), ("NAME",)),
    "no transform": (latent(lambda: NoTransform(0.0, 1.0)), ("NAME",)),
    "no support": (latent(lambda: NoSupport(0.0, 1.0)), ("NAME",)),
    "scale below zero": (latent(lambda: dist.Normal(0.0, -1.0)), ("bad_models.py",)),
    "scale that is no number": (latent(lambda: dist.Normal(0.0, float("nan"))), ("bad_models.py",)),
    "no distribution": (lambda name, level: pyro.sample(name, 3.0), ("NAME",)),
    "data that are no number": (observed(lambda level: dist.Normal(level, 1.0), float("nan")), ("NAME",)),
    "infinite data": (observed(lambda level: dist.Normal(level, 1.0), float("inf")), ("NAME",)),
    "data outside": (observed(lambda level: dist.Bernoulli(logits=level), 0.5), ("NAME",)),
    "counts that are none": (observed(lambda level: dist.Poisson(level.exp()), -1.0), ("NAME",)),
    "far data": (observed(lambda level: dist.Uniform(level + 50, level + 51, validate_args=False), 0.5), ("NAME",)),
    "branch": (branching, ("NAME",)),
    "count": (counting, ("NAME",)),
    "shape from values": (shaped, ("NAME",)),
    "shapes": (wrong_shapes, ("NAME",)),
    "plate": (wrong_plate, ("NAME", "seven", "bad_models.py")),
    "data of another size": (wrong_data, ("NAME", "seven")),
    "subsample": (subsampled, ("NAME",)),
    "the same name": (twice, ("NAME",)),
    "random numbers": (noisy, ("random",)),
    "infinite factor": (infinite, ("wall",)),
    "improper": (flat, ("NAME",)),
    "masked": (hidden, ("NAME",)),
    "no gradient": (steep, ("NAME", "cliff")),
}
"""What a site of some name does wrong, and what the message may name for it."""


def bad(fault: str, seed: int) -> Bad:
    """A model with a fault at a place that is drawn by chance."""
    chance = random.Random(f"{fault} {seed}")
    name = chance.choice(["wrong", "theta", "x", "a.b", "site 3"])
    before, after, plated = (chance.random() < 0.5 for _ in range(3))
    commit, names = FAULTS[fault]

    def model() -> None:
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        if before:
            with pyro.plate("rows", 3):
                pyro.sample("fine", dist.Gamma(2.0, 1.0))
        commit(name, level)
        if after:
            with pyro.plate("others", 2) if plated else pyro.poutine.scale(scale=2.0):
                pyro.sample("data", dist.Normal(level, 1.0), obs=torch.zeros(2) if plated else torch.tensor(0.0))

    words = f"{fault}, {name!r}, {'before, ' * before}{'after' * after}"
    return Bad(model, tuple(name if n == "NAME" else n for n in names), words)
