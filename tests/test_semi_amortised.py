"""The semi-amortised posterior: its limits on a model that is known, its bound, its gradients, its engines."""

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from linear_models import Known, make_known
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyrovae import (
    CVAE,
    SVI,
    VAE,
    LatentVariableModel,
    SemiSupervisedVAE,
    Trainer,
    likelihoods,
    networks,
    posteriors,
    priors,
)
from pyrovae.data import ImageSet, fixed_split
from pyrovae.export.networks import EncoderNetwork
from pyrovae.inference import estimate_elbo, fit_local, importance_weighted
from pyrovae.latent import encode
from pyrovae.objectives import FewLabels, TraceELBO
from pyrovae.posteriors import DiagonalNormal, FullNormal, SemiAmortised
from pyrovae.posteriors.semi_amortised import _fixed_points

FAMILIES = [DiagonalNormal, FullNormal]


@pytest.fixture
def known() -> Known:
    """Three images of two correlated dimensions."""
    return make_known(2, 3)


class Bad(nn.Module):
    """An encoder that never looks at the image."""

    out_features = 3

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.ones(len(x), 3, dtype=x.dtype)


def posterior_of(family: type, encoder: type = Bad, **arguments: object):
    return lambda shapes, _: SemiAmortised(shapes, encoder(), posterior=family, **arguments)


def known_model(known: Known, family: type, **arguments: object) -> VAE:
    """The true model, and a posterior whose encoder puts the mean at 3 and the scale at 5."""
    model = known.model(posterior_of(family, **arguments))
    with torch.no_grad():
        head = model.posterior.posterior.head
        head.weight.zero_()
        head.bias.zero_()
        n = known.truth.latent_dim
        head.bias[:n], head.bias[n : 2 * n] = 3.0, 1.6
    return model.double().eval()


def small(cls: type = VAE, seed: int = 0, posterior: object = SemiAmortised, **more: object) -> LatentVariableModel:
    torch.manual_seed(seed)
    return cls(
        (1, 3, 3),
        **({} if cls is VAE else {"num_classes": 3}),
        latent_dim=2,
        encoder=partial(networks.MLPEncoder, hidden=(6,), activation=nn.Tanh),
        decoder=partial(networks.MLPDecoder, hidden=(6,), activation=nn.Tanh),
        posterior=posterior,
        **more,
    ).eval()


def pixels(n: int = 6) -> Tensor:
    return torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(3)).round()


