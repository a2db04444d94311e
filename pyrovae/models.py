"""VAE, CVAE and autoencoder: three parts, two Pyro programs.

    vae = VAE(image_shape=(1, 28, 28), latent_dim=2)
    q = vae.posterior(x)           # q(z | x)
    p = vae.likelihood(q.mean)     # p(x | z)

Every part is a constructor argument: a class, a function that builds the part, or a finished module. Training,
evaluation and latent-space analysis use nothing of a model but the five names `prior`, `likelihood`,
`posterior`, `model` and `guide`, and its `shapes`.
"""

from collections.abc import Callable

import pyro
from torch import Tensor, nn

from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.shapes import ImageShape, Shapes

EncoderFactory = Callable[[Shapes], networks.Encoder]
DecoderFactory = Callable[[Shapes, int], networks.Decoder]
PriorFactory = Callable[[Shapes], priors.Prior]
LikelihoodFactory = Callable[[Shapes, likelihoods.DecoderFactory], likelihoods.Likelihood]
PosteriorFactory = Callable[[Shapes, networks.Encoder], posteriors.Posterior]


class LatentVariableModel(nn.Module):
    """p(x, z | y) = p(z | y) p(x | z, y) as a Pyro model, q(z | x, y) as its guide.

    Args:
        shapes: Sizes of the model.
        prior: Module from labels to p(z | y).
        likelihood: Module from codes and labels to p(x | z, y).
        posterior: Module from images and labels to q(z | x, y).
    """

    def __init__(self, shapes: Shapes, prior: nn.Module, likelihood: nn.Module, posterior: nn.Module) -> None:
        super().__init__()
        self.shapes = shapes
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """The generative program: a code from the prior, an image from the likelihood."""
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", self.prior(y))
            pyro.sample("x", self.likelihood(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """The inference program: a code from the posterior of each image."""
        with pyro.plate("images", len(x)):
            pyro.sample("z", self.posterior(x, y))


class VAE(LatentVariableModel):
    """Variational autoencoder: a latent-variable model that does not look at labels.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        latent_dim: Number of dimensions of the latent code z.
        encoder: Network from images to features.
        decoder: Network from codes to numbers for each pixel.
        prior: The distribution of codes, p(z).
        likelihood: The distribution of an image given its code, p(x | z).
        posterior: The guide's distribution of the code given an image, q(z | x).

    Raises:
        ValueError: If a size is out of its range, or a network cannot take images of this size.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int = 2,
        encoder: EncoderFactory = networks.MLPEncoder,
        decoder: DecoderFactory = networks.MLPDecoder,
        prior: PriorFactory = priors.StandardNormal,
        likelihood: LikelihoodFactory = likelihoods.Bernoulli,
        posterior: PosteriorFactory = posteriors.DiagonalNormal,
    ) -> None:
        shapes = Shapes(image_shape, latent_dim)
        super().__init__(shapes, *_build(shapes, encoder, decoder, prior, likelihood, posterior))


class CVAE(LatentVariableModel):
    """Conditional variational autoencoder: the label goes into every part, so the code is left with the style.

    References:
        K. Sohn, H. Lee and X. Yan, Learning Structured Output Representation using Deep Conditional Generative
        Models, NeurIPS (2015); D. P. Kingma et al., Semi-supervised Learning with Deep Generative Models (2014),
        arXiv:1406.5298, model M2.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        num_classes: Number of classes of the label y.
        latent_dim: Number of dimensions of the latent code z.
        encoder: Network from images and labels to features.
        decoder: Network from codes and labels to numbers for each pixel.
        prior: The distribution of codes, p(z | y).
        likelihood: The distribution of an image given its code and label, p(x | z, y).
        posterior: The guide's distribution of the code given an image and its label, q(z | x, y).

    Raises:
        ValueError: If a size is out of its range, or a network cannot take images of this size.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        latent_dim: int = 2,
        encoder: EncoderFactory = networks.MLPEncoder,
        decoder: DecoderFactory = networks.MLPDecoder,
        prior: PriorFactory = priors.StandardNormal,
        likelihood: LikelihoodFactory = likelihoods.Bernoulli,
        posterior: PosteriorFactory = posteriors.DiagonalNormal,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"a CVAE needs images of at least two classes, got {num_classes}: use a VAE")
        shapes = Shapes(image_shape, latent_dim, num_classes)
        super().__init__(shapes, *_build(shapes, encoder, decoder, prior, likelihood, posterior))


class Autoencoder(LatentVariableModel):
    """Autoencoder as a Pyro program: a Delta guide and no prior term, so the loss is the reconstruction alone.

    Codes can be drawn from N(0, I) to see what becomes of them, though nothing in training made it their
    distribution.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        latent_dim: Number of dimensions of the latent code z.
        encoder: Network from images to features.
        decoder: Network from codes to numbers for each pixel.
        likelihood: The distribution of an image given its code, p(x | z).

    Raises:
        ValueError: If a size is out of its range, or a network cannot take images of this size.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int = 2,
        encoder: EncoderFactory = networks.MLPEncoder,
        decoder: DecoderFactory = networks.MLPDecoder,
        likelihood: LikelihoodFactory = likelihoods.Bernoulli,
    ) -> None:
        shapes = Shapes(image_shape, latent_dim)
        prior = priors.Unscored(priors.StandardNormal(shapes))
        super().__init__(shapes, *_build(shapes, encoder, decoder, prior, likelihood, posteriors.Delta))


def _build(
    shapes: Shapes,
    encoder: EncoderFactory,
    decoder: DecoderFactory,
    prior: PriorFactory,
    likelihood: LikelihoodFactory,
    posterior: PosteriorFactory,
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The three parts: finished modules as they are, the others from their factories."""
    if not isinstance(posterior, nn.Module):
        posterior = posterior(shapes, encoder if isinstance(encoder, nn.Module) else encoder(shapes))
    if not isinstance(likelihood, nn.Module):
        network = decoder
        finished = isinstance(network, nn.Module)
        likelihood = likelihood(shapes, lambda channels: network if finished else network(shapes, channels))
    if not isinstance(prior, nn.Module):
        prior = prior(shapes)
    return prior, likelihood, posterior
