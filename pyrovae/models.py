"""VAE, CVAE and autoencoder: three parts and two Pyro programs.

    vae = VAE(image_shape=(1, 28, 28), latent_dim=2)
    q = vae.posterior(x)           # q(z | x)
    p = vae.likelihood(q.mean)     # p(x | z)

Every part is a constructor argument: a class, a function that builds the part, or a finished module. Training,
evaluation and latent-space analysis use only a model's `prior`, `likelihood`, `posterior`, `model`, `guide` and
`shapes`.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, get_args

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.contracts import (
    Likelihood,
    NotApplicable,
    Posterior,
    Prior,
    as_likelihood,
    as_posterior,
    as_prior,
    name_of,
)
from pyrovae.runtime import frozen
from pyrovae.shapes import ImageShape, Shapes

EncoderFactory = Callable[[Shapes], networks.Encoder]
DecoderFactory = Callable[[Shapes, int], networks.Decoder]
PriorFactory = Callable[[Shapes], priors.Prior]
LikelihoodFactory = Callable[[Shapes, likelihoods.DecoderFactory], likelihoods.Likelihood]
PosteriorFactory = Callable[[Shapes, networks.Encoder], posteriors.Posterior]


_AS_PART: dict[str, Callable[[nn.Module], nn.Module]] = {
    "prior": as_prior,
    "likelihood": as_likelihood,
    "posterior": as_posterior,
}


class LatentVariableModel(nn.Module):
    """p(x, z | y) = p(z | y) p(x | z, y) as a Pyro model, q(z | x, y) as its guide.

    A subclass may override the two programs and draw more codes than z: training, the bound, log p(x) and samples use
    the programs. Analyses of codes use z, which `posterior` encodes and `likelihood` decodes. See
    scripts/examples/hierarchical.py.

    Args:
        shapes: Sizes of the model.
        prior: Module from labels to p(z | y).
        likelihood: Module from codes and labels to p(x | z, y).
        posterior: Module from images and labels to q(z | x, y).

    Attributes:
        infers_labels: Whether the guide has q(y | x), by which labels that are hidden are summed over.
    """

    infers_labels: ClassVar[bool] = False
    prior: Prior
    likelihood: Likelihood
    posterior: Posterior

    def __init__(self, shapes: Shapes, prior: nn.Module, likelihood: nn.Module, posterior: nn.Module) -> None:
        super().__init__()
        self.shapes = shapes
        self.prior = as_prior(prior)
        self.likelihood = as_likelihood(likelihood)
        self.posterior = as_posterior(posterior)

    def __setattr__(self, name: str, value: Any) -> None:
        # A part that is assigned later is wrapped like those of the constructor.
        super().__setattr__(name, _AS_PART[name](value) if name in _AS_PART else value)
        if name in _AS_PART and self._modules.keys() >= _AS_PART.keys():
            self.posterior.attach(self.prior, self.likelihood)  # a SemiAmortised uses both

    def need_bound(self, otherwise: str) -> None:
        """Refuse a model that has no bound of log p(x), because its codes have no density.

        Raises:
            NotApplicable: If the prior is not scored or the posterior is a point, with the message `otherwise`.
        """
        if not self.prior.scored:
            raise NotApplicable(otherwise)
        self.posterior.need_density(otherwise)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """The generative program: a code from the prior, an image from the likelihood."""
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", self.prior(y))
            pyro.sample("x", self.likelihood(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """The inference program: a code from the posterior of each image."""
        with pyro.plate("images", len(x)):
            pyro.sample("z", self.posterior(x, y))


def labels_in_turn(model: LatentVariableModel, count: int, device: torch.device) -> Tensor | None:
    """Labels for `count` images to draw, (count,): all classes in turn. None for a model without labels."""
    classes = model.shapes.num_classes
    return torch.arange(count, device=device) % classes if classes else None


class VAE(LatentVariableModel):
    """Variational autoencoder, which does not use labels.

    Its parts take images x in [0, 1], float32 (N, C, H, W), and codes z, (N, latent_dim), and return distributions:

    >>> vae = VAE((1, 8, 8), latent_dim=2)
    >>> q = vae.posterior(torch.zeros(5, 1, 8, 8))
    >>> q.batch_shape, q.event_shape
    (torch.Size([5]), torch.Size([2]))
    >>> vae.likelihood(q.mean).mean.shape
    torch.Size([5, 1, 8, 8])

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
        missing: For images in which values are missing, NaN: the likelihood scores what is seen, and the encoder gets
            zeros in their place, or zeros and a mask.

    Raises:
        ValueError: If a size is out of range, a network cannot take images of this size, or parts are incompatible.
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
        missing: networks.Missing | None = None,
    ) -> None:
        shapes = Shapes(image_shape, latent_dim)
        super().__init__(shapes, *build_parts(shapes, encoder, decoder, prior, likelihood, posterior, missing))


