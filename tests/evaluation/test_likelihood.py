"""log p(x) against closed forms; and the estimator that is no bound is caught."""

import copy
import math

import numpy as np
import pyro
import pytest
import torch
from known_evidence import SHAPE, Known
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from pyrovae import CVAE, VAE, Autoencoder
from pyrovae.data import ImageSet, fixed_split, to_unit
from pyrovae.evaluation import estimate_elbo, importance_weighted, quadrature
from pyrovae.likelihoods import CrossEntropy


def test_quadrature_is_exact_and_knows_its_error(known: Known) -> None:
    model, split, exact = known.model, known.split, known.exact
    found = quadrature(model, split, points=200)
    np.testing.assert_allclose(found.log_likelihood, exact, atol=1e-4)
    assert found.error.max() < 1e-4
    coarse = quadrature(model, split, points=8, tolerance=math.inf)
    assert np.abs(coarse.log_likelihood - exact).max() < 3 * coarse.error.max()
    assert coarse.error.max() > 0.01
    refined = quadrature(model, split, points=8)
    assert np.all(np.abs(refined.log_likelihood - exact) < refined.error)
    assert refined.error.max() < 1e-3


def test_importance_weighting_rises_to_the_evidence(known: Known) -> None:
    found = importance_weighted(known.model, known.split, 5000)
    assert list(found.sweep) == list(found.sweep_errors) == [1, 10, 100, 1000, 5000]
    assert np.all(np.diff(list(found.sweep.values())) > 0)
    assert found.sweep[5000] == pytest.approx(found.mean)
    assert found.sweep_errors[5000] == pytest.approx(found.mean_error)
    assert math.isnan(found.sweep_errors[1])
    z = (found.log_likelihood - known.exact) / found.error
    assert np.abs(z).mean() < 2
    assert abs(found.mean - known.exact.mean()) < 5 * found.mean_error


def test_its_error_holds_in_19_of_20_seeds(known: Known) -> None:
    """With the bias of first order taken off."""
    hits = 0
    for seed in range(20):
        found = importance_weighted(known.model, known.split, 1000, seed=seed)
        hits += abs(found.mean + found.mean_bias - known.exact.mean()) < 1.96 * found.mean_error
    assert hits >= 17  # 19 are expected; fewer than 17 happen once in 60 times if the errors are right


def test_so_does_that_of_the_bound(known: Known) -> None:
    """The ELBO of a linear-Gaussian model is log p(x) less the KL of two Gaussians."""
    x = to_unit(known.split.images)
    mean, covariance = known.truth.posterior(x)
    with torch.no_grad():
        q = known.model.posterior(x).base_dist
    exact = MultivariateNormal(mean, covariance)
    kl = kl_divergence(MultivariateNormal(q.loc.double(), torch.diag_embed(q.scale.double().square())), exact)
    expected = float((torch.as_tensor(known.exact) - kl).mean())
    bounds = np.array([-estimate_elbo(known.model, known.split, seed=seed).negative_elbo for seed in range(25)])
    assert abs(bounds.mean() - expected) < 3.5 * bounds.std(ddof=1) / 5


def test_the_number_of_images_and_of_samples_need_not_fit_the_chunks(known: Known) -> None:
    one = importance_weighted(known.model, known.split.take(range(23)), 130, sweep=(7, 130))
    assert len(one.log_likelihood) == 23
    assert list(one.sweep) == [7, 130]
    seen: list[int] = []
    importance_weighted(known.model, known.split.take(range(23)), 130, progress=seen.append)
    assert sum(seen) == 23 * 130


def test_a_guide_that_is_too_narrow_is_found_out(known: Known) -> None:
    """By the Pareto shape of its weights; one that is the posterior has none of them."""

    class Guide(nn.Module):
        def __init__(self, width: float) -> None:
            super().__init__()
            self.width = nn.Parameter(torch.tensor(width))

        def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> MultivariateNormal:
            mean, covariance = known.truth.posterior(x)
            return pyro.distributions.MultivariateNormal(mean.float(), self.width**2 * covariance.float())

    found = []
    for width in (1.0, 0.5, 2.0):
        model = VAE(SHAPE, 2, posterior=Guide(width), likelihood=known.model.likelihood)
        found.append(importance_weighted(model, known.split.take(range(20)), 1000))
    assert found[0].failed == 0
    assert found[1].failed > 10
    assert found[2].failed == 0
    np.testing.assert_allclose(found[0].log_likelihood, known.exact[:20], atol=1e-4)


def test_the_analytic_kl_inside_the_logarithm_is_no_bound(known: Known) -> None:
    """The estimator of some public code exceeds the evidence; ours never does beyond its error."""
    model, split, exact = known.model, known.split, known.exact
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
