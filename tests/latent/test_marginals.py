"""Marginal posteriors against closed forms, for every family."""

import numpy as np
import pytest
import torch

from pyrovae import CVAE, VAE, Autoencoder
from pyrovae import posteriors as q
from pyrovae import priors as p
from pyrovae.data import ImageSet, Split, fixed_split, to_unit
from pyrovae.latent import encode, marginals
from pyrovae.latent.codes import prior_moments
from pyrovae.objectives import kl_per_dimension


@pytest.fixture
def split(digits: ImageSet) -> Split:
    return fixed_split(digits.split("test"), "dynamic").take(range(4))


FAMILIES = {
    "diagonal": (q.DiagonalNormal, p.StandardNormal, True),
    "full": (q.FullNormal, p.StandardNormal, True),
    "low rank": (q.LowRankNormal, p.StandardNormal, True),
    "laplace": (q.Laplace, p.Laplace, True),
    "student": (q.StudentT, p.StudentT, True),
    "box": (q.Beta, p.Uniform, True),
    "torus": (q.WrappedNormal, p.VonMises, True),
    "mixture": (q.Mixture, p.GaussianMixture, False),
    "flow": (q.Flow, p.StandardNormal, False),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_densities_are_densities(name: str, split: Split) -> None:
    posterior, prior, exact = FAMILIES[name]
    model = VAE((1, 8, 8), 2, posterior=posterior, prior=prior)
    found = marginals(model, split, points=600)
    assert found.exact == exact
    assert found.points.shape == found.posterior.shape == found.prior.shape == (4, 2, 600)
    for density in (found.posterior, found.prior):
        np.testing.assert_allclose(np.trapezoid(density, found.points, axis=-1), 1, atol=0.03)
    assert (found.kl > -0.02).all()
    assert np.isfinite(found.kl).all()


@pytest.mark.parametrize("prior", [p.StandardNormal, p.Laplace])
def test_kl_is_the_closed_form(prior: type, split: Split) -> None:
    posterior = q.Laplace if prior is p.Laplace else q.DiagonalNormal
    model = VAE((1, 8, 8), 3, posterior=posterior, prior=prior)
    with torch.no_grad():
        model.posterior.head.bias[3:] = torch.tensor([-3.0, 0.0, -1.0])  # narrow, as wide as the prior, between
        closed = kl_per_dimension(model.posterior(to_unit(split.images)), model.prior(None))
    np.testing.assert_allclose(marginals(model, split, points=800).kl, closed, rtol=0.01, atol=0.005)


def test_marginals_of_a_correlated_posterior_are_its_own(split: Split) -> None:
    model = VAE((1, 8, 8), 3, posterior=q.FullNormal)
    found = marginals(model, split, dims=[2])
    with torch.no_grad():
        own = model.posterior(to_unit(split.images))
        normal = torch.distributions.Normal(own.mean[:, 2:], own.covariance_matrix[:, 2, 2:].sqrt())
        np.testing.assert_allclose(found.posterior[:, 0], normal.log_prob(torch.tensor(found.points[:, 0])).exp(), 1e-4)
    assert list(found.dims) == [2]


def test_kernel_estimates_are_near_the_truth(split: Split) -> None:
    """A mixture whose components are one Normal has that Normal's density."""
    model = VAE((1, 8, 8), 2, posterior=q.Mixture)
    with torch.no_grad():
        for parameter in model.posterior.head.parameters():
            parameter.zero_()
    found = marginals(model, split)
    normal = np.exp(-(found.points**2) / 2) / np.sqrt(2 * np.pi)
    spread = model.posterior(to_unit(split.images)).variance.sqrt()
    if torch.allclose(spread, torch.ones_like(spread)):
        np.testing.assert_allclose(found.posterior, normal, atol=0.04)
    assert "estimated from" in str(found)


def test_a_conditional_models_prior_is_its_classs_own(split: Split) -> None:
    prior = p.Normal
    model = CVAE((1, 8, 8), 10, 2, prior=lambda shapes: prior(shapes, per_class=True))
    with torch.no_grad():
        next(iter(model.prior.parameters())).copy_(torch.arange(10.0)[:, None].expand(10, 2))
    found = marginals(model, split)
    peak = np.take_along_axis(found.points, found.prior.argmax(-1, keepdims=True), -1)[..., 0]
    np.testing.assert_allclose(peak, np.repeat(split.labels.numpy()[:, None], 2, 1), atol=0.1)


def test_what_cannot_be_is_said(split: Split) -> None:
    with pytest.raises(ValueError, match="an autoencoder's code is a point"):
        marginals(Autoencoder((1, 8, 8), 2), split)
    with pytest.raises(ValueError, match="dimensions 0 to 1, got"):
        marginals(VAE((1, 8, 8), 2), split, dims=[2])
    with pytest.raises(ValueError, match="the split is empty"):
        marginals(VAE((1, 8, 8), 2), split.take([]))


@pytest.mark.parametrize("name", ["full", "low rank", "mixture", "flow"])
def test_covariances_of_correlated_posteriors_are_their_draws(name: str, split: Split) -> None:
    posterior, prior, _ = FAMILIES[name]
    model = VAE((1, 8, 8), 2, posterior=posterior, prior=prior)
    found = encode(model, split)
    torch.manual_seed(1)
    with torch.no_grad():
        draws = model.posterior(to_unit(split.images)).sample(torch.Size([20_000])).numpy()
    truth = np.stack([np.cov(draws[:, n].T) for n in range(4)])
    scale = np.sqrt(np.einsum("ndd,nff->ndf", truth, truth))
    tolerance = 0.03 if found.exact else 5 / np.sqrt(128)
    assert (np.abs(found.covariances() - truth) < tolerance * scale).all()
    assert (np.abs(found.means - draws.mean(0)) < tolerance * np.sqrt(np.einsum("ndd->nd", truth))).all()


def test_moments_of_priors() -> None:
    mean, covariance = prior_moments(VAE((1, 8, 8), 3))
    np.testing.assert_array_equal(mean, np.zeros(3))
    np.testing.assert_array_equal(covariance, np.eye(3))
    model = VAE((1, 8, 8), 2, prior=p.GaussianMixture)
    mean, covariance = prior_moments(model)
    torch.manual_seed(0)
    draws = model.prior(None).sample(torch.Size([100_000])).numpy()
    np.testing.assert_allclose(mean, draws.mean(0), atol=0.02)
    np.testing.assert_allclose(covariance, np.cov(draws.T), atol=0.05)
    conditional = CVAE((1, 8, 8), 4, 1, prior=lambda shapes: p.Normal(shapes, per_class=True))
    with torch.no_grad():
        next(iter(conditional.prior.parameters())).copy_(torch.tensor([[0.0], [0.0], [4.0], [4.0]]))
    mean, covariance = prior_moments(conditional)
    assert mean == pytest.approx([2.0])
    assert covariance[0, 0] == pytest.approx(5.0, rel=1e-5)


def test_the_table_names_images_and_classes(split: Split) -> None:
    found = marginals(VAE((1, 8, 8), 2), split)
    assert str(found).splitlines()[1].split() == ["image", "class", "z[0]", "z[1]", "sum"]
    assert [line.split()[:2] for line in str(found).splitlines()[2:]] == [
        [str(i), str(int(label))] for i, label in enumerate(split.labels)
    ]
    lines = found.table([3, 7, 12, 15], [f"class-{k}" for k in range(10)]).splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [
        [str(number), f"class-{label}"] for number, label in zip([3, 7, 12, 15], split.labels, strict=True)
    ]
    assert len({len(line) for line in lines[1:]}) == 1
