"""The linear-Gaussian model against brute force: dense covariances, Bayes' rule, quadrature, and its own samples."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from pyrovae.data import LinearGaussian


def make(image_shape=(1, 3, 4), latent_dim=3, scale=0.3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    model = LinearGaussian.random(image_shape, latent_dim, scale, generator=generator, dtype=dtype)
    return model, model.sample(7, generator)


def log_joint(model, x, z):
    """log p(x, z), (codes, images), of codes (codes, latent_dim)."""
    mean = z @ model.weight.T + model.offset
    log_likelihood = Normal(mean[:, None], model.scale).log_prob(x.flatten(1)).sum(-1)
    return log_likelihood + Normal(0.0, 1.0).log_prob(z).sum(-1, keepdim=True)


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 12])
@pytest.mark.parametrize("scale", [3.0, 0.3, 0.01])
def test_evidence_against_the_dense_covariance(latent_dim, scale):
    model, x = make(latent_dim=latent_dim, scale=scale)
    covariance = model.weight @ model.weight.T + scale**2 * torch.eye(12, dtype=torch.float64)
    expected = MultivariateNormal(model.offset, covariance).log_prob(x.flatten(1))
    torch.testing.assert_close(model.log_evidence(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [3.0, 0.1, 1e-4])
@pytest.mark.parametrize("latent_dim", [1, 3, 12])
def test_evidence_and_posterior_obey_bayes_rule_at_every_code(latent_dim, scale):
    model, x = make(latent_dim=latent_dim, scale=scale)
    mean, covariance = model.posterior(x)
    posterior = MultivariateNormal(mean, covariance)
    z = posterior.sample((5,))
    expected = torch.stack([log_joint(model, x, code).diagonal() for code in z]) - posterior.log_prob(z)
    torch.testing.assert_close(expected, model.log_evidence(x).expand(5, 7), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_evidence_and_posterior_against_quadrature(latent_dim):
    model, x = make(latent_dim=latent_dim, scale=0.5)
    axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
    z = torch.cartesian_prod(*[axis] * latent_dim).reshape(-1, latent_dim)
    log_weight = log_joint(model, x, z) + latent_dim * math.log(float(axis[1] - axis[0]))
    torch.testing.assert_close(log_weight.logsumexp(0), model.log_evidence(x))
    weight = log_weight.softmax(0)
    mean, covariance = model.posterior(x)
    torch.testing.assert_close(weight.T @ z, mean)
    for i in range(len(x)):
        centred = z - mean[i]
        torch.testing.assert_close((weight[:, i, None] * centred).T @ centred, covariance)


def test_samples_have_the_moments_of_the_model():
    model, _ = make(image_shape=(1, 2, 2), latent_dim=2)
    count = 100_000
    x = model.sample(count, torch.Generator().manual_seed(1)).flatten(1)
    covariance = model.weight @ model.weight.T + model.scale**2 * torch.eye(4, dtype=torch.float64)
    variance = covariance.diagonal()
    assert bool(((x.mean(0) - model.offset).abs() < 5 * (variance / count).sqrt()).all())
    # The variance of a product of two centred normals is v_i v_j + c_ij².
    error = ((variance[:, None] * variance + covariance**2) / count).sqrt()
    assert bool(((x.T.cov() - covariance).abs() < 5 * error).all())


def test_the_entropy_of_the_samples_is_that_of_the_evidence():
    model, _ = make()
    log_evidence = model.log_evidence(model.sample(50_000, torch.Generator().manual_seed(1)))
    covariance = model.weight @ model.weight.T + model.scale**2 * torch.eye(12, dtype=torch.float64)
    entropy = MultivariateNormal(model.offset, covariance).entropy()
    # The log density of a normal in D dimensions has the variance D/2.
    assert abs(-log_evidence.mean() - entropy) < 5 * math.sqrt(12 / 2 / 50_000)


def test_images_are_images_and_flat_ones_will_do():
    model, x = make(image_shape=(3, 2, 5), dtype=torch.float32)
    assert x.shape == (7, 3, 2, 5)
    assert x.dtype == torch.float32
    assert model.latent_dim == 3
    assert model.log_evidence(x).dtype == torch.float64
    assert torch.equal(model.log_evidence(x.flatten(1)), model.log_evidence(x))
    mean, covariance = model.posterior(x)
    assert mean.shape == (7, 3)
    assert covariance.shape == (3, 3)


def test_the_same_generator_gives_the_same_model_and_images():
    state = torch.get_rng_state()
    (first, x), (second, y) = make(), make()
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(x, y)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(4)}, r"weight must have the shape \(pixels, latent_dim\).* got \(4,\)"),
        ({"weight": torch.ones(4, 5)}, r"latent_dim no more than pixels, got \(4, 5\)"),
        ({"offset": torch.ones(3)}, r"offset must have the shape \(4,\), got \(3,\)"),
        ({"scale": 0.0}, "scale must be a standard deviation above 0, got 0.0"),
        ({"scale": float("nan")}, "scale must be a standard deviation above 0, got nan"),
        ({"image_shape": (1, 2, 3)}, r"\(C, H, W\) with 4 pixels in all, got \(1, 2, 3\)"),
        ({"image_shape": (2, 2)}, r"\(C, H, W\) with 4 pixels in all, got \(2, 2\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    fields = {"weight": torch.ones(4, 2), "offset": torch.ones(4), "scale": 1.0, "image_shape": (1, 2, 2)}
    with pytest.raises(ValueError, match=message):
        LinearGaussian(**{**fields, **change})
