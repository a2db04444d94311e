"""Every part, one row each, and the contract that each must meet.

A new part is a class in its module and a row in the table here; the tests below then hold it to the contract.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.shapes import Shapes

BATCH = 6
LABELS = torch.arange(BATCH) % 3


@dataclass(frozen=True)
class Row:
    """A part: how it is built from shapes, and wrong arguments with the message that each must meet."""

    name: str
    build: Callable[[Shapes], nn.Module]
    refused: dict[str, Callable[[Shapes], object]] = field(default_factory=dict)
    has_density: bool = True

    def __repr__(self) -> str:
        return self.name


def _posterior(cls: type, shapes: Shapes) -> nn.Module:
    return cls(shapes, networks.MLPEncoder(shapes, hidden=(16,)))


def _likelihood(cls: type, shapes: Shapes, **arguments: object) -> nn.Module:
    return cls(shapes, lambda channels: networks.MLPDecoder(shapes, channels, hidden=(16,)), **arguments)


PRIORS = [
    Row("StandardNormal", priors.StandardNormal),
    Row("Unscored", lambda shapes: priors.Unscored(priors.StandardNormal(shapes)), has_density=False),
]
LIKELIHOODS = [
    Row("Bernoulli", partial(_likelihood, likelihoods.Bernoulli)),
    Row("CrossEntropy", partial(_likelihood, likelihoods.CrossEntropy), has_density=False),
    Row(
        "Normal",
        partial(_likelihood, likelihoods.Normal, scale=0.5),
        refused={"must be positive, got 0": partial(_likelihood, likelihoods.Normal, scale=0.0)},
    ),
]
POSTERIORS = [
    Row(
        "DiagonalNormal",
        partial(_posterior, posteriors.DiagonalNormal),
        refused={"attribute out_features": lambda shapes: posteriors.DiagonalNormal(shapes, nn.Identity())},
    ),
    Row(
        "Delta",
        partial(_posterior, posteriors.Delta),
        refused={"attribute out_features": lambda shapes: posteriors.Delta(shapes, nn.Identity())},
        has_density=False,
    ),
]
PARTS = PRIORS + LIKELIHOODS + POSTERIORS

parts = pytest.mark.parametrize("row", PARTS, ids=repr)
conditional = pytest.mark.parametrize("num_classes", [0, 3], ids=["unconditional", "conditional"])


def shapes_of(num_classes: int, image_shape: tuple[int, int, int] = (1, 5, 4), latent_dim: int = 2) -> Shapes:
    return Shapes(image_shape, latent_dim, num_classes)


def inputs_of(row: Row, shapes: Shapes, dtype: torch.dtype = torch.float32) -> tuple[Tensor | None, ...]:
    """What the part's forward takes."""
    torch.manual_seed(1)
    y = LABELS if shapes.num_classes else None
    if row in PRIORS:
        return (y,)
    if row in LIKELIHOODS:
        return torch.randn(BATCH, shapes.latent_dim, dtype=dtype), y
    return torch.rand(BATCH, *shapes.image_shape, dtype=dtype).round(), y


def event_of(row: Row, shapes: Shapes) -> tuple[int, ...]:
    return shapes.image_shape if row in LIKELIHOODS else (shapes.latent_dim,)


def distribution_of(row: Row, part: nn.Module, shapes: Shapes, **kwargs: torch.dtype) -> dist.TorchDistribution:
    return part(*inputs_of(row, shapes, **kwargs))


@parts
@conditional
def test_shapes(row: Row, num_classes: int) -> None:
    shapes = shapes_of(num_classes)
    d = distribution_of(row, row.build(shapes), shapes)
    assert d.event_shape == event_of(row, shapes)
    assert d.event_dim == len(event_of(row, shapes))
    assert d.batch_shape in ([(), (BATCH,)] if row in PRIORS else [(BATCH,)])
    d = d.expand([BATCH])
    value = d.sample()
    assert value.shape == (BATCH, *event_of(row, shapes))
    assert d.log_prob(value).shape == (BATCH,)
    assert torch.isfinite(d.log_prob(value)).all()
    assert d.support.check(value).all()


@parts
def test_default_dtype_is_kept(row: Row) -> None:
    shapes = shapes_of(3)
    value = distribution_of(row, row.build(shapes).double(), shapes, dtype=torch.float64).sample()
    assert value.dtype == torch.float64


@parts
@conditional
def test_gradients_reach_every_parameter(row: Row, num_classes: int) -> None:
    shapes = shapes_of(num_classes)
    part = row.build(shapes)
    d = distribution_of(row, part, shapes)
    value = d.rsample() if d.has_rsample else d.sample()
    objective = value.square().sum() + d.log_prob(value.detach()).sum()
    names = [name for name, _ in part.named_parameters()]
    if names:
        gradients = torch.autograd.grad(objective, list(part.parameters()), allow_unused=True)
        dead = [n for n, g in zip(names, gradients, strict=True) if g is None or not bool(g.abs().sum() > 0)]
        assert not dead


@pytest.mark.parametrize("row", [r for r in LIKELIHOODS + POSTERIORS if r.has_density], ids=repr)
def test_gradients_match_finite_differences(row: Row) -> None:
    shapes = shapes_of(3, image_shape=(1, 2, 2))
    torch.manual_seed(0)
    part = row.build(shapes).double()
    d = distribution_of(row, part, shapes, dtype=torch.float64)
    value = d.expand([BATCH]).sample()
    names = [name for name, _ in part.named_parameters()]

    def log_prob(*values: Tensor) -> Tensor:
        arguments = inputs_of(row, shapes, torch.float64)
        d = torch.func.functional_call(part, dict(zip(names, values, strict=True)), arguments)
        return d.log_prob(value).sum()

    assert torch.autograd.gradcheck(log_prob, list(part.parameters()), fast_mode=True)


