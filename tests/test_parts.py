"""Every part, one row each, and the contract that each must meet.

A new part is a class in its module and a row in the table here; the tests below then hold it to the contract, and
those of test_combinations.py combine it with every other.
"""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
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
CLASSES = 3


@dataclass(frozen=True)
class Row:
    """A part: what it is built from, and wrong arguments with the message that each must meet.

    Attributes:
        part: The class.
        arguments: Its arguments beside shapes and network.
        refused: Wrong arguments by the message that each must meet.
        has_density: Whether log_prob is a density or probability.
        labels: Whether it needs a model with labels.
        span: Codes: half the side of the square around zero that holds the mass, for quadrature.
        nodes: Codes: nodes of that quadrature along a side.
        tolerance: Error of that quadrature; larger for kinks and heavy tails.
        exact_moments: Whether its mean and variance are exact.
        values: Likelihoods: every value of a pixel, or nodes of a quadrature over them, and their weights.
    """

    part: type[nn.Module]
    arguments: dict[str, object] = field(default_factory=dict)
    refused: dict[str, dict[str, object]] = field(default_factory=dict)
    has_density: bool = True
    labels: bool = False
    span: float = 10.0
    nodes: int = 120
    tolerance: float = 1e-5
    exact_moments: bool = True
    values: tuple[Tensor, Tensor] | None = None

    def __repr__(self) -> str:
        listed = ",".join(f"{k}={v}" for k, v in self.arguments.items() if not isinstance(v, tuple))
        return f"{self.part.__name__}({listed})"

    def factory(self, **more: object) -> Callable[..., nn.Module]:
        return partial(self.part, **{**self.arguments, **more})

    def build(self, shapes: Shapes, **more: object) -> nn.Module:
        make = self.factory(**more)
        if issubclass(self.part, likelihoods.Likelihood):
            return make(shapes, lambda channels: networks.MLPDecoder(shapes, channels, hidden=(16,)))
        encoder = networks.MLPEncoder(shapes, hidden=(16,), activation=nn.Tanh)
        if issubclass(self.part, posteriors.Posterior):
            posterior = make(shapes, encoder)
            decoder = networks.MLPDecoder(shapes, 1, hidden=(16,), activation=nn.Tanh)
            posterior.attach(priors.StandardNormal(shapes), likelihoods.Bernoulli(shapes, lambda channels: decoder))
            return posterior
        prior = make(shapes)
        if hasattr(prior, "attach"):
            prior.attach(posteriors.DiagonalNormal(shapes, encoder).double().float())
        return prior


def unscored(shapes: Shapes) -> nn.Module:
    return priors.Unscored(priors.StandardNormal(shapes))