# -- a model that is known -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 4])
def test_a_full_normal_reaches_the_posterior_from_a_bad_encoder(dims: int) -> None:
    known = make_known(dims, 3)
    q = known_model(known, FullNormal, steps=60).posterior(known.x.double())
    torch.testing.assert_close(q.mean, known.mean.double(), rtol=1e-4, atol=1e-4)
    covariance = known.covariance.double().expand_as(q.covariance_matrix)
    torch.testing.assert_close(q.covariance_matrix, covariance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bound_reaches_the_best_of_the_family(family: type, known: Known) -> None:
    """log p(x) of a full Normal, and of a diagonal one that less the KL of the best diagonal Normal."""
    model, x = known_model(known, family, steps=80), known.x.double()
    posterior = model.posterior
    found = posterior.bound(posterior.outputs(x), x)
    short = known.approximation if family is DiagonalNormal else 0.0
    torch.testing.assert_close(found, known.truth.log_evidence(known.x).double() - short, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_points_give_the_bound_exactly_where_it_is_quadratic(family: type, known: Known) -> None:
    """Against the closed form E log p(x, z) + H(q) of a Gaussian model: the bound is log p(x) - KL(q || p(z | x))."""
    model, x = known_model(known, family, steps=1), known.x.double()
    outputs = torch.randn(3, 5 if family is FullNormal else 4, dtype=torch.float64)
    q = model.posterior.posterior.of(outputs)
    covariance = q.covariance_matrix if family is FullNormal else torch.diag_embed(q.variance)
    q = torch.distributions.MultivariateNormal(q.mean, covariance)
    truth = torch.distributions.MultivariateNormal(known.mean.double(), known.covariance.double())
    exact = known.truth.log_evidence(known.x).double() - torch.distributions.kl_divergence(q, truth)
    torch.testing.assert_close(model.posterior.bound(outputs, x), exact, rtol=1e-4, atol=1e-4)


# -- its bound -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lr", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_image_is_worse_than_by_the_encoder_and_more_steps_are_no_worse(family: type, lr: float, seed: int) -> None:
    """Whatever the decoder, far from the optimum too."""
    x, bounds = pixels(20), []
    for steps in (1, 2, 5, 20):
        model = small(seed=seed, posterior=partial(SemiAmortised, posterior=family, steps=steps, lr=lr))
        with torch.no_grad():
            model.posterior.posterior.head.weight.mul_(5)
            model.likelihood.decoder.layers[0].weight.mul_(8)
        posterior = model.posterior
        if not bounds:
            bounds.append(posterior.bound(posterior.posterior.outputs(x, None), x))
        bounds.append(posterior.bound(posterior.outputs(x), x))
    for low, high in pairwise(bounds):
        assert (high >= low - 1e-4).all()
    assert (bounds[-1] > bounds[0] + 0.1).float().mean() > 0.5


def test_the_bound_on_digits_is_better_than_the_encoders(digits: ImageSet) -> None:
    """By draws of the guide's own, not by the fixed points: a trained decoder, with and without the steps."""
    split = fixed_split(digits.split("test"), "dynamic").take(range(100))
    torch.manual_seed(0)
    model = VAE(digits.image_shape, 2)
    Trainer(epochs=10, engine="graph").fit(model, digits, progress=False)
    plain = estimate_elbo(model, split).negative_elbo.value
    refined = SemiAmortised(model.shapes, model.posterior.encoder, steps=10)
    refined.posterior = model.posterior
    model.posterior = refined
    better = estimate_elbo(model, split).negative_elbo.value
    assert better < plain - 0.05


# -- gradients and engines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_of_a_batch_is_refined_and_the_other_teaches_the_encoder(family: type, batch: int) -> None:
    """The gradients of a step, against those of the two bounds written down by themselves."""
    model = small(posterior=partial(SemiAmortised, posterior=family, steps=2)).double().train()
    x, posterior = pixels(batch).double(), model.posterior
    with torch.no_grad():
        refined = posterior.outputs(x)[: batch // 2]
    loss = Trace_ELBO().differentiable_loss
    torch.manual_seed(5)
    found = torch.autograd.grad(loss(model.model, model.guide, x), list(model.parameters()))
    numbers = torch.cat([refined, posterior.posterior.outputs(x, None)[batch // 2 :]])
    torch.manual_seed(5)
    q = posterior.posterior.of(numbers)
    z = q.rsample()
    by_hand = (q.log_prob(z) - model.prior().log_prob(z) - model.likelihood(z).log_prob(x)).sum()
    expected = torch.autograd.grad(by_hand, list(model.parameters()))
    torch.testing.assert_close(found, expected)
    assert not torch.equal(refined, posterior.posterior.outputs(x, None)[: batch // 2]) or batch == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("steps", [1, 3])
def test_training_leads_the_encoder_to_the_known_posterior_and_the_steps_closer(family: type, steps: int) -> None:
    """Beside the same encoder without steps. The fixed points give the bound exactly; the family's best is known."""
    known = make_known(2, 400)
    x = known.truth.sample(400, torch.Generator().manual_seed(7))
    evidence = known.truth.log_evidence(x)
    short = known.approximation if family is DiagonalNormal else 0.0
    gaps = {}
    for name, part in (("plain", family), ("refined", partial(SemiAmortised, posterior=family, steps=steps))):
        model = known.model(part)
        weights = [weight for weight in model.posterior.parameters() if weight.requires_grad]
        svi = SVI(model.model, model.guide, torch.optim.Adam(weights, 1e-2), Trace_ELBO(), engine="pyro")
        torch.manual_seed(2)
        for index in torch.randint(400, (250, 64)):
            svi.step(x[index])
        model.eval()
        ruler = SemiAmortised(model.shapes, Bad(), posterior=family)
        ruler.attach(model.prior, model.likelihood)
        with torch.no_grad():
            alone = model.posterior.posterior if name == "refined" else model.posterior
            starts = alone.outputs(x, None)
            gaps[f"{name}, encoder alone"] = float((evidence - ruler.bound(starts, x)).mean()) - short
            if name == "refined":
                gaps["refined"] = float((evidence - ruler.bound(model.posterior.outputs(x), x)).mean()) - short
    assert 0 <= gaps["refined"] < 0.5 * gaps["plain, encoder alone"]
    assert gaps["refined, encoder alone"] < 2 * gaps["plain, encoder alone"] + 0.1


def steps_by(engine: str, model: LatentVariableModel, *data: Tensor) -> tuple[list[float], list[Tensor]]:
    svi = SVI(model.model, model.guide, torch.optim.SGD(model.parameters(), 1e-3), Trace_ELBO(), engine=engine)
    torch.manual_seed(1)
    model.train()
    return [svi.step(*data) for _ in range(3)], list(model.parameters())


@pytest.mark.parametrize("cls", [VAE, CVAE])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_is_pyro(cls: type, family: type) -> None:
    """The slopes of the steps inside the traced graph."""
    data = (pixels(), torch.arange(6) % 3)[: 1 + (cls is CVAE)]
    parts = {"posterior": partial(SemiAmortised, posterior=family, steps=2), "prior": priors.VampPrior}
    check_engine("graph", lambda: small(cls, **parts), *data)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_compiled_graph_is_pyro(family: type) -> None:
    check_engine("compiled", lambda: small(posterior=partial(SemiAmortised, posterior=family, steps=2)), pixels())


def check_engine(engine: str, build: Callable[[], LatentVariableModel], *data: Tensor) -> None:
    (losses, expected), (found, weights) = (steps_by(name, build(), *data) for name in ("pyro", engine))
    assert found == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-5)


# -- the model that it is a part of --------------------------------------------------------------------------------


def test_it_is_a_function_of_the_image_that_draws_nothing() -> None:
    model, x = small(), pixels()
    before = torch.get_rng_state()
    first, second = model.posterior(x), model.posterior(x)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.mean, second.mean)
    with torch.no_grad():
        quiet = model.posterior(x)
    torch.testing.assert_close(quiet.mean, first.mean)
    assert not quiet.mean.requires_grad
    one = model.posterior(x[2:3])
    torch.testing.assert_close(one.mean, first.mean[2:3], rtol=1e-4, atol=1e-5)


def test_a_vamp_prior_is_made_of_what_the_encoder_says() -> None:
    """A mixture of refined posteriors would need itself."""
    model = small(prior=partial(priors.VampPrior, components=4))
    plain = model.posterior.posterior(model.prior.pseudo_inputs)
    torch.testing.assert_close(model.prior()._component_distribution.mean, plain.mean)


def test_its_weights_are_the_encoders_alone() -> None:
    model = small()
    names = [name for name in model.state_dict() if name.startswith("posterior")]
    assert names == [f"posterior.posterior.{name}" for name in model.posterior.posterior.state_dict()]
    twin = copy.deepcopy(model)
    assert twin.posterior._others == (twin.prior, twin.likelihood)
    other = small(seed=1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.posterior(pixels()).mean, model.posterior(pixels()).mean)


def test_a_part_that_is_put_in_later_is_refined_under() -> None:
    """Otherwise the steps would silently climb the bound of another model."""
    model, x = small(), pixels()
    before = model.posterior(x).mean
    model.prior = priors.Normal(model.shapes)
    with torch.no_grad():
        model.prior.loc.fill_(4.0)
    assert model.posterior._others == (model.prior, model.likelihood)
    assert (model.posterior(x).mean.mean(0) > before.mean(0) + 0.5).all()


@pytest.mark.parametrize(
    "likelihood", [likelihoods.Bernoulli, likelihoods.Categorical, likelihoods.DiscretizedLogistic, likelihoods.Beta]
)
def test_images_that_the_likelihood_refuses_are_encoded_too(likelihood: type) -> None:
    """Such as the decoder's own means; for a model with missing values too."""
    x = torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, 0] = 0.0
    for missing in (None, "zeros"):
        q = small(likelihood=likelihood, missing=missing).posterior(x)
        assert torch.isfinite(q.mean).all()
        assert torch.isfinite(q.variance).all()


def test_it_needs_a_model() -> None:
    shapes = small().shapes
    alone = SemiAmortised(shapes, networks.MLPEncoder(shapes))
    with pytest.raises(ValueError, match="has no prior and likelihood yet: build it with a model, or call attach"):
        alone(pixels())


def test_analyses_take_it(digits: ImageSet) -> None:
    """Codes, the bound, importance weights, the best of the family, export."""
    torch.manual_seed(0)
    model = VAE(digits.image_shape, 2, posterior=SemiAmortised)
    split = fixed_split(digits.split("test"), "dynamic").take(range(8))
    codes = encode(model, split)
    assert codes.exact
    assert codes.variances.shape == (8, 2)
    bound, weighted = estimate_elbo(model, split).negative_elbo.value, importance_weighted(model, split, 200)
    assert -weighted.mean < bound + 0.5
    best = fit_local(model, split, steps=40)
    assert best(model.posterior.noise.new_zeros(8, 1, 8, 8)).mean.shape == (8, 2)
    mean, variance = EncoderNetwork(model)(split.images.float() / 255)
    assert torch.isfinite(mean).all()
    assert variance.shape == (8, 2)


def test_a_model_of_few_labels_takes_it() -> None:
    torch.manual_seed(0)
    model = SemiSupervisedVAE((1, 3, 3), 3, 2, posterior=SemiAmortised)
    programs = TraceELBO().programs(model, FewLabels(2, 0.5))
    loss = programs.elbo.loss(programs.model, programs.guide, torch.tensor(1.0), pixels(), torch.tensor([0, 2]))
    assert 0 < loss < 50


def test_other_families_are_refused_by_name() -> None:
    for family in (posteriors.Flow, posteriors.Mixture, posteriors.Delta, posteriors.LowRankNormal):
        with pytest.raises(ValueError, match=f"{family.__name__} is none: use DiagonalNormal or FullNormal"):
            small(posterior=partial(SemiAmortised, posterior=family))
    with pytest.raises(ValueError, match="posterior DiagonalNormal reaches codes at which the prior Uniform has no"):
        small(prior=priors.Uniform)


@pytest.mark.parametrize(("count", "dimensions"), [(2, 1), (4, 2), (10, 5), (24, 5), (4, 5)])
def test_points_have_the_moments_of_a_normal(count: int, dimensions: int) -> None:
    points = _fixed_points(count, dimensions).double()
    assert points.shape == (count, dimensions)
    torch.testing.assert_close(points.mean(0), torch.zeros(dimensions, dtype=torch.float64), atol=1e-6, rtol=0)
    second = points.T @ points / count
    if count >= 2 * dimensions:
        torch.testing.assert_close(second, torch.eye(dimensions, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(second.diagonal(), torch.ones(dimensions, dtype=torch.float64), atol=1e-6, rtol=0)
    assert torch.equal(points[: count // 2], -points[count // 2 :])