class CVAE(LatentVariableModel):
    """Conditional variational autoencoder: every part gets the label, so the code describes the style.

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
        missing: For images in which values are missing, NaN: the likelihood scores what is seen, and the encoder gets
            zeros in their place, or zeros and a mask.

    Raises:
        ValueError: If a size is out of range, a network cannot take images of this size, or parts are incompatible.
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
        missing: networks.Missing | None = None,
    ) -> None:
        shapes = Shapes(image_shape, latent_dim, num_classes)
        if num_classes < 2:
            raise ValueError(f"a CVAE needs images of at least two classes, got {num_classes}: use a VAE")
        super().__init__(shapes, *build_parts(shapes, encoder, decoder, prior, likelihood, posterior, missing))


class Autoencoder(LatentVariableModel):
    """Autoencoder as a Pyro program: a Delta guide and no prior term, so the loss is the reconstruction alone.

    Samples decode draws from N(0, I), although training does not make this the distribution of the codes.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        latent_dim: Number of dimensions of the latent code z.
        encoder: Network from images to features.
        decoder: Network from codes to numbers for each pixel.
        likelihood: The distribution of an image given its code, p(x | z).
        missing: For images in which values are missing, NaN: the likelihood scores what is seen, and the encoder gets
            zeros in their place, or zeros and a mask.

    Raises:
        ValueError: If a size is out of range, or a network cannot take images of this size.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int = 2,
        encoder: EncoderFactory = networks.MLPEncoder,
        decoder: DecoderFactory = networks.MLPDecoder,
        likelihood: LikelihoodFactory = likelihoods.Bernoulli,
        missing: networks.Missing | None = None,
    ) -> None:
        shapes = Shapes(image_shape, latent_dim)
        prior = priors.Unscored(priors.StandardNormal(shapes))
        super().__init__(shapes, *build_parts(shapes, encoder, decoder, prior, likelihood, posteriors.Delta, missing))


def build_parts(
    shapes: Shapes,
    encoder: EncoderFactory,
    decoder: DecoderFactory,
    prior: PriorFactory,
    likelihood: LikelihoodFactory,
    posterior: PosteriorFactory,
    missing: networks.Missing | None = None,
) -> tuple[Prior, Likelihood, Posterior]:
    """The three parts: finished modules unchanged, the others built by their factories.

    Raises:
        ValueError: If one is not a part, or they are incompatible.
    """
    if isinstance(posterior, nn.Module):
        q = as_posterior(posterior)
    else:
        q = as_posterior(_part("posterior", posterior, shapes, build_encoder(encoder, shapes, missing)))
    p = as_prior(_part("prior", prior, shapes))
    p.attach(q.amortised)  # a VampPrior uses the posterior
    _check_parts(shapes, p, q.amortised)
    make_decoder = _decoder_factory(shapes, decoder, q.periodic)
    scored = as_likelihood(_part("likelihood", likelihood, shapes, make_decoder))
    return p, scored if missing is None else likelihoods.score_seen(scored), q


def build_encoder(
    encoder: EncoderFactory, shapes: Shapes, missing: networks.Missing | None, slot: str = "encoder"
) -> nn.Module:
    """The encoder, which for images with missing values is given none of them.

    Raises:
        ValueError: If there is no such way of telling it.
    """
    if missing is None:
        return _part(slot, encoder, shapes)
    if missing not in get_args(networks.Missing):
        raise ValueError(f"missing must be one of {', '.join(get_args(networks.Missing))}, or None, got {missing!r}")
    channels, height, width = shapes.image_shape
    inputs = replace(shapes, image_shape=(2 * channels, height, width)) if missing == "mask" else shapes
    return networks.SeenEncoder(_part(slot, encoder, inputs), missing)