def grid(low: float, high: float, n: int = 20_000) -> tuple[Tensor, Tensor]:
    """Midpoints, crowded towards the ends as cos is, where densities may be infinite; and their weights."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x = low + (high - low) * torch.sin(0.5 * math.pi * u) ** 2
    return x, (high - low) * 0.5 * math.pi * torch.sin(math.pi * u) / n


def whole(top: int, levels: int) -> tuple[Tensor, Tensor]:
    k = torch.arange(top + 1, dtype=torch.float64)
    return k / levels, torch.ones_like(k)


PRIORS = [
    Row(priors.StandardNormal),
    Row(priors.Normal, refused={"use a CVAE": {"per_class": True}}),
    Row(priors.Normal, {"per_class": True}, labels=True),
    Row(priors.Laplace, refused={"must be positive, got 0": {"scale": 0.0}}, tolerance=1e-2, nodes=800),
    Row(
        priors.StudentT,
        refused={"df of a Student prior must be positive": {"df": 0.0}, "scale of a Student": {"scale": -1.0}},
        span=60.0,
        nodes=1200,
        tolerance=2e-3,
    ),
    Row(priors.StudentT, {"df": 8.0, "learn_df": True}, span=30.0, nodes=600, tolerance=1e-3),
    Row(priors.Uniform, refused={"finite low below a finite high": {"low": 1.0}}, span=1.0),
    Row(priors.VonMises, refused={"must be positive, got 0": {"concentration": 0.0}}, span=math.pi),
    Row(priors.GaussianMixture, {"components": 4}, refused={"must be at least 1, got 0": {"components": 0}}),
    Row(priors.GaussianMixture, {"components": CLASSES, "labels": True}),
    Row(priors.VampPrior, {"components": 7}, refused={"must be at least 1, got 0": {"components": 0}}),
    Row(
        priors.Hierarchical,
        refused={"top_dim must be a whole number of at least 1 and below latent_dim, 2, .* got 2": {"top_dim": 2}},
        exact_moments=False,
    ),
    Row(
        priors.Flow,
        {"kind": "realnvp"},
        refused={"must be at least 1": {"transforms": 0}},
        tolerance=1e-3,
        exact_moments=False,
    ),
    Row(priors.Flow, {"kind": "maf"}, tolerance=1e-3, exact_moments=False),
    Row(priors.Flow, {"kind": "nsf"}, tolerance=2e-3, exact_moments=False),
    Row(priors.Flow, {"per_class": True}, labels=True, tolerance=1e-3, exact_moments=False),
]
LIKELIHOODS = [
    Row(likelihoods.Bernoulli, values=whole(1, 1)),
    Row(likelihoods.CrossEntropy, has_density=False),
    Row(likelihoods.ContinuousBernoulli, values=grid(0, 1)),
    Row(
        likelihoods.Normal,
        {"scale": 0.5},
        refused={
            "must be positive, got 0": {"scale": 0.0},
            "must start above min_scale": {"scale": 0.1, "min_scale": 0.2, "noise": "learned"},
            "min_scale of a Normal likelihood must be positive": {"min_scale": 0.0},
        },
        values=grid(-10, 10),
    ),
    Row(likelihoods.Normal, {"scale": 0.5, "noise": "learned"}, values=grid(-10, 10)),
    Row(likelihoods.Normal, {"scale": 0.5, "noise": "per_pixel"}, values=grid(-10, 10)),
    Row(likelihoods.Normal, {"scale": 0.5, "noise": "decoder"}, values=grid(-10, 10)),
    Row(
        likelihoods.Laplace,
        {"scale": 0.3},
        refused={"must be positive, got -1": {"scale": -1.0}},
        values=grid(-20, 20),
    ),
    Row(likelihoods.Laplace, {"scale": 0.3, "noise": "learned"}, values=grid(-20, 20)),
    Row(likelihoods.Beta, refused={"must be at least 0, got -1": {"margin": -1.0}}, values=grid(0, 1)),
    Row(likelihoods.Beta, {"margin": 1 / 128}, values=grid(-1 / 128, 1 + 1 / 128)),
    Row(likelihoods.Categorical, refused={"levels must be at least 1": {"levels": 0}}, values=whole(255, 255)),
    Row(
        likelihoods.DiscretizedLogistic,
        refused={"levels must be": {"levels": 0}, "components must be at least 1": {"components": 0}},
        values=whole(255, 255),
    ),
    Row(likelihoods.DiscretizedLogistic, {"components": 1}, values=whole(255, 255)),
    Row(likelihoods.Poisson, refused={"levels must be at least 1": {"levels": 0}}, values=whole(1000, 255)),
    Row(likelihoods.Poisson, {"levels": 1}, values=whole(60, 1)),
    Row(
        likelihoods.NegativeBinomial,
        {"levels": 1},
        refused={"levels must be at least 1": {"levels": 0}},
        values=whole(400, 1),
    ),
]
POSTERIORS = [
    Row(posteriors.DiagonalNormal),
    Row(posteriors.FullNormal),
    Row(posteriors.LowRankNormal, refused={"from 1 to latent_dim, 2, got 3": {"rank": 3}}),
    Row(posteriors.Laplace, tolerance=1e-2, nodes=800),
    Row(posteriors.StudentT, refused={"must be above 2, got 2": {"df": 2.0}}, span=60.0, nodes=1200, tolerance=2e-3),
    Row(posteriors.Beta, refused={"finite low below a finite high": {"low": 2.0}}, span=1.0, nodes=600, tolerance=3e-2),
    Row(posteriors.WrappedNormal, span=math.pi),
    Row(posteriors.Flow, {"kind": "iaf"}, refused={"context must be": {"context": 0}}, exact_moments=False),
    Row(posteriors.Flow, {"kind": "nsf"}, tolerance=2e-3, exact_moments=False),
    Row(posteriors.Flow, {"kind": "realnvp"}, exact_moments=False),
    Row(posteriors.Mixture, refused={"components must be at least 2": {"components": 1}}),
    Row(
        posteriors.Hierarchical,
        refused={"below latent_dim, 2, .* got 0": {"top_dim": 0}, "context must be at least 1": {"context": 0}},
        exact_moments=False,
    ),
    Row(
        posteriors.SemiAmortised,
        refused={
            "steps must be a whole number of at least 1, got 0": {"steps": 0},
            "lr must be above 0 and at most 1, got 1.5": {"lr": 1.5},
            "lr must be a number, got 'x'": {"lr": "x"},
            "points must be an even number of at least 2, got 3": {"points": 3},
            "Flow is none: use DiagonalNormal or FullNormal": {"posterior": posteriors.Flow},
        },
    ),
    Row(posteriors.SemiAmortised, {"posterior": posteriors.FullNormal, "steps": 2, "points": 2}),
    Row(posteriors.Delta, has_density=False),
]
PARTS = PRIORS + LIKELIHOODS + POSTERIORS
CODES = [row for row in PRIORS + POSTERIORS if row.has_density]


def parts(rows: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=repr)


def cases(rows: list[Row]) -> pytest.MarkDecorator:
    """Each row in a model without labels, unless it needs them, and in one with."""
    pairs = [(row, n) for row in rows for n in (0, CLASSES) if n or not row.labels]
    return pytest.mark.parametrize(("row", "num_classes"), pairs, ids=repr)


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


def part_of(row: Row, shapes: Shapes, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    part = row.build(shapes).to(dtype)
    for attached in (*getattr(part, "_posterior", ()), *(getattr(part, "_others", None) or ())):
        attached.to(dtype)
    return part


def distribution_of(row: Row, shapes: Shapes, dtype: torch.dtype = torch.float32) -> dist.TorchDistribution:
    return part_of(row, shapes, dtype)(*inputs_of(row, shapes, dtype))


@cases(PARTS)
def test_shapes(row: Row, num_classes: int) -> None:
    shapes = shapes_of(num_classes)
    d = distribution_of(row, shapes)
    assert d.event_shape == event_of(row, shapes)
    assert d.event_dim == len(event_of(row, shapes))
    assert d.batch_shape in ([(), (BATCH,)] if row in PRIORS else [(BATCH,)])
    d = d.expand([BATCH])
    assert d.batch_shape == (BATCH,)
    value = d.sample()
    assert value.shape == (BATCH, *event_of(row, shapes))
    assert d.log_prob(value).shape == (BATCH,)
    assert torch.isfinite(d.log_prob(value)).all()
    assert d.support.check(value).all()
    assert d.expand([3, BATCH]).sample().shape == (3, BATCH, *event_of(row, shapes))
    assert d.mean.shape == d.variance.shape == value.shape


@parts(PARTS)
def test_default_dtype_is_kept(row: Row) -> None:
    assert distribution_of(row, shapes_of(CLASSES), torch.float64).sample().dtype == torch.float64


@cases(PARTS)
def test_gradients_reach_every_parameter(row: Row, num_classes: int) -> None:
    shapes = shapes_of(num_classes)
    part = part_of(row, shapes)
    d = part(*inputs_of(row, shapes)).expand([BATCH])
    value = d.rsample() if d.has_rsample else d.sample()
    objective = value.square().sum() + d.log_prob(value.detach()).sum()
    trained = {name: p for name, p in part.named_parameters() if p.requires_grad}
    if trained:
        gradients = torch.autograd.grad(objective, list(trained.values()), allow_unused=True)
        assert not [n for n, g in zip(trained, gradients, strict=True) if g is None or not bool(g.abs().sum() > 0)]


# Its refined half of a batch passes no gradient on, by design; tests/test_semi_amortised.py has its gradients by hand.
HELD_FIXED = (posteriors.SemiAmortised,)


@parts([row for row in PARTS if row.has_density and row.part not in HELD_FIXED])
def test_gradients_match_finite_differences(row: Row) -> None:
    shapes = shapes_of(CLASSES, image_shape=(1, 2, 2))
    part = part_of(row, shapes, torch.float64)
    inputs = inputs_of(row, shapes, torch.float64)
    value = part(*inputs).expand([BATCH]).sample()
    trained = {name: p for name, p in part.named_parameters() if p.requires_grad}

    def log_prob(*values: Tensor) -> Tensor:
        return torch.func.functional_call(part, dict(zip(trained, values, strict=True)), inputs).log_prob(value).sum()

    if trained:
        assert torch.autograd.gradcheck(log_prob, list(trained.values()), fast_mode=True)


# The draws of these two are no smooth function of their parameters; the next test but one is for them too.
SMOOTH = [row for row in POSTERIORS if row.part not in (posteriors.Beta, posteriors.Mixture, *HELD_FIXED)]


@parts(SMOOTH)
def test_rsample_is_differentiable(row: Row) -> None:
    shapes = shapes_of(0)
    part = part_of(row, shapes, torch.float64)
    names = [name for name, _ in part.named_parameters()]
    x = inputs_of(row, shapes, torch.float64)

    def draw(*values: Tensor) -> Tensor:
        torch.manual_seed(2)
        return torch.func.functional_call(part, dict(zip(names, values, strict=True)), x).rsample().cos().sum()

    assert torch.autograd.gradcheck(draw, list(part.parameters()), fast_mode=True)


def plane(row: Row) -> tuple[Tensor, Tensor, float]:
    """Midpoints of a square: one axis, (n,), all points, (n * n, 2), and the area of a cell."""
    n, step = row.nodes, 2 * row.span / row.nodes
    axis = -row.span + step * (torch.arange(n, dtype=torch.float64) + 0.5)
    return axis, torch.cartesian_prod(axis, axis), step**2


@parts([row for row in POSTERIORS if row.has_density])
def test_gradients_through_draws_are_those_of_the_expectation(row: Row) -> None:
    """d E_q[f(z)]: the mean over draws against that of the integral, within five standard errors."""
    shapes = shapes_of(0)
    part = part_of(row, shapes, torch.float64)
    x, _ = inputs_of(row, shapes, torch.float64)
    d = part(x[:1])

    def f(z: Tensor) -> Tensor:  # as periodic as angles are
        return torch.cos(z[..., 0] + 2 * z[..., 1]) + 0.5 * torch.sin(z[..., 1])

    _, points, area = plane(row)
    expectation = (d.log_prob(points.unsqueeze(1)).exp().squeeze(1) * f(points)).sum() * area
    bias = getattr(part, "posterior", part).head.bias
    (exact,) = torch.autograd.grad(expectation, bias, retain_graph=True)
    estimates = torch.stack(
        [torch.autograd.grad(f(d.rsample([400])).mean(), bias, retain_graph=True)[0] for _ in range(40)]
    )
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert ((estimates.mean(0) - exact).abs() < 5 * error + min(row.tolerance, 5e-3)).all()


@cases(CODES)
def test_density_integrates_to_one(row: Row, num_classes: int) -> None:
    """By quadrature over the plane."""
    d = distribution_of(row, shapes_of(num_classes), torch.float64).expand([BATCH])
    _, points, area = plane(row)
    with torch.no_grad():
        mass = d.log_prob(points.unsqueeze(1).expand(-1, BATCH, -1)).exp().sum(0) * area
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=row.tolerance, rtol=0)


@parts([row for row in PRIORS + POSTERIORS if row.has_density])
def test_density_integrates_to_one_in_five_dimensions(row: Row) -> None:
    """By importance sampling from another density, within five standard errors.

    A mixture applied to each dimension apart, or a log-determinant counted once for each, would show here at once.
    """
    shapes = shapes_of(CLASSES, latent_dim=5)
    d = distribution_of(row, shapes, torch.float64).expand([BATCH])
    if row.span <= math.pi:
        proposal = dist.Uniform(-row.span, row.span).expand([5]).to_event(1)
    else:
        # Half of it wide, and heavy-tailed so that no weight is without bound.
        proposal = dist.MultivariateStudentT(torch.tensor(3.0), torch.zeros(5), 1.5 * torch.eye(5))
    z = proposal.sample([8_000]).double().unsqueeze(1).expand(-1, BATCH, -1)
    with torch.no_grad():
        weights = (d.log_prob(z) - proposal.log_prob(z.float()).double()).exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert (error < 0.2).all()
    assert ((weights.mean(0) - 1).abs() < 5 * error + 1e-6).all()


@parts([row for row in LIKELIHOODS if row.has_density])
def test_probabilities_of_a_pixel_sum_to_one(row: Row) -> None:
    d = distribution_of(row, shapes_of(0, image_shape=(1, 1, 1)), torch.float64)
    values, weights = row.values
    with torch.no_grad():
        mass = d.log_prob(values.reshape(-1, 1, 1, 1, 1).expand(-1, BATCH, 1, 1, 1)).exp()
    total = (mass * weights.unsqueeze(1)).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)


@parts([row for row in LIKELIHOODS if row.has_density])
def test_pixels_are_independent(row: Row) -> None:
    """The density of an image is the product of its pixels': the event is the whole image, counted once."""
    shapes = shapes_of(0, image_shape=(2, 3, 2))
    d = distribution_of(row, shapes, torch.float64)
    value = d.sample()
    torch.testing.assert_close(d.log_prob(value), d.base_dist.log_prob(value).sum((1, 2, 3)))
    assert d.base_dist.batch_shape == (BATCH, 2, 3, 2)


