"""Objectives: weights and schedules, and bounds whose values and gradients are known."""

import math
from functools import partial
from itertools import pairwise

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO
from torch import Tensor, nn

from pyrovae import VAE, Autoencoder, LatentVariableModel, Trainer, likelihoods, networks, posteriors, priors
from pyrovae.data.synthetic import LinearGaussian
from pyrovae.engine import SVI
from pyrovae.objectives import FreeBits, ImportanceWeighted, Objective, Renyi, TraceELBO, TraceMeanField

ONE = torch.tensor(1.0)


class Affine(nn.Module):
    """Features of an image: itself, or a linear map of it."""

    def __init__(self, shapes: object) -> None:
        super().__init__()
        self.out_features = math.prod(shapes.image_shape)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x.flatten(1)


class LinearDecoder(nn.Module):
    def __init__(self, data: LinearGaussian) -> None:
        super().__init__()
        self.weight = nn.Parameter(data.weight.clone())
        self.offset = nn.Parameter(data.offset.clone())
        self.image_shape = data.image_shape

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z @ self.weight.T + self.offset).unflatten(-1, self.image_shape)


@pytest.fixture
def data() -> LinearGaussian:
    """Three correlated codes, eight pixels."""
    return LinearGaussian.random(
        (1, 2, 4), 3, scale=0.7, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def linear(data: LinearGaussian, posterior: object = posteriors.DiagonalNormal) -> LatentVariableModel:
    """The true model, with a posterior that is linear in the image."""
    torch.manual_seed(0)
    model = VAE(
        data.image_shape,
        data.latent_dim,
        encoder=Affine,
        likelihood=lambda shapes, decoder: likelihoods.Normal(shapes, lambda c: LinearDecoder(data), scale=data.scale),
        posterior=posterior,
    ).double()
    model.likelihood.scale.fill_(data.scale)  # the float32 of 0.7 is not 0.7
    return model


def small(**arguments: object) -> LatentVariableModel:
    torch.manual_seed(0)
    return VAE(
        (1, 3, 3),
        2,
        encoder=partial(networks.MLPEncoder, hidden=(6,)),
        decoder=partial(networks.MLPDecoder, hidden=(6,)),
        **arguments,
    )


def pixels(n: int = 5) -> Tensor:
    return torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(3)).round()


