"""A model whose every posterior is known: linear-Gaussian data with correlated codes."""

from collections.abc import Callable
from dataclasses import dataclass

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyrovae import VAE
from pyrovae.data import LinearGaussian, Split, to_unit
from pyrovae.likelihoods import Normal

SHAPE = (1, 2, 3)
SCALE = 0.6


class LinearDecoder(nn.Module):
    """x = W z + b, with b shifted by class where there are classes."""

    def __init__(self, truth: LinearGaussian, shift: float = 0.0) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(truth.weight), nn.Parameter(truth.offset)
        self.shift = shift

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        mean = z @ self.weight.T + self.offset
        return (mean if y is None else mean + self.shift * y[..., None]).unflatten(-1, SHAPE)


class ExactPosterior(nn.Module):
    """p(z | x) itself, or one of another width."""

    def __init__(self, truth: LinearGaussian, width: float = 1.0) -> None:
        super().__init__()
        self.truth, self.width = truth, width
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        mean, covariance = self.truth.posterior(x)
        return dist.MultivariateNormal(mean.float(), scale_tril=self.width * torch.linalg.cholesky(covariance).float())


@dataclass(frozen=True, eq=False)
class Known:
    truth: LinearGaussian
    split: Split

    @property
    def x(self) -> Tensor:
        return to_unit(self.split.images)

    @property
    def mean(self) -> Tensor:
        return self.truth.posterior(self.x)[0]

    @property
    def covariance(self) -> Tensor:
        return self.truth.posterior(self.x)[1]

    @property
    def approximation(self) -> float:
        """KL(q || p) of the best diagonal Normal: its precisions are the diagonal of the posterior's."""
        precision = torch.linalg.inv(self.covariance)
        return float(0.5 * (torch.logdet(self.covariance) + precision.diagonal().log().sum()))

    def model(self, posterior: object, seed: int = 0) -> VAE:
        torch.manual_seed(seed)
        dims = self.truth.latent_dim
        return VAE(
            SHAPE,
            dims,
            decoder=lambda shapes, channels: LinearDecoder(self.truth),
            likelihood=lambda shapes, decoder: Normal(shapes, decoder, scale=self.truth.scale),
            posterior=posterior,
        )


def make_known(dims: int, images: int, size: float = 1.0) -> Known:
    """Codes that explain nearly the same pixels, so that they are correlated given the image.

    With a size of 1/12 images of the model lie in [0, 1], and can be written as grey values.
    """
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(6, dims, generator=generator)
    weight[:, 1:] = 0.8 * weight[:, :1] + 0.4 * weight[:, 1:]
    truth = LinearGaussian(size * weight, torch.full((6,), 0.5), size * SCALE, SHAPE)
    pixels = torch.randint(0, 256, (images, *SHAPE), dtype=torch.uint8, generator=generator)
    if size < 1:
        pixels = (truth.sample(images, generator).clamp(0, 1) * 255).round().to(torch.uint8)
    return Known(truth, Split(pixels, torch.zeros(images, dtype=torch.int64)))


@pytest.fixture(scope="session")
def known() -> Known:
    """Three images of two dimensions."""
    return make_known(2, 3)


@pytest.fixture(scope="session")
def many() -> Known:
    """Twenty images of two dimensions."""
    return make_known(2, 20)


@pytest.fixture(scope="session")
def deep() -> Known:
    """Three images of four dimensions."""
    return make_known(4, 3)


@pytest.fixture(scope="session")
def drawn() -> Known:
    """A hundred images that the model itself drew."""
    return make_known(2, 100, 1 / 12)


@pytest.fixture(scope="session")
def line() -> Known:
    """Three images of one dimension."""
    return make_known(1, 3)


@pytest.fixture
def exact(known: Known) -> VAE:
    """A model whose guide is the posterior."""
    return known.model(ExactPosterior(known.truth))


@pytest.fixture
def of_width(known: Known) -> Callable[[float], VAE]:
    """Models whose guides are wider or narrower than the posterior."""
    return lambda width: known.model(ExactPosterior(known.truth, width))