def farthest(draws: Tensor, values: Tensor, mass: Tensor) -> float:
    """Kolmogorov's distance between draws, (n,), and the distribution of that mass at sorted values, times sqrt(n)."""
    found = torch.searchsorted(draws.sort().values, values.contiguous(), right=True) / len(draws)
    return float((found - mass.cumsum(0)).abs().max()) * math.sqrt(len(draws))


@parts([row for row in PARTS if row.has_density])
def test_samples_follow_the_density(row: Row) -> None:
    """Kolmogorov and Smirnov's test of 1-D marginals; it passes 2.3 once in twenty thousand times."""
    coded = row not in LIKELIHOODS
    shapes = shapes_of(CLASSES, image_shape=(1, 5, 4) if coded else (1, 1, 1))
    n = 5_000
    with torch.no_grad():
        d = distribution_of(row, shapes, torch.float64).expand([BATCH])
        draws = d.sample([n])
        if not coded:
            values, weights = row.values
            mass = d.log_prob(values.reshape(-1, 1, 1, 1, 1).expand(-1, BATCH, 1, 1, 1)).exp() * weights.unsqueeze(1)
            # Midpoints stand for cells; a step to the cell's end.
            ends = (
                values if bool((weights == 1).all()) else torch.cat([(values[1:] + values[:-1]) / 2, values[-1:] + 1])
            )
            for i in range(BATCH):
                assert farthest(draws[:, i, 0, 0, 0], ends + 1e-9, mass[:, i]) < 2.3
            return
        axis, points, area = plane(row)
        mass = d.log_prob(points.unsqueeze(1).expand(-1, BATCH, -1)).exp().unflatten(0, (row.nodes, row.nodes)) * area
        for i in range(BATCH):
            for dim in range(2):
                marginal = mass[..., i].sum(1 - dim)
                assert farthest(draws[:, i, dim], axis + (axis[1] - axis[0]) / 2, marginal / marginal.sum()) < 2.3


