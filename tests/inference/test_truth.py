"""The true posterior, by quadrature and by NUTS, against closed forms."""

import copy
import warnings

import numpy as np
import pytest
import torch

from pyrovae import CVAE, VAE, Autoencoder
from pyrovae.data import ImageSet, Split, fixed_split
from pyrovae.inference.draws import PosteriorDraws, guide_draws
from pyrovae.inference.grid import quadrature_posterior
from pyrovae.inference.inpainting import half
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.inference.quadrature import quadrature
from pyrovae.likelihoods import CrossEntropy, Normal
from pyrovae.posteriors import Beta, DiagonalNormal, WrappedNormal
from pyrovae.priors import Uniform, VonMises

SHORT = {"warmup": 60, "draws": 100}


@pytest.mark.parametrize("case", ["line", "known"])
def test_quadrature_is_exact(case: str, request: pytest.FixtureRequest) -> None:
    known = request.getfixturevalue(case)
    found = quadrature_posterior(known.model(DiagonalNormal), known.split, 64)
    np.testing.assert_allclose(found.mean, known.mean, atol=1e-5)
    np.testing.assert_allclose(found.covariance, known.covariance.expand(3, -1, -1), atol=1e-5)
    assert (np.abs(found.log_evidence - known.truth.log_evidence(known.x).numpy()) <= found.error).all()
    assert found.error.max() < 1e-4
    draws = found.draws(4000)
    assert np.abs((draws.mean - found.mean) / draws.mean_error).max() < 4
    assert np.isnan(draws.r_hat).all()
    # The log-density at the edge of the smallest region of mass m of a Normal is chi-squared's quantile below the top.
    if case == "known":
        top = -np.log(2 * np.pi) - 0.5 * float(torch.logdet(known.covariance))
        np.testing.assert_allclose(found.levels([0.5, 0.9]) - top, np.log([[0.5, 0.1]] * 3), atol=0.05)


def test_a_narrow_posterior_is_found_and_a_coarse_grid_refined(few_digits: ImageSet) -> None:
    torch.manual_seed(0)
    split = fixed_split(few_digits.split("validation"), "dynamic").take([0, 1])
    model = VAE((1, 8, 8), 2)
    for parameter in model.likelihood.parameters():
        parameter.data *= 4  # a decoder that says much about the code
    exact = quadrature(model, split, 400)
    fine, coarse = quadrature_posterior(model, split), quadrature_posterior(model, split, 8)
    assert coarse.axes.shape[2] > 8
    for found in (fine, coarse):
        np.testing.assert_allclose(found.log_evidence, exact.log_likelihood, atol=2e-3)
    np.testing.assert_allclose(fine.mean, coarse.mean, atol=1e-3)


@pytest.mark.parametrize(("prior", "posterior"), [(Uniform, Beta), (VonMises, WrappedNormal)])
def test_boxes_and_circles(prior: type, posterior: type, few_digits: ImageSet) -> None:
    """The grid ends where codes end, and NUTS agrees with it in the middle of the box."""
    torch.manual_seed(0)
    split = fixed_split(few_digits.split("validation"), "dynamic").take([0, 1])
    model = VAE((1, 8, 8), 2, prior=prior, posterior=posterior)
    found = quadrature_posterior(model, split, 64)
    assert np.abs(found.axes).max() <= (1 if prior is Uniform else np.pi)
    draws = nuts_posterior(model, split, warmup=40, draws=60)
    assert np.abs((draws.mean - found.mean) / draws.mean_error).max() < 5


def test_nuts_agrees_with_the_closed_form_within_its_errors(many) -> None:
    """Twenty images are forty chances: 95 % intervals hold for 36 or more in 95 of 100 runs; half as wide, not."""
    found = nuts_posterior(many.model(DiagonalNormal), many.split, together=20, **SHORT)
    assert found.z.shape == (4, 100, 20, 2)
    z = (found.mean - many.mean.numpy()) / found.mean_error
    assert (np.abs(z) < 1.96).sum() >= 36
    assert (np.abs(z) < 0.98).sum() < 36
    scales = np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2)) / many.covariance.diagonal().sqrt().numpy()
    assert abs(scales.mean() - 1) < 0.03
    assert found.divergences.sum() == 0


