"""The parts of the KL, against closed forms of Gaussians; the aggregate posterior against the prior."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrovae import CVAE, VAE, Autoencoder
from pyrovae.data import ImageSet, Split, fixed_split
from pyrovae.diagnostics.information import density_ratio, split_kl

NOISE = 0.5


class Rotated(nn.Module):
    """q(z | x) = N(R x, NOISE²) of two Gaussian pixels of standard deviations 1 and 1/5, turned by 45 degrees."""

    def __init__(self, pixels: torch.Tensor) -> None:
        super().__init__()
        self.pixels = nn.Parameter(pixels @ torch.tensor([[1.0, 1.0], [-0.2, 0.2]]) / math.sqrt(2))

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> dist.TorchDistribution:
        means = self.pixels if len(x) == len(self.pixels) else self.pixels[: len(x)]
        return dist.Normal(means, torch.tensor(NOISE)).to_event(1)


def test_they_are_those_of_gaussians() -> None:
    """Images are only counted: the codes are Gaussian, so every part has a closed form."""
    n = 3000
    pixels = torch.randn(n, 2, generator=torch.Generator().manual_seed(7))  # not the seed of the codes
    model = VAE((1, 2, 2), 2, posterior=Rotated(pixels))
    split = Split(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64))
    found = split_kl(model, split)
    turn = np.array([[1.0, -0.2], [1.0, 0.2]]) / math.sqrt(2)
    covariance = turn @ turn.T + NOISE**2 * np.eye(2)
    information = 0.5 * np.linalg.slogdet(covariance / NOISE**2)[1]
    correlation = 0.5 * (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1])
    dimensions = 0.5 * (np.diag(covariance) - 1 - np.log(np.diag(covariance))).sum()
    slack = 0.03  # the mixture of 3,000 posteriors is not quite the Gaussian that it stands for
    for estimate, expected in (
        (found.information, information),
        (found.information_above, information),
        (found.total_correlation, correlation),
        (found.dimension_wise, dimensions),
        (found.marginal, correlation + dimensions),
        (found.kl, information + correlation + dimensions),
    ):
        assert abs(estimate.value - expected) < 4 * estimate.sampling + slack
    assert found.information.value < found.information_above.value
    assert found.kl.value == pytest.approx(found.information.value + found.marginal.value, abs=1e-5)
    assert found.marginal.value == pytest.approx(found.total_correlation.value + found.dimension_wise.value, abs=1e-5)
    z = np.random.default_rng(0).normal(size=(100_000, 2))
    ratio = 0.5 * (np.square(z).sum(1) - np.einsum("ni,ij,nj->n", z, np.linalg.inv(covariance), z))
    expected = (ratio - 0.5 * np.linalg.slogdet(covariance)[1] < math.log(0.1)).mean()
    assert abs(found.holes.value - expected) < 4 * found.holes.sampling + 0.01


def test_holes_of_the_plane(few_digits: ImageSet) -> None:
    """Codes in one corner leave the rest of the prior empty."""

    class Corner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loc = nn.Parameter(torch.tensor([2.0, 2.0]))

        def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> dist.TorchDistribution:
            return dist.Normal(self.loc.expand(len(x), 2), torch.tensor(0.3)).to_event(1)

    split = few_digits.split("validation")
    model = VAE((1, 8, 8), 2, posterior=Corner())
    assert split_kl(model, split).holes.value > 0.9
    ratio = density_ratio(model, split, points=41)
    top = np.unravel_index(ratio.log_ratio.argmax(), ratio.log_ratio.shape)
    assert ratio.axes[0, top[0]] == pytest.approx(ratio.axes[1, top[1]])
    assert ratio.axes[0, top[0]] > 1.5
    cell = (ratio.axes[0, 1] - ratio.axes[0, 0]) ** 2
    assert np.exp(ratio.log_ratio + ratio.log_prior).sum() * cell == pytest.approx(1, abs=1e-3)


def test_what_has_no_parts(few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "dynamic")
    from pyrovae.priors import Normal

    with pytest.raises(ValueError, match="an autoencoder has no density"):
        split_kl(Autoencoder((1, 8, 8), 2), split)
    with pytest.raises(ValueError, match="the prior depends on the label"):
        split_kl(CVAE((1, 8, 8), 10, 2, prior=lambda s: Normal(s, per_class=True)), split)
    with pytest.raises(ValueError, match="at least two images, got 1"):
        split_kl(VAE((1, 8, 8), 2), split.take([0]))
    with pytest.raises(ValueError, match="a code of two dimensions, this model has 3"):
        density_ratio(VAE((1, 8, 8), 3), split)


def test_codes_that_know_nothing_of_the_image_carry_no_information(few_digits: ImageSet) -> None:
    model = VAE((1, 8, 8), 2)
    with torch.no_grad():
        model.posterior.head.weight.zero_()
    found = split_kl(model, fixed_split(few_digits.split("validation"), "dynamic").take(range(5)))
    assert found.information.value == pytest.approx(0, abs=1e-5)
    assert found.information_above.value == pytest.approx(0, abs=1e-5)