@parts([row for row in PARTS if row.has_density and row.part not in (priors.VonMises, posteriors.WrappedNormal)])
def test_moments_agree_with_samples(row: Row) -> None:
    """Mean and variance of many draws against the distribution's own, within five standard errors."""
    with torch.no_grad():
        d = distribution_of(row, shapes_of(CLASSES)).expand([BATCH])
        draws = d.sample([20_000])
        slack = 1e-6 if row.exact_moments else 0.1 * draws.std(0)
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - d.mean).abs() < 5 * error + slack).all()
        squares = (draws - draws.mean(0)).square()
        variance_error = squares.std(0) / math.sqrt(len(draws))
        assert ((draws.var(0) - d.variance).abs() < 5 * variance_error + 2 * slack * draws.std(0)).all()


@parts([row for row in PARTS if row.part in (priors.VonMises, posteriors.WrappedNormal)])
def test_circular_moments_agree_with_samples(row: Row) -> None:
    with torch.no_grad():
        d = distribution_of(row, shapes_of(CLASSES)).expand([BATCH])
        away = d.sample([20_000]) - d.mean
        error = 5 * torch.stack([away.sin().std(0), away.cos().std(0)]) / math.sqrt(20_000)
        assert (away.sin().mean(0).abs() < error[0]).all()
        assert ((1 - away.cos().mean(0) - d.variance).abs() < error[1]).all()


