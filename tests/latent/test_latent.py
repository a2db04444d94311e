"""Codes, samples, reconstructions and the decoded plane are the model's own."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from pyrovae import CVAE, VAE, Autoencoder, posteriors, priors
from pyrovae.data import ImageSet, Split, fixed_split, to_unit
from pyrovae.latent import decode, decode_manifold, encode, reconstruct, sample_per_class, sample_prior


@pytest.fixture
def split(few_digits: ImageSet) -> Split:
    return fixed_split(few_digits.split("train"), "dynamic")


def test_codes_are_posterior_means(split: Split) -> None:
    model = CVAE((1, 8, 8), 10, 3)
    codes = encode(model, split, batch_size=7)
    with torch.no_grad():
        expected = model.posterior(to_unit(split.images), split.labels).mean
    np.testing.assert_allclose(codes.means, expected, rtol=1e-4, atol=1e-5)
    assert (codes.labels == split.labels.numpy()).all()


def test_reconstructions_decode_the_posterior_mean(split: Split) -> None:
    model = VAE((1, 8, 8), 3)
    pairs = reconstruct(model, split)
    x = to_unit(split.images)
    assert (pairs.inputs == x.numpy()).all()
    with torch.no_grad():
        np.testing.assert_allclose(pairs.outputs, model.likelihood(model.posterior(x).mean).mean, atol=1e-5)


@pytest.mark.parametrize("model", [VAE((1, 8, 8), 3), Autoencoder((1, 8, 8), 3)], ids=lambda m: type(m).__name__)
def test_samples_go_through_the_models_own_prior(model: torch.nn.Module) -> None:
    before = torch.get_rng_state()
    samples = sample_prior(model, 4, 5, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert samples.images.shape == (4, 5, 1, 8, 8)
    torch.manual_seed(3)
    with torch.no_grad():
        expected = model.likelihood(model.prior().expand([20]).sample()).mean
    np.testing.assert_allclose(samples.images.reshape(20, 1, 8, 8), expected, atol=1e-6)
    assert not np.allclose(samples.images, sample_prior(model, 4, 5, seed=4).images)


def test_one_row_of_samples_for_each_class() -> None:
    model = CVAE((1, 8, 8), 10, 3)
    samples = sample_per_class(model, 6)
    assert samples.images.shape == (10, 6, 1, 8, 8)
    assert list(samples.labels) == list(range(10))
    some = sample_per_class(model, 2, classes=torch.tensor([7, 7]))
    assert some.images.shape == (2, 2, 1, 8, 8)
    with pytest.raises(ValueError, match="does not look at labels, so it cannot draw a chosen class: use a CVAE"):
        sample_per_class(VAE((1, 8, 8), 3))
    with pytest.raises(ValueError, match="conditional on a label"):
        sample_prior(model)


def test_the_manifolds_coordinates_decode_to_its_images() -> None:
    model = VAE((1, 8, 8), 2)
    manifold = decode_manifold(model, 5)
    assert manifold.images.shape == (5, 5, 1, 8, 8)
    with torch.no_grad():
        expected = model.likelihood(torch.as_tensor(manifold.coordinates)).mean
    np.testing.assert_allclose(manifold.images, expected, atol=1e-6)
    # The first image is the upper left one: z[0] smallest, z[1] largest, at quantiles 0.1 and 0.9 of N(0, 1).
    np.testing.assert_allclose(manifold.coordinates[0, 0], [-1.2816, 1.2816], atol=1e-4)
    np.testing.assert_allclose(manifold.coordinates[-1, -1], [1.2816, -1.2816], atol=1e-4)


@pytest.mark.parametrize(
    ("parts", "ends", "spacing"),
    [
        ({}, 1.2816, "quantiles of N(0, 1)"),
        ({"prior": priors.Uniform, "posterior": posteriors.Beta}, 0.8, "quantiles of the prior"),
        ({"prior": priors.Laplace}, -math.log(0.2), "quantiles of the prior"),
        ({"prior": priors.VonMises, "posterior": posteriors.WrappedNormal}, 0.8 * math.pi, "even steps around the"),
    ],
    ids=["StandardNormal", "Uniform", "Laplace", "VonMises"],
)
def test_a_manifold_goes_where_the_prior_is(parts: dict, ends: float, spacing: str) -> None:
    manifold = decode_manifold(VAE((1, 8, 8), 2, **parts), 5)
    np.testing.assert_allclose(manifold.coordinates[0, 0], [-ends, ends], atol=1e-4)
    np.testing.assert_allclose(manifold.coordinates[2, 2], 0, atol=1e-5)
    assert manifold.spacing.startswith(spacing)


def test_a_manifold_over_draws_of_the_prior() -> None:
    """StudentT(5) has no icdf in torch; a quantile of n draws has the error sqrt(p (1 - p) / n) / density."""
    model, exact = VAE((1, 8, 8), 2, prior=priors.StudentT), stats.t(5)
    before = torch.get_rng_state()
    manifold = decode_manifold(model, 5)
    assert torch.equal(before, torch.get_rng_state())
    assert manifold.spacing == "quantiles of 10,000 draws of the prior"
    error = np.sqrt(0.1 * 0.9 / 10_000) / exact.pdf(exact.ppf(0.1))
    np.testing.assert_allclose(manifold.coordinates[0, 0], [exact.ppf(0.1), exact.ppf(0.9)], atol=4 * error)
    assert (np.diff(manifold.coordinates[0, :, 0]) > 0).all()
    mixture = decode_manifold(CVAE((1, 8, 8), 10, 2, prior=priors.VampPrior), 3, label=4)
    assert np.isfinite(mixture.coordinates).all()


def test_a_class_has_the_quantiles_of_its_own_prior() -> None:
    model = CVAE((1, 8, 8), 10, 2, prior=partial(priors.Normal, per_class=True))
    with torch.no_grad():
        model.prior.loc[4] += torch.tensor([5.0, -5.0])
    manifold = decode_manifold(model, 3, label=4)
    np.testing.assert_allclose(manifold.coordinates[1, 1], [5, -5], atol=1e-5)
    assert manifold.spacing == "quantiles of the prior"


@pytest.mark.parametrize("label", [-1, 10])
def test_classes_that_a_model_does_not_know_are_refused(label: int) -> None:
    model = CVAE((1, 8, 8), 10, 2)
    message = f"labels of this model are 0 to 9, got {label}|label must be a whole number of at least 0, got -1"
    for draw in (
        lambda: sample_per_class(model, 2, classes=torch.tensor([3, label])),
        lambda: decode(model, torch.zeros(1, 2), torch.tensor([label])),
        lambda: decode_manifold(model, 3, label=label),
    ):
        with pytest.raises(
            ValueError,
            match=message,
        ):
            draw()


def test_a_manifold_needs_a_plane_and_a_label_where_the_model_does() -> None:
    with pytest.raises(ValueError, match="needs a code of two dimensions, this model has 3"):
        decode_manifold(VAE((1, 8, 8), 3))
    with pytest.raises(ValueError, match="conditional on a label"):
        decode_manifold(CVAE((1, 8, 8), 10, 2))
    assert decode_manifold(CVAE((1, 8, 8), 10, 2), 3, label=4).label == 4
