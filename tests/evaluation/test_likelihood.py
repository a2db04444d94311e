"""log p(x) against closed forms; and the estimator that is no bound is caught."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from pyrovae import CVAE, VAE, Autoencoder
from pyrovae.data import ImageSet, Split, fixed_split, to_unit
from pyrovae.data.synthetic import LinearGaussian
from pyrovae.evaluation import importance_weighted, quadrature
from pyrovae.likelihoods import CrossEntropy, Normal

SHAPE = (1, 2, 3)


class LinearDecoder(nn.Module):
    """A decoder whose evidence is known."""

    def __init__(self, truth: LinearGaussian) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(truth.weight), nn.Parameter(truth.offset)

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return (z @ self.weight.T + self.offset).unflatten(-1, SHAPE)


@pytest.fixture(scope="module")
def known() -> tuple[VAE, Split, np.ndarray]:
    """A linear-Gaussian model with a poor guide, images, and their exact log p(x)."""
    truth = LinearGaussian.random(SHAPE, 2, scale=0.4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    model = VAE(SHAPE, 2, decoder=LinearDecoder(truth), likelihood=lambda s, d: Normal(s, d, scale=0.4))
    images = torch.randint(0, 256, (60, *SHAPE), dtype=torch.uint8)
    split = Split(images, torch.zeros(60, dtype=torch.int64))
    return model, split, truth.log_evidence(to_unit(images)).numpy()


def test_quadrature_is_exact_and_knows_its_error(known: tuple[VAE, Split, np.ndarray]) -> None:
    model, split, exact = known
    found = quadrature(model, split, points=200)
    np.testing.assert_allclose(found.log_likelihood, exact, atol=1e-4)
    assert found.error.max() < 1e-4
    coarse = quadrature(model, split, points=8)
    assert np.abs(coarse.log_likelihood - exact).max() < 3 * coarse.error.max()
    assert coarse.error.max() > 0.01


def test_importance_weighting_rises_to_the_evidence(known: tuple[VAE, Split, np.ndarray]) -> None:
    model, split, exact = known
    found = importance_weighted(model, split, 5000)
    assert list(found.sweep) == [1, 10, 100, 1000, 5000]
    assert np.all(np.diff(list(found.sweep.values())) > 0)
    assert found.sweep[5000] == pytest.approx(found.mean)
    z = (found.log_likelihood - exact) / found.error
    assert np.abs(z).mean() < 2
    assert abs(found.mean - exact.mean()) < 5 * found.mean_error


def test_its_error_holds_in_19_of_20_seeds(known: tuple[VAE, Split, np.ndarray]) -> None:
    model, split, exact = known
    hits = 0
    for seed in range(20):
        found = importance_weighted(model, split, 2000, seed=seed)
        hits += abs(found.mean - exact.mean()) < 1.96 * found.mean_error
    assert hits >= 17  # 19 are expected; fewer than 17 happen once in 60 times if the errors are right


def test_the_analytic_kl_inside_the_logarithm_is_no_bound(known: tuple[VAE, Split, np.ndarray]) -> None:
    """The estimator of some public code exceeds the evidence; ours never does beyond its error."""
    model, split, exact = known
    x = to_unit(split.images)
    with torch.no_grad():
        q = model.posterior(x)
        kl = torch.distributions.kl_divergence(q.base_dist, model.prior().base_dist).sum(-1)
        logs = model.likelihood(q.sample(torch.Size([5000]))).log_prob(x) - kl
        wrong = (logs.logsumexp(0) - math.log(5000)).numpy()
    assert wrong.mean() > exact.mean() + 0.05
    found = importance_weighted(model, split, 5000)
    assert found.mean < exact.mean() + 5 * found.mean_error


def test_they_agree_on_binary_images_and_change_nothing(few_digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = CVAE((1, 8, 8), 10, 2)
    split = fixed_split(few_digits.split("validation"), "dynamic")
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    exact = quadrature(model, split, 100)
    found = importance_weighted(model, split, 1000)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert abs(found.mean - exact.mean) < 5 * found.mean_error + 1e-3
    again = importance_weighted(model, split, 1000)
    assert np.array_equal(found.log_likelihood, again.log_likelihood)
    assert found.bits_per_dim(64) == pytest.approx(-found.mean / 64 / math.log(2))
    assert "importance-weighted, k = 1,000, 50 images" in str(found)


def test_what_has_no_likelihood_is_said(few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "dynamic")
    with pytest.raises(ValueError, match="scores pixels by cross-entropy, which is no density"):
        importance_weighted(VAE((1, 8, 8), 2, likelihood=CrossEntropy), split)
    with pytest.raises(ValueError, match=r"an autoencoder has no density of codes, so no log p\(x\)"):
        quadrature(Autoencoder((1, 8, 8), 2), split)
    with pytest.raises(ValueError, match="quadrature is for codes of two dimensions, this model has 3"):
        quadrature(VAE((1, 8, 8), 3), split)
    with pytest.raises(ValueError, match="an even number of points along each side, got 7"):
        quadrature(VAE((1, 8, 8), 2), split, 7)
    with pytest.raises(ValueError, match="at least one sample and one image, got 0"):
        importance_weighted(VAE((1, 8, 8), 2), split, 0)