@parts(PARTS)
def test_state_dict_round_trip(row: Row) -> None:
    shapes = shapes_of(CLASSES)
    one, other = row.build(shapes), row.build(shapes)
    if isinstance(one, priors.VampPrior):
        other.attach(*one._posterior)
    if isinstance(one, posteriors.SemiAmortised):
        other.attach(*one._others)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    draws = []
    for part in (one, other):
        d = part(*inputs_of(row, shapes)).expand([BATCH])
        torch.manual_seed(0)
        draws.append(d.sample())
    assert torch.equal(*draws)


@parts(PARTS)
def test_repr_names_the_part(row: Row) -> None:
    assert repr(row.build(shapes_of(CLASSES))).startswith(row.part.__name__)


@parts([row for row in PARTS if row.refused])
def test_wrong_arguments_are_refused(row: Row) -> None:
    for message, arguments in row.refused.items():
        with pytest.raises(ValueError, match=message):
            row.build(shapes_of(0), **arguments)


@pytest.mark.parametrize("noise", ["learned", "per_pixel"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 2000.0])
@pytest.mark.parametrize("part", [likelihoods.Normal, likelihoods.Laplace])
def test_a_learned_scale_starts_where_it_is_told(part: type[nn.Module], scale: float, noise: str) -> None:
    d = Row(part, {"scale": scale, "noise": noise}).build(shapes_of(0))(torch.zeros(1, 2))
    torch.testing.assert_close(d.base_dist.scale, torch.full_like(d.base_dist.scale, scale), rtol=1e-4, atol=0.0)


