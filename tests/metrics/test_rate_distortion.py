"""Rates and distortions are the bound's own parts, with the errors that they have."""

import numpy as np
import pytest
import torch

from pyrovae import VAE, Autoencoder
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.metrics.rate_distortion import rate_distortion


def test_they_are_the_bounds_parts(digits: ImageSet) -> None:
    split = fixed_split(digits.split("test"), "dynamic")
    models = [VAE(digits.image_shape, 2), VAE(digits.image_shape, 3)]
    found = rate_distortion(models, [0.5, 2.0], split)
    for i, model in enumerate(models):
        whole = estimate_elbo(model, split)
        assert found.rates.value[i] == pytest.approx(whole.kl.value, rel=1e-4)  # in closed form, without draws
        assert abs(found.distortions.value[i] - whole.reconstruction.value) < 4 * found.distortions.sampling[i]
    text = str(found)
    assert text.count("\n") == 3
    assert "nats per image, 300 images" in text


def test_errors_are_the_scatter_over_images(digits: ImageSet) -> None:
    """Against the standard error from every image's own KL, which ten folds give to within a quarter or so."""
    split = fixed_split(digits.split("train"), "dynamic")
    model = VAE(digits.image_shape, 2)
    with torch.no_grad():
        model.posterior.head.weight *= 5
        q = model.posterior(split.images / 255)
    kl = torch.distributions.kl_divergence(q, model.prior(None)).numpy()
    found = rate_distortion([model], [1.0], split)
    assert 0.4 < found.rates.sampling[0] / (kl.std() / np.sqrt(len(kl))) < 2


def test_widths_correlations_and_active_dimensions(digits: ImageSet) -> None:
    split = fixed_split(digits.split("test"), "dynamic")
    model = VAE(digits.image_shape, 3)
    with torch.no_grad():
        head = model.posterior.head
        head.weight[1] = -2 * head.weight[0]  # a second dimension that is the first again
        head.weight[2:].zero_()
        head.bias.zero_()
        head.bias[3:] = torch.log(torch.tensor([0.5, 1.0, 1.5]))
        head.weight[:2] *= 5
    found = rate_distortion([model], [1.0], split)
    assert found.active_units[0] == 2
    assert found.correlations[0] == pytest.approx(1, abs=1e-5)
    assert found.widths[0] == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_is_said(digits: ImageSet) -> None:
    split, model = digits.split("test"), VAE(digits.image_shape, 2)
    with pytest.raises(ValueError, match="each model needs its own beta, got 1 models and 2 betas"):
        rate_distortion([model], [1.0, 2.0], split)
    with pytest.raises(ValueError, match="need at least 20 images, got 5"):
        rate_distortion([model], [1.0], split.take(range(5)))
    with pytest.raises(ValueError, match="has no rate"):
        rate_distortion([Autoencoder(digits.image_shape, 2)], [1.0], split)