@pytest.mark.parametrize("row", POSTERIORS, ids=repr)
def test_rsample_is_differentiable(row: Row) -> None:
    shapes = shapes_of(0)
    torch.manual_seed(0)
    part = row.build(shapes).double()
    names = [name for name, _ in part.named_parameters()]
    x = inputs_of(row, shapes, torch.float64)

    def draw(*values: Tensor) -> Tensor:
        torch.manual_seed(2)
        return torch.func.functional_call(part, dict(zip(names, values, strict=True)), x).rsample().sum()

    assert torch.autograd.gradcheck(draw, list(part.parameters()), fast_mode=True)


@pytest.mark.parametrize("row", [r for r in PRIORS + POSTERIORS if r.has_density], ids=repr)
@conditional
def test_density_integrates_to_one(row: Row, num_classes: int) -> None:
    """By quadrature over the plane, of the first image."""
    shapes = shapes_of(num_classes)
    torch.manual_seed(0)
    part = row.build(shapes).double()
    d = distribution_of(row, part, shapes, dtype=torch.float64).expand([BATCH])
    axis = torch.linspace(-30, 30, 2001, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    log_prob = torch.stack([d.log_prob(cell.unsqueeze(1).expand(-1, BATCH, -1)) for cell in grid.split(2001)])
    mass = log_prob.exp().sum((0, 1)) * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-6, rtol=0)


def test_bernoulli_probabilities_sum_to_one() -> None:
    shapes = shapes_of(0, image_shape=(1, 2, 3))
    d = distribution_of(LIKELIHOODS[0], LIKELIHOODS[0].build(shapes), shapes)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).reshape(64, 1, 1, 2, 3).expand(-1, BATCH, -1, -1, -1)
    torch.testing.assert_close(d.log_prob(every).logsumexp(0), torch.zeros(BATCH), atol=1e-5, rtol=0)


def test_normal_likelihood_integrates_to_one() -> None:
    shapes = shapes_of(0, image_shape=(1, 1, 1))
    d = distribution_of(LIKELIHOODS[2], LIKELIHOODS[2].build(shapes), shapes)
    axis = torch.linspace(-20, 20, 20001)
    values = axis.reshape(-1, 1, 1, 1, 1).expand(-1, BATCH, 1, 1, 1)
    mass = d.log_prob(values).double().exp().sum(0) * 0.002
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-4, rtol=0)


@pytest.mark.parametrize("row", [r for r in PARTS if r.has_density], ids=repr)
def test_samples_agree_with_density(row: Row) -> None:
    """Moments of many draws against the distribution's own, within five standard errors; and E[score] = 0."""
    shapes = shapes_of(3)
    torch.manual_seed(0)
    part = row.build(shapes)
    with torch.no_grad():
        d = distribution_of(row, part, shapes)
        draws = d.expand([BATCH]).sample([20_000])
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - d.mean).abs() < 5 * error + 1e-6).all()
        variance_error = (draws - draws.mean(0)).square().std(0) / math.sqrt(len(draws))
        assert ((draws.var(0) - d.variance).abs() < 5 * variance_error + 1e-6).all()


@parts
def test_state_dict_round_trip(row: Row) -> None:
    shapes = shapes_of(3)
    one, other = row.build(shapes), row.build(shapes)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    torch.manual_seed(0)
    draws = []
    for part in (one, other):
        d = distribution_of(row, part, shapes).expand([BATCH])
        torch.manual_seed(0)
        draws.append(d.sample())
    assert torch.equal(*draws)


@parts
def test_repr_names_the_part(row: Row) -> None:
    assert repr(row.build(shapes_of(3))).startswith(row.name)


@parts
def test_wrong_arguments_are_refused(row: Row) -> None:
    for message, build in row.refused.items():
        with pytest.raises(ValueError, match=message):
            build(shapes_of(0))


@pytest.mark.parametrize("row", LIKELIHOODS, ids=repr)
def test_likelihood_takes_particles(row: Row) -> None:
    """Leading dimensions of codes, particles or importance samples, go through."""
    shapes = shapes_of(3)
    d = row.build(shapes)(torch.randn(7, BATCH, 2), LABELS)
    assert d.batch_shape == (7, BATCH)


@pytest.mark.parametrize("row", LIKELIHOODS + POSTERIORS, ids=repr)
def test_conditional_parts_need_a_label(row: Row) -> None:
    shapes = shapes_of(3)
    with pytest.raises(ValueError, match="conditional on a label: pass y"):
        row.build(shapes)(inputs_of(row, shapes)[0], None)


def test_grey_pixels_are_refused_by_bernoulli_and_scored_by_cross_entropy() -> None:
    shapes = shapes_of(0)
    z, grey = torch.randn(BATCH, 2), torch.rand(BATCH, *shapes.image_shape)
    bernoulli = LIKELIHOODS[0].build(shapes)
    assert not bernoulli(z).support.check(grey).any()
    cross_entropy = LIKELIHOODS[1].build(shapes)
    cross_entropy.load_state_dict(bernoulli.state_dict())
    d = cross_entropy(z)
    assert d.support.check(grey).all()
    p = d.mean
    by_hand = (grey * p.log() + (1 - grey) * (1 - p).log()).sum((1, 2, 3))
    torch.testing.assert_close(d.log_prob(grey), by_hand, rtol=1e-4, atol=1e-4)