@parts(LIKELIHOODS)
def test_likelihood_takes_particles(row: Row) -> None:
    """Leading dimensions of codes, particles or importance samples, go through."""
    d = row.build(shapes_of(CLASSES))(torch.randn(7, BATCH, 2), LABELS)
    assert d.batch_shape == (7, BATCH)
    assert d.log_prob(d.sample()).shape == (7, BATCH)


@parts(LIKELIHOODS)
def test_likelihood_says_what_it_scores(row: Row) -> None:
    assert row.part.pixels
    assert row.part.cure
    assert (row.part.score == "NLL") == row.has_density


@parts(LIKELIHOODS + POSTERIORS)
def test_conditional_parts_need_a_label(row: Row) -> None:
    shapes = shapes_of(CLASSES)
    with pytest.raises(ValueError, match="conditional on a label: pass y"):
        row.build(shapes)(inputs_of(row, shapes)[0], None)


@parts([row for row in PRIORS if row.labels])
def test_conditional_priors_need_a_label(row: Row) -> None:
    with pytest.raises(ValueError, match="conditional on a label: pass y"):
        row.build(shapes_of(CLASSES))(None)


@parts(POSTERIORS)
def test_posteriors_need_to_know_the_features(row: Row) -> None:
    with pytest.raises(ValueError, match="attribute out_features"):
        row.factory()(shapes_of(0), nn.Identity())


def test_unscored_adds_nothing() -> None:
    prior = unscored(shapes_of(0))
    z = prior().sample()
    assert prior().log_prob(z) == 0
    assert z.shape == (2,)
    assert repr(prior).startswith("Unscored")


# -- densities against what they are by hand -----------------------------------------------------------------------