def loss_and_gradients(
    objective: Objective, model: LatentVariableModel, x: Tensor, seed: int = 0, loss: ELBO | None = None
) -> tuple[float, list[Tensor]]:
    """Loss and gradients as the engine sees them: by a step of size 1, which is taken back."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    svi = SVI(
        objective.weighted(model.model),
        objective.weighted(model.guide),
        torch.optim.SGD(model.parameters(), 1.0),
        loss=loss or objective.elbo(),
        engine="pyro",
    )
    torch.manual_seed(seed)
    found = float(svi.update(ONE.to(x.dtype), x).loss)
    gradients = [before[name] - p.detach() for name, p in model.named_parameters()]
    model.load_state_dict(before, strict=False)
    return found, gradients


# -- weights and schedules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "betas"),
    [
        (TraceELBO(beta=3.0), [3.0, 3.0, 3.0, 3.0, 3.0]),
        (TraceELBO(beta=2.0, warmup=0.5), [0.0, 1.0, 2.0, 2.0, 2.0]),
        (TraceELBO(beta=2.0, warmup=1.0, schedule="sigmoid"), [0.0, 0.090, 1.0, 1.910, 2.0]),
        (TraceELBO(beta=2.0, warmup=0.5, schedule="cyclical", cycles=2), [0.0, 2.0, 0.0, 2.0, 2.0]),
        (ImportanceWeighted(), [1.0] * 5),
        (Renyi(), [1.0] * 5),
    ],
    ids=repr,
)
def test_beta_follows_its_schedule(objective: Objective, betas: list[float]) -> None:
    found = [objective.beta_at(progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx(betas, abs=2e-3)


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (TraceELBO, {"beta": -1.0}, "beta, the weight of the KL term, must be at least 0"),
        (TraceELBO, {"reconstruction_weight": -1.0}, "reconstruction_weight must be at least 0"),
        (TraceELBO, {"beta": 0.0, "reconstruction_weight": 0.0}, "cannot both be 0"),
        (TraceELBO, {"warmup": 1.5}, "warmup must be a share"),
        (TraceELBO, {"schedule": "cosine"}, "schedule must be linear, sigmoid or cyclical"),
        (TraceELBO, {"cycles": 0}, "cycles must be at least 1"),
        (TraceMeanField, {"particles": 0}, "particles must be a whole number of at least 1"),
        (FreeBits, {"nats": -0.1}, "nats, the free part of the KL"),
        (FreeBits, {"per": "image"}, "per must be one of dimension, code"),
        (ImportanceWeighted, {"k": 0}, "k must be a whole number of at least 1"),
        (ImportanceWeighted, {"gradient": "rws"}, "gradient must be one of standard, stl, dreg"),
        (Renyi, {"alpha": 1.0}, "use TraceELBO"),
        (Renyi, {"alpha": -1.0}, "there is no lower bound"),
    ],
)
def test_wrong_arguments_are_refused(cls: type, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


def test_beta_and_weight_count_as_they_say() -> None:
    """Loss = weight * reconstruction + beta * KL, per image, with the same code."""
    model, x = small(), pixels()
    torch.manual_seed(0)
    q = model.posterior(x)
    z = q.rsample()
    reconstruction = -model.likelihood(z).log_prob(x).mean()
    kl = (q.log_prob(z) - model.prior().log_prob(z)).mean()
    objective = TraceELBO(reconstruction_weight=2.0)
    torch.manual_seed(0)
    loss = objective.elbo().loss(objective.weighted(model.model), objective.weighted(model.guide), torch.tensor(0.3), x)
    assert loss == pytest.approx((2 * reconstruction + 0.3 * kl).item(), rel=1e-5)


def test_beta_is_the_scale_of_a_normal_likelihood() -> None:
    """2 s^2 * (loss of a Normal of scale s) = squared error + beta KL with beta = 2 s^2, up to a constant."""
    s, x = 0.3, pixels()
    model = small(likelihood=partial(likelihoods.Normal, scale=s))
    torch.manual_seed(0)
    q = model.posterior(x)
    z = q.rsample()
    squares = (model.likelihood(z).mean - x).square().sum((1, 2, 3)).mean()
    kl = (q.log_prob(z) - model.prior().log_prob(z)).mean()
    by_hand = torch.autograd.grad(squares + 2 * s**2 * kl, list(model.parameters()))
    _, gradients = loss_and_gradients(TraceELBO(), model, x)
    for g, expected in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(2 * s**2 * g, expected, rtol=1e-4, atol=2e-6)


# -- the KL in closed form, and free bits --------------------------------------------------------------------------


def test_mean_field_is_the_mean_of_the_sampled_elbo() -> None:
    model, x = small(), pixels()
    losses = [loss_and_gradients(TraceELBO(particles=50), model, x, seed)[0] for seed in range(60)]
    exact = [loss_and_gradients(TraceMeanField(particles=50), model, x, seed)[0] for seed in range(60)]
    difference = torch.tensor(losses) - torch.tensor(exact)
    assert abs(difference.mean()) < 5 * difference.std() / math.sqrt(60)


def test_mean_field_says_where_there_is_no_closed_form() -> None:
    assert TraceMeanField().check(small()) is None
    notice = TraceMeanField().check(small(prior=priors.GaussianMixture))
    assert "no closed form of the KL from Normal to MixtureOfVectors" in notice


def test_free_bits_hold_the_kl_up() -> None:
    """A KL below the allowance counts as the allowance and has no gradient; one above counts as itself."""
    model, x = small(), pixels()
    objective = TraceMeanField()
    torch.manual_seed(0)
    loss = objective.elbo().loss(objective.weighted(model.model), objective.weighted(model.guide), ONE * 0, x)
    much, gradients = loss_and_gradients(FreeBits(nats=50.0), model, x)
    assert much == pytest.approx(loss + 2 * 50.0, rel=1e-5)
    nothing, _ = loss_and_gradients(FreeBits(nats=0.0), model, x)
    assert nothing == pytest.approx(loss_and_gradients(TraceMeanField(), model, x)[0], rel=1e-5)
    whole, _ = loss_and_gradients(FreeBits(nats=50.0, per="code"), model, x)
    assert whole == pytest.approx(loss + 50.0, rel=1e-5)
    scales = gradients[[name for name, _ in model.named_parameters()].index("posterior.head.bias")]
    assert scales.abs().sum() > 0  # of the reconstruction alone


def test_free_bits_of_each_dimension_need_its_kl() -> None:
    model = small(posterior=posteriors.FullNormal)
    with pytest.raises(ValueError, match="none from MultivariateNormal to Normal: give the allowance to the whole"):
        FreeBits().check(model)
    assert FreeBits(per="code").check(model) is None


@pytest.mark.parametrize("objective", [FreeBits(), ImportanceWeighted(), Renyi()], ids=repr)
def test_points_are_refused(objective: Objective) -> None:
    model = Autoencoder((1, 3, 3))
    assert TraceELBO().check(model) is None
    with pytest.raises(ValueError, match="needs a posterior with a density, and Delta is a point"):
        objective.check(model)


# -- importance weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0])
def test_bounds_are_pyros_per_image(alpha: float) -> None:
    """Value and gradients are those of Pyro's RenyiELBO over the number of images, at the same seed."""
    model, x = small(), pixels()
    objective = Renyi(alpha, k=4)
    loss, gradients = loss_and_gradients(objective, model, x)
    pyros = RenyiELBO(alpha, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    expected, by_pyro = loss_and_gradients(objective, model, x, loss=pyros)
    assert loss == pytest.approx(expected / len(x), rel=1e-5)
    for g, e in zip(gradients, by_pyro, strict=True):
        torch.testing.assert_close(g, e / len(x), rtol=1e-4, atol=2e-6)


def test_one_particle_is_the_elbo() -> None:
    model, x = small(), pixels()
    loss, gradients = loss_and_gradients(ImportanceWeighted(k=1), model, x)
    expected, by_elbo = loss_and_gradients(TraceELBO(), model, x)
    assert loss == pytest.approx(expected, rel=1e-5)
    for g, e in zip(gradients, by_elbo, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(("gradient", "particles"), [("stl", 1), ("dreg", 1), ("dreg", 4)])
@pytest.mark.parametrize("posterior", [posteriors.DiagonalNormal, posteriors.FullNormal])
def test_pathwise_gradients_are_unbiased(gradient: str, particles: int, posterior: type) -> None:
    """Their mean over many seeds is that of the standard gradient, within five standard errors."""
    model, x = small(posterior=posterior), pixels(2)
    draws = {}
    for name in ("standard", gradient):
        objective = ImportanceWeighted(particles, name)
        found = [loss_and_gradients(objective, model, x.repeat(60, 1, 1, 1), s)[1] for s in range(40)]
        draws[name] = torch.stack([torch.cat([g.flatten() for g in gs]) for gs in found])
    difference = draws[gradient].mean(0) - draws["standard"].mean(0)
    error = sum(d.var(0) / len(d) for d in draws.values()).sqrt()
    assert (difference.abs() <= 5 * error + 1e-6).all()


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_pathwise_gradients_vanish_at_the_exact_posterior(data: LinearGaussian, gradient: str) -> None:
    """There log p(x, z) - log q(z) is constant in z, so each draw's gradient is zero; the standard one's is noise."""
    model = linear(data, posteriors.FullNormal)
    set_exact(model, data)
    x = data.sample(20, torch.Generator().manual_seed(1))
    _, standard = loss_and_gradients(ImportanceWeighted(4), model, x)
    _, quiet = loss_and_gradients(ImportanceWeighted(4, gradient), model, x)
    heads = [i for i, (name, _) in enumerate(model.named_parameters()) if name.startswith("posterior.head")]
    assert all(quiet[i].abs().max() < 1e-10 for i in heads)
    assert max(standard[i].abs().max() for i in heads) > 1e-3


def set_exact(model: LatentVariableModel, data: LinearGaussian) -> None:
    """Gives a FullNormal posterior the exact mean and covariance."""
    with torch.no_grad():
        zero, covariance = data.posterior(torch.zeros(1, len(data.weight), dtype=torch.float64))
        unit, _ = data.posterior(torch.eye(len(data.weight), dtype=torch.float64))
        tril = torch.linalg.cholesky(covariance)
        n = data.latent_dim
        head = model.posterior.head
        head.weight.zero_()
        head.weight[:n] = (unit - zero).T
        head.bias[:n] = zero[0]
        head.bias[n : 2 * n] = tril.diagonal().log()
        head.bias[2 * n :] = tril[model.posterior.rows, model.posterior.columns]


def test_full_normal_reaches_the_evidence_and_a_diagonal_one_cannot() -> None:
    """With the best diagonal posterior the ELBO misses log p(x) by half the log-ratio of the determinants."""
    weight = torch.tensor([[1.0, 0.8], [0.5, 0.9], [-0.6, -0.2], [0.3, 0.7]], dtype=torch.float64)
    data = LinearGaussian(weight, torch.zeros(4, dtype=torch.float64), 0.5, (1, 2, 2))
    x = data.sample(64, torch.Generator().manual_seed(1))
    evidence = data.log_evidence(x).mean()
    _, covariance = data.posterior(x)
    precision = torch.linalg.inv(covariance)
    gap = 0.5 * (precision.diagonal().log().sum() - torch.linalg.slogdet(precision).logabsdet)
    for posterior, missing in ((posteriors.FullNormal, 0.0), (posteriors.DiagonalNormal, float(gap))):
        model = linear(data, posterior)
        model.likelihood.requires_grad_(False)
        trained = [p for p in model.parameters() if p.requires_grad]
        svi = SVI(
            (objective := ImportanceWeighted(1, "stl")).weighted(model.model),
            objective.weighted(model.guide),
            optimizer := torch.optim.Adam(trained),
            loss=objective.elbo(),
            engine="graph",
        )
        many = x.repeat(8, 1, 1, 1)
        for step in range(1000):
            optimizer.param_groups[0]["lr"] = 0.05 * 0.5 ** (max(0, step - 500) // 125)
            svi.update(ONE.double(), many)
        elbo = Trace_ELBO(num_particles=2000, vectorize_particles=True, max_plate_nesting=1)
        found = -elbo.loss(model.model, model.guide, x) / len(x)
        assert found == pytest.approx(float(evidence) - missing, abs=0.02)
    assert gap > 0.4


def test_importance_weighted_bound_rises_to_the_evidence(data: LinearGaussian) -> None:
    model = linear(data)
    set_diagonal(model, data)
    x = data.sample(50, torch.Generator().manual_seed(1))
    evidence = float(data.log_evidence(x).mean())
    bounds, errors = [], []
    for k in (1, 5, 50, 1000):
        objective = ImportanceWeighted(k)
        programs = objective.weighted(model.model), objective.weighted(model.guide)
        found = torch.tensor([-objective.elbo().loss(*programs, ONE, x) for _ in range(30)])
        bounds.append(float(found.mean()))
        errors.append(float(found.std()) / math.sqrt(30))
    for (low, high), (e, f) in zip(pairwise(bounds), pairwise(errors), strict=True):
        assert high > low - 5 * math.hypot(e, f)
    assert bounds[0] < evidence - 5 * errors[0]
    assert bounds[1] > bounds[0] + 5 * errors[0]
    assert bounds[-1] == pytest.approx(evidence, abs=0.01 + 5 * errors[-1])


def set_diagonal(model: LatentVariableModel, data: LinearGaussian) -> None:
    """Gives a DiagonalNormal the exact mean, and scales that are too large."""
    with torch.no_grad():
        zero, covariance = data.posterior(torch.zeros(1, len(data.weight), dtype=torch.float64))
        unit, _ = data.posterior(torch.eye(len(data.weight), dtype=torch.float64))
        n = data.latent_dim
        model.posterior.head.weight.zero_()
        model.posterior.head.weight[:n] = (unit - zero).T
        model.posterior.head.bias[:n] = zero[0]
        model.posterior.head.bias[n:] = 0.5 * covariance.diagonal().log() + 0.3


class TwoCodes(nn.Module):
    """A model of two codes, the second drawn from the first in model and guide."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(-0.2))

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("images", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            v = pyro.sample("v", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(v + self.a, 0.5), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("images", len(x)):
            u = pyro.sample("u", dist.Normal(self.a * x, self.b.exp()))
            pyro.sample("v", dist.Normal(u + self.b * x, 0.7))


@pytest.mark.parametrize(("gradient", "particles"), [("stl", 1), ("dreg", 1), ("dreg", 3)])
def test_pathwise_gradients_follow_a_hierarchy_of_codes(gradient: str, particles: int) -> None:
    """Codes that depend on each other: the mean gradient is the standard one's, within five standard errors."""
    model, x = TwoCodes(), torch.randn(400)
    draws = [
        torch.stack(
            [torch.stack(loss_and_gradients(ImportanceWeighted(particles, g), model, x, s)[1]) for s in range(60)]
        )
        for g in ("standard", gradient)
    ]
    difference = draws[0].mean(0) - draws[1].mean(0)
    assert (difference.abs() < 5 * sum(d.var(0) / len(d) for d in draws).sqrt()).all()


def test_a_draw_without_gradient_is_refused_by_name() -> None:
    class Rejected(dist.Normal):
        has_rsample = False

    model, x = small(), pixels()
    model.posterior.forward = lambda x, y=None: Rejected(torch.zeros(len(x), 2), 1.0).to_event(1)
    with pytest.raises(ValueError, match=r"those of 'z' .* are not differentiable: use gradient standard"):
        loss_and_gradients(ImportanceWeighted(2, "dreg"), model, x)


@pytest.mark.parametrize("given", [{"beta": 0}, {"beta": 4, "warmup": 1}, {"reconstruction_weight": 3}])
def test_a_whole_number_is_the_same_weight_as_its_float(given: dict[str, int], digits) -> None:
    """Weights of the terms are tensors, and one of whole numbers cut the reconstruction's weight per image to 0."""
    losses = []
    for convert in (int, float):
        pyro.set_rng_seed(0)
        vae = VAE(digits.image_shape, 2)
        objective = TraceELBO(**{name: convert(value) for name, value in given.items()})
        trainer = Trainer(epochs=1, objective=objective, engine="pyro", seed=0)
        losses.append(trainer.fit(vae, digits, progress=False).rows[-1]["loss"])
    assert losses[0] == losses[1]