_SLOTS = {
    "encoder": ("networks.MLPEncoder", "shapes", "x, y"),
    "classifier": ("networks.MLPEncoder", "shapes", "x, y"),
    "decoder": ("networks.MLPDecoder", "shapes, channels", "z, y"),
    "prior": ("priors.StandardNormal", "shapes", "y"),
    "likelihood": ("likelihoods.Bernoulli", "shapes, make_decoder", "z, y"),
    "posterior": ("posteriors.DiagonalNormal", "shapes, encoder", "x, y"),
}
"""For each part an example, the arguments of its factory, and the arguments of the module."""


def _part(slot: str, part: Any, *arguments: object) -> nn.Module:
    """A finished module unchanged, any other part built by its factory.

    Args:
        slot: Name of the part, such as "prior".
        part: The module or its factory.
        arguments: Arguments of the factory.

    Raises:
        ValueError: If it is neither, or does not take the arguments.
    """
    example, made_with, called_with = _SLOTS[slot]
    if not callable(part):
        raise ValueError(
            f"{slot} must be a class, a function that builds the part or a finished module, got {part!r}: give the "
            f"class itself, such as {slot}=pyrovae.{example}"
        )
    if not isinstance(part, nn.Module):
        _check_takes(part, arguments, f"{slot} must be built from ({made_with}), which {_name(part)} is not")
        part = part(*arguments)
    if not isinstance(part, nn.Module):
        raise ValueError(f"{slot} must be a module when it is built, got {part!r}: return a torch.nn.Module")
    must = f"the module for {slot} must have forward({called_with}), which {type(part).__name__} has not"
    _check_takes(part.forward, called_with.split(", "), must)
    return part


def _name(factory: Callable[..., object]) -> str:
    return getattr(factory, "__name__", type(factory).__name__)


def _check_takes(function: Callable[..., object], arguments: Sequence[object], must: str) -> None:
    """Refuse a function that does not take these arguments, without calling it.

    Raises:
        ValueError: If it does not take them.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # functions not written in Python may have no signature
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ValueError(f"{must} ({error}): write a class that has it around yours") from error


def _decoder_factory(shapes: Shapes, decoder: DecoderFactory, periodic: bool) -> likelihoods.DecoderFactory:
    """The function by which a likelihood builds its decoder. For angles the decoder gets cosines and sines."""
    inputs = replace(shapes, latent_dim=2 * shapes.latent_dim) if periodic else shapes

    def build(channels: int) -> nn.Module:
        network = _part("decoder", decoder, inputs, channels)
        return networks.OnTorus(network) if periodic else network

    return build


def _check_parts(shapes: Shapes, prior: Prior, posterior: Posterior) -> None:
    """Refuse a posterior without a density, or one whose support exceeds the prior's."""
    p, q = name_of(prior), name_of(posterior)
    if not prior.scored:
        return
    posterior.need_density(
        f"the posterior {q} is a point without a density, so there is no KL term from it to the prior {p}: "
        f"use the model Autoencoder, or another posterior"
    )
    if prior.periodic != posterior.periodic:
        angles, other = (f"prior {p}", f"posterior {q}") if prior.periodic else (f"posterior {q}", f"prior {p}")
        raise ValueError(
            f"the {angles} has codes that are angles and the {other} has not: use the prior VonMises and the posterior "
            f"WrappedNormal together"
        )
    parts = nn.ModuleList([posterior, prior])
    with frozen(parts) as device:
        if device.type == "meta":
            return  # a sketch, which has sizes and no values
        x = torch.zeros(2, *shapes.image_shape, device=device)
        y = torch.zeros(2, dtype=torch.int64, device=device) if shapes.num_classes else None
        codes = _codes_all_over(posterior(x, y).support, shapes.latent_dim, device)
        inside = codes is None or bool(prior(y).support.check(codes).all())
    if not inside:
        raise ValueError(
            f"the posterior {q} reaches codes at which the prior {p} has no density, so their KL is infinite: use a "
            f"posterior that stays inside (for the prior Uniform the posterior Beta with the same low and high), or "
            f"another prior"
        )


def _codes_all_over(support: constraints.Constraint, latent_dim: int, device: torch.device) -> Tensor | None:
    """Codes at the ends and in the middle of a support, (5, 1, latent_dim); None if torch has no map to it."""
    anywhere = torch.tensor([-1e4, -3.0, 0.0, 3.0, 1e4], device=device).reshape(-1, 1, 1).expand(-1, 1, latent_dim)
    try:
        return transform_to(support)(anywhere)
    except NotImplementedError:
        return None