def test_gaussian_mixture_is_the_sum_over_whole_codes() -> None:
    """sum_k w_k prod_j N(z_j), not prod_j sum_k w_k N(z_j): a mixture of each dimension apart has K^D modes."""
    prior = priors.GaussianMixture(shapes_of(0, latent_dim=3), components=4).double()
    with torch.no_grad():
        prior.logits.normal_()
        prior.log_scale.normal_(0, 0.3)
    z = torch.randn(50, 3, dtype=torch.float64)
    normal = torch.distributions.Normal(prior.loc, prior.log_scale.exp())
    each = normal.log_prob(z.unsqueeze(1)).sum(-1).exp()
    torch.testing.assert_close(prior().log_prob(z).exp(), (each * prior.logits.softmax(0)).sum(-1))


@pytest.mark.parametrize("labels", [False, True])
def test_labels_choose_a_component(labels: bool) -> None:
    prior = priors.GaussianMixture(shapes_of(CLASSES), components=CLASSES, labels=labels)
    d = prior(LABELS)
    assert d.batch_shape == ((BATCH,) if labels else ())
    assert prior(None).batch_shape == ()
    if labels:
        assert torch.equal(d.mean, prior.loc[LABELS])
        with pytest.raises(ValueError, match="as many components as classes, got 4 and 3: give components=3"):
            priors.GaussianMixture(shapes_of(CLASSES), components=4, labels=True)
    prior.check_classes(CLASSES)
    unaware = priors.GaussianMixture(shapes_of(0), components=4, labels=labels)
    with pytest.raises(ValueError, match="got 4 and 3") if labels else nullcontext():
        unaware.check_classes(CLASSES)


@pytest.mark.parametrize("num_classes", [0, CLASSES])
def test_vamp_prior_is_the_mean_of_posteriors(num_classes: int) -> None:
    """1/K sum_k q(z | u_k), over the pseudo-inputs of the label where there are labels."""
    shapes = shapes_of(num_classes)
    torch.manual_seed(0)
    prior = priors.VampPrior(shapes, components=7)
    posterior = posteriors.FullNormal(shapes, networks.MLPEncoder(shapes, hidden=(8,)))
    prior.attach(posterior)
    z, y = torch.randn(BATCH, 2), LABELS if num_classes else None
    found = prior(y).expand([BATCH]).log_prob(z)
    for i in range(BATCH):
        mine = [k for k in range(7) if not num_classes or k % num_classes == LABELS[i]]
        label = None if y is None else y[i : i + 1]
        each = torch.stack([posterior(prior.pseudo_inputs[k : k + 1], label).log_prob(z[i]).exp() for k in mine])
        torch.testing.assert_close(found[i].exp(), each.mean(), rtol=1e-4, atol=1e-6)
    assert not [name for name in prior.state_dict() if "posterior" in name]


def test_vamp_prior_starts_from_data() -> None:
    shapes = shapes_of(CLASSES)
    prior = priors.VampPrior(shapes, components=6)
    images, labels = torch.rand(20, *shapes.image_shape), torch.arange(20) % CLASSES
    prior.start_from(images, labels)
    for k in range(6):
        (found,) = (images == prior.pseudo_inputs[k]).flatten(1).all(1).nonzero().flatten().tolist()
        assert labels[found] == k % CLASSES
    with pytest.raises(ValueError, match="no image of class 2"):
        prior.start_from(images[labels < 2], labels[labels < 2])
    with pytest.raises(ValueError, match="conditional on a label"):
        prior.start_from(images)
    with pytest.raises(ValueError, match="has no posterior yet: build it with a model"):
        prior(LABELS)