def test_nuts_of_part_of_an_image(deep) -> None:
    """With half of the pixels unseen the posterior is that of half of the rows of W."""
    seen = half((1, 2, 3), "top")
    found = nuts_posterior(deep.model(DiagonalNormal), deep.split, seen=seen, together=2, **SHORT)
    rows = seen.flatten()
    weight = deep.truth.weight[rows].double()
    precision = torch.eye(4) + weight.T @ weight / 0.36
    residual = (deep.x.flatten(1)[:, rows] - 0.5).double()
    mean = residual @ weight @ torch.linalg.inv(precision) / 0.36
    assert np.abs((found.mean - mean.numpy()) / found.mean_error).max() < 4.5


def test_bad_chains_are_told() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(size=(4, 300, 2, 3))
    assert PosteriorDraws("NUTS", good, False).complaints() == []
    apart = good + 3 * np.arange(4).reshape(4, 1, 1, 1)
    diverging = rng.random((4, 300, 2)) < 0.01
    text = PosteriorDraws("NUTS", apart, False, diverging).diagnosis()
    assert "the chains disagree" in text
    assert "draw more" in text
    assert "transitions diverged" in text
    assert "target_accept" in text
    stuck = np.zeros((2, 10, 1, 1))
    assert "warning" in PosteriorDraws("NUTS", stuck, False).diagnosis()
    assert "independent draws" in PosteriorDraws("guide", good[:1], True).diagnosis()


def test_real_divergences_are_counted_and_told() -> None:
    """The product of one code and the exponential of the other: a ridge that gets ever sharper along the other."""

    class Ridge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.white = torch.nn.Parameter(torch.ones(1, 2, 3))

        def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            return (z[..., 1] * (2 * z[..., 0]).exp())[..., None, None, None] * self.white

    torch.manual_seed(0)
    model = VAE((1, 2, 3), 2, decoder=Ridge(), likelihood=lambda shapes, decoder: Normal(shapes, decoder, scale=0.1))
    split = Split(torch.full((1, 1, 2, 3), 100, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    found = nuts_posterior(model, split, warmup=10, draws=30)
    assert found.diverging.shape == (4, 30, 1)
    assert 3 < found.divergences[0] == found.diverging[..., 0].sum() <= 120
    verdict = found.diagnosis()
    assert f"divergences {found.divergences[0]}\n" in verdict
    assert f"{found.divergences[0]} of 120 transitions diverged: the posterior is sharper somewhere" in verdict
    assert "raise target_accept towards 0.99" in verdict
    assert found.complaints() == found.to_dict()["warnings"]


def test_grey_pixels_have_a_gibbs_posterior(few_digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = VAE((1, 8, 8), 2, likelihood=CrossEntropy)
    split = fixed_split(few_digits.split("validation"), "none").take([0, 1])
    found, draws = quadrature_posterior(model, split, 64), nuts_posterior(model, split, **SHORT)
    assert np.abs((draws.mean - found.mean) / draws.mean_error).max() < 4


def test_inspection_changes_nothing_and_repeats(few_digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = CVAE((1, 8, 8), 10, 2).train()
    split = fixed_split(few_digits.split("validation"), "dynamic").take([0, 1])
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (nuts_posterior(model, split, warmup=10, draws=10, seed=5) for _ in range(2))
    other = nuts_posterior(model, split, warmup=10, draws=10, seed=6)
    guides = [guide_draws(model, split, 10, seed=5) for _ in range(2)]
    quadrature_posterior(model, split, 8)
    assert np.array_equal(first.z, second.z)
    assert np.array_equal(guides[0].z, guides[1].z)
    assert not np.array_equal(first.z, other.z)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_what_cannot_be_is_said(few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "dynamic").take([0, 1])
    vae = VAE((1, 8, 8), 2)
    with pytest.raises(ValueError, match="an autoencoder's code is a point"):
        quadrature_posterior(Autoencoder((1, 8, 8), 2), split)
    with pytest.raises(ValueError, match="this model has 3: use nuts_posterior"):
        quadrature_posterior(VAE((1, 8, 8), 3), split)
    with pytest.raises(ValueError, match="an even number of points along each side, at least 8, got 9"):
        quadrature_posterior(vae, split, 9)
    with pytest.raises(ValueError, match="chains must be a whole number from 2"):
        nuts_posterior(vae, split, chains=1)
    with pytest.raises(ValueError, match="there are no images to inspect"):
        guide_draws(vae, split.take([]))
    with pytest.raises(ValueError, match="this model knows the classes 0 to 1, got an image of class"):
        guide_draws(CVAE((1, 8, 8), 2, 2), Split(split.images, torch.tensor([0, 7])))
    with pytest.raises(ValueError, match="the mask of seen pixels must be bool of shape"):
        nuts_posterior(vae, split, seen=torch.ones(1, 8, 7, dtype=torch.bool))
