"""The VAE of few labels: the class of an image is a latent variable that is seen for some images.

model: y ~ p(y), z ~ p(z | y), x ~ p(x | z, y)
guide: y ~ q(y | x), z ~ q(z | x, y)
"""

import math
from collections.abc import Callable, Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.contracts import name_of
from pyrovae.models import (
    DecoderFactory,
    EncoderFactory,
    LatentVariableModel,
    LikelihoodFactory,
    PosteriorFactory,
    PriorFactory,
    build_encoder,
    build_parts,
)
from pyrovae.posteriors.base import out_features
from pyrovae.runtime import frozen
from pyrovae.shapes import ImageShape, Shapes, WrongTypeError


class LabelPosterior(nn.Module):
    """q(y | x) = Categorical(y; softmax(logits(x))).

    Args:
        network: Module from images to features, (B, network.out_features).
        num_classes: Number of classes.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(out_features(network), num_classes)

    def forward(self, x: Tensor) -> dist.Categorical:
        """The label of each image: batch_shape (B,), event_shape ()."""
        return dist.Categorical(logits=self.head(self.network(x, None)))


class SemiSupervisedVAE(LatentVariableModel):
    """A conditional VAE of images of which few have labels, model M2; its guide q(y | x) is a classifier.

    With L(x, y), the bound of -log p(x, y), an image without a label has the bound U(x) of -log p(x), which sums over
    the classes exactly. Of N training images the first N_l may have labels; then training minimises

        1/N [sum_labelled L(x, y) + sum_others U(x)] + alpha / N_l sum_labelled -log q(y | x)
        U(x) = sum_y q(y | x) [L(x, y) + log q(y | x)]

    References:
        D. P. Kingma, D. J. Rezende, S. Mohamed and M. Welling, Semi-supervised Learning with Deep Generative Models
        (2014), arXiv:1406.5298, model M2; there J is N times this loss, with alpha N for the weight of the mean.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        num_classes: Number of classes of the label y.
        latent_dim: Number of dimensions of the latent code z.
        encoder: Network from images and labels to features.
        decoder: Network from codes and labels to numbers for each pixel.
        classifier: Network from images to features, of which q(y | x) is a linear function.
        prior: The distribution of codes, p(z | y).
        likelihood: The distribution of an image given its code and label, p(x | z, y).
        posterior: The guide's distribution of the code given an image and its label, q(z | x, y).
        alpha: Weight of the classifier's mean cross-entropy on labelled images beside the bound per image, so that a
            labelled image weighs alpha N / N_l. The paper's is 0.1, which was worse on MNIST with 100 labels.
        class_probabilities: p(y), one number for each class; equal by default.
        missing: For images in which values are missing, NaN: the likelihood scores what is seen, and encoder and
            classifier get zeros in their place, or zeros and a mask.

    Raises:
        ValueError: If a size or alpha is out of range, a network cannot take images of this size, parts are
            incompatible, or the probabilities are not one for each class that add up to 1.
    """

    infers_labels = True
    class_probabilities: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        latent_dim: int = 2,
        encoder: EncoderFactory = networks.MLPEncoder,
        decoder: DecoderFactory = networks.MLPDecoder,
        classifier: EncoderFactory = networks.MLPEncoder,
        prior: PriorFactory = priors.StandardNormal,
        likelihood: LikelihoodFactory = likelihoods.Bernoulli,
        posterior: PosteriorFactory = posteriors.DiagonalNormal,
        alpha: float = 10.0,
        class_probabilities: Sequence[float] | None = None,
        missing: networks.Missing | None = None,
    ) -> None:
        shapes = Shapes(image_shape, latent_dim, num_classes)
        if num_classes < 2:
            raise ValueError(f"a SemiSupervisedVAE needs images of at least two classes, got {num_classes}: use a VAE")
        if not isinstance(alpha, int | float) or isinstance(alpha, bool):
            raise WrongTypeError(f"alpha, the weight of the classifier's term, must be a number, got {alpha!r}")
        if not 0 <= alpha < math.inf:
            raise ValueError(f"alpha, the weight of the classifier's term, must be at least 0, got {alpha}")
        super().__init__(shapes, *build_parts(shapes, encoder, decoder, prior, likelihood, posterior, missing))
        network = build_encoder(classifier, Shapes(image_shape, latent_dim), missing, "classifier")
        self.classifier = LabelPosterior(network, num_classes)
        self.alpha = float(alpha)
        self.register_buffer("class_probabilities", _probabilities(class_probabilities, num_classes), persistent=False)
        _check_broadcast(self)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """The generative program: a class, which is seen where it is given, a code, and an image of both."""
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", dist.Categorical(self.class_probabilities), obs=y)
            z = pyro.sample("z", self.prior(y))
            pyro.sample("x", self.likelihood(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """The inference program: the class of the image, unless it is given, and the code of both."""
        with pyro.plate("images", len(x)):
            if y is None:
                y = pyro.sample("y", self.classifier(x), infer={"enumerate": "parallel"})
            pyro.sample("z", self.posterior(x, y))

    def classification(self, x: Tensor, y: Tensor) -> None:
        """The term by which labelled images teach the classifier, log q(y | x)."""
        with pyro.plate("images", len(x)):
            pyro.sample("y", self.classifier(x), obs=y)


def _probabilities(given: Sequence[float] | None, classes: int) -> Tensor:
    """p(y), (classes,).

    Raises:
        ValueError: If it is not one probability for each class.
    """
    if given is None:
        return torch.full((classes,), 1 / classes)
    try:
        p = torch.tensor([float(each) for each in given])
    except (TypeError, ValueError):
        p = torch.empty(0)
    if p.shape != (classes,) or not bool((p > 0).all()) or abs(float(p.double().sum()) - 1) > 1e-4:
        raise ValueError(
            f"class_probabilities must be {classes} numbers above 0 that add up to 1, one for each class, got {given!r}"
        )
    return p / p.sum()


def _check_broadcast(model: SemiSupervisedVAE) -> None:
    """Refuse parts that cannot take every label beside the same images, (classes, 1) beside (B,).

    Raises:
        ValueError: If one cannot.
    """
    with frozen(model) as device:
        if device.type == "meta":
            return  # a sketch, which has sizes and no values
        x = torch.zeros(3, *model.shapes.image_shape, device=device)
        z = torch.zeros(2, 3, model.shapes.latent_dim, device=device)
        y = torch.tensor([[0], [1]], device=device)
        parts: dict[str, tuple[nn.Module, Callable[[], Distribution]]] = {
            "posterior": (model.posterior, lambda: model.posterior(x, y)),
            "likelihood": (model.likelihood, lambda: model.likelihood(z, y)),
            "prior": (model.prior, lambda: model.prior(y)),
        }
        for slot, (part, call) in parts.items():
            try:
                shape = torch.broadcast_shapes(call().batch_shape, (2, 3))
            except (RuntimeError, ValueError, IndexError, TypeError):
                shape = torch.Size()
            if shape != (2, 3):
                raise ValueError(
                    f"the {slot} {name_of(part)} must take labels (classes, 1) beside images (B, ...) and be of the "
                    f"batch_shape (classes, B), over which a SemiSupervisedVAE sums: broadcast y in its networks"
                )