@pytest.mark.parametrize("kind", ["realnvp", "maf", "nsf"])
def test_identity_flow_is_the_standard_normal(kind: str) -> None:
    shapes = shapes_of(0, latent_dim=4)
    flow = priors.Flow(shapes, kind=kind)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    z = torch.randn(100, 4)
    torch.testing.assert_close(flow().log_prob(z), priors.StandardNormal(shapes)().log_prob(z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("row", [r for r in PRIORS + POSTERIORS if r.part in (priors.Flow, posteriors.Flow)], ids=repr)
def test_flows_of_one_dimension(row: Row) -> None:
    shapes = shapes_of(CLASSES, latent_dim=1)
    d = part_of(row, shapes)(*inputs_of(row, shapes)).expand([BATCH])
    assert torch.isfinite(d.log_prob(d.sample())).all()


def test_a_flow_leaves_validation_on() -> None:
    """Importing zuko switches it off for every distribution, and grey pixels would pass unseen."""
    priors.Flow(shapes_of(0))
    with pytest.raises(ValueError, match="within the support"):
        dist.Bernoulli(0.5).log_prob(torch.tensor(0.3))


def test_a_students_many_degrees_of_freedom_are_a_normal() -> None:
    z = torch.randn(50, 2, dtype=torch.float64)
    student = priors.StudentT(shapes_of(0), df=1e6).double()().log_prob(z)
    torch.testing.assert_close(student, priors.StandardNormal(shapes_of(0)).double()().log_prob(z), rtol=0, atol=1e-3)


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


def test_pixels_outside_of_a_support_are_found() -> None:
    shapes = shapes_of(0)
    z, levels = torch.randn(BATCH, 2), torch.randint(0, 256, (BATCH, *shapes.image_shape)) / 255
    levels[:, 0, 0, 0] = 0.0
    for row in LIKELIHOODS:
        d = row.build(shapes)(z)
        if row.part in (likelihoods.Categorical, likelihoods.DiscretizedLogistic):
            assert d.support.check(levels).all()
            assert not d.support.check(levels + 0.002).any()
        if row.part is likelihoods.Beta:
            assert d.support.check(levels).all() == bool(row.arguments)
        if row.part in (likelihoods.Poisson, likelihoods.NegativeBinomial):
            assert not d.support.check(levels - 1).any()


def test_continuous_bernoulli_is_right_around_one_half() -> None:
    """In float32, with its slope, against the closed form in float64: log(l / (e^l - 1)) + x l."""
    logits = torch.tensor([-30.0, -3.0, -0.31, -0.29, -1e-2, -1e-5, 0.0, 1e-4, 0.2, 0.4, 30.0], requires_grad=True)
    x = torch.tensor([0.0, 0.2, 0.5, 1.0]).unsqueeze(1)
    found = likelihoods.StableContinuousBernoulli(logits=logits).log_prob(x)
    exact = logits.detach().double()
    exact = torch.where(exact == 0, 1e-9, exact).requires_grad_()
    # Where expm1 is 1e-9 its own quotient is still right to nine digits; the slope there is that of l / 2.
    by_hand = torch.log(exact / torch.expm1(exact)) + x.double() * exact
    torch.testing.assert_close(found.double(), by_hand, rtol=1e-6, atol=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    series = -len(x) * (0.5 + exact / 12) + x.sum()
    closed = len(x) * (1 / exact - 1 / -torch.expm1(-exact)) + x.sum()
    torch.testing.assert_close(slope.double(), torch.where(exact.abs() < 1e-3, series, closed), rtol=1e-5, atol=2e-6)


def test_beta_is_the_librarys() -> None:
    a, b = torch.rand(2, 7) * 3 + 0.1
    low, width = torch.tensor(-0.1), torch.tensor(1.2)
    x = torch.linspace(-0.05, 1.05, 7)
    found = likelihoods.continuous.OpenAffineBeta(a, b, low, width).log_prob(x)
    torch.testing.assert_close(found, dist.AffineBeta(a, b, low, width).log_prob(x))


def test_continuous_bernoulli_is_drawn_right_around_one_half() -> None:
    logits = torch.tensor([-1e-7, 0.0, 0.02, -0.3, 3.0])
    d = likelihoods.StableContinuousBernoulli(logits=logits, lims=(0.45, 0.55))
    u = torch.linspace(0.001, 0.999, 999).double().unsqueeze(1)
    exact = torch.log1p(u * torch.expm1(logits.double())) / logits.double()
    exact[:, :2] = u
    torch.testing.assert_close(d.icdf(u.float()), exact.float(), rtol=1e-4, atol=1e-5)
