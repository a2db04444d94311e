"""A small image classifier: classes, confidence, and the Fréchet distance of its features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyrovae.data import HIDDEN, ImageSet, Split, to_unit
from pyrovae.estimates import Estimate
from pyrovae.runtime import frozen, seeded
from pyrovae.shapes import ImageShape

CONFIDENT = 0.9
"""The classifier is called confident if the probability of its prediction exceeds this."""

_CHUNK = 1000


class Classifier(nn.Module):
    """Two convolutions with pooling, one hidden layer: enough for 99 % of MNIST's test images.

    Args:
        image_shape: Channels, height and width of one image; sides of at least 4 pixels.
        num_classes: Number of classes.
        channels: Output channels of the two convolutions.
        features: Units of the hidden layer.
    """

    def __init__(
        self, image_shape: ImageShape, num_classes: int, channels: tuple[int, int] = (16, 32), features: int = 64
    ) -> None:
        super().__init__()
        depth, height, width = image_shape
        if min(height, width) < 4:
            raise ValueError(f"the classifier needs images of at least 4x4 pixels, got {height}x{width}")
        self.features = nn.Sequential(
            nn.Conv2d(depth, channels[0], 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels[0], channels[1], 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(channels[1] * (height // 4) * (width // 4), features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images in [0, 1], (B, C, H, W), to logits, (B, classes)."""
        return self.head(self.features(x))


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a classifier.

    Attributes:
        probabilities: Probability of each class, (images, classes).
        features: Activations of the last hidden layer, (images, features).
    """

    probabilities: np.ndarray
    features: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """The predicted class, (images,)."""
        return self.probabilities.argmax(1)

    @property
    def confident(self) -> np.ndarray:
        """Whether the predicted class has a probability above `CONFIDENT`, (images,)."""
        return self.probabilities.max(1) > CONFIDENT

    @property
    def entropies(self) -> np.ndarray:
        """Entropy of the probabilities, nats, (images,)."""
        p = self.probabilities.clip(min=np.finfo(np.float32).tiny)
        return -(p * np.log(p)).sum(1)


def train_classifier(
    data: ImageSet,
    *,
    epochs: int = 4,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    after_step: Callable[[], None] = lambda: None,
) -> Classifier:
    """Train a classifier on the training images of a set with the one-cycle learning rate.

    The global random number generators are restored.

    References:
        L. N. Smith and N. Topin, Super-Convergence (2017), arXiv:1708.07120, for the learning rate.

    Args:
        data: The images, with labels.
        epochs: Passes over the training images.
        batch_size: Images in a step.
        learning_rate: Maximum learning rate.
        seed: Seed of weights and order.
        device: Where to train.
        after_step: Called after each step.

    Raises:
        ValueError: If there are fewer than two classes.
    """
    if data.num_classes < 2:
        raise ValueError(f"a classifier needs images of at least two classes, {data.name} has {data.num_classes}")
    train = data.split("train")
    hidden = int((train.labels == HIDDEN).sum())
    if hidden:
        raise ValueError(
            f"a classifier is trained on the labels of all training images, and those of {hidden:,} of {data.name} are "
            f"hidden: do without it"
        )
    images, labels = train.images.to(device), train.labels.to(device)
    with seeded(seed, device):
        model = Classifier(data.image_shape, data.num_classes).to(device)
        order = (index for _ in range(epochs) for index in torch.randperm(len(images)).to(device).split(batch_size))
        _one_cycle(model, images, labels, order, epochs * -(-len(images) // batch_size), learning_rate, after_step)
    return model.eval()


def _one_cycle(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    order: Iterable[Tensor],
    steps: int,
    learning_rate: float,
    after_step: Callable[[], None],
) -> None:
    """Run Adam over batches of indices with the one-cycle learning rate of `steps` steps."""
    optimizer = torch.optim.Adam(model.parameters())
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for index in order:
        optimizer.zero_grad()
        cross_entropy(model(to_unit(images[index])), labels[index]).backward()
        optimizer.step()
        cycle.step()
        after_step()


def predict_classes(classifier: Classifier, images: np.ndarray) -> Predictions:
    """Classify images.

    Args:
        classifier: The classifier.
        images: Pixels in [0, 1], (N, C, H, W). Values outside are clipped.

    Raises:
        ValueError: If the images do not have four axes.
    """
    if images.ndim != 4:
        raise ValueError(f"images to classify must be of shape (N, C, H, W), got {images.shape}")
    probabilities, features = [], []
    with frozen(classifier) as device:
        for chunk in torch.as_tensor(images, dtype=torch.float32).clamp(0, 1).split(_CHUNK):
            hidden = classifier.features(chunk.to(device))
            features.append(hidden.cpu())
            probabilities.append(classifier.head(hidden).softmax(-1).cpu())
    return Predictions(torch.cat(probabilities).numpy(), torch.cat(features).numpy())


def accuracy(classifier: Classifier, split: Split) -> Estimate:
    """Share of images that are classified correctly."""
    right = predict_classes(classifier, to_unit(split.images).numpy()).labels == split.labels.numpy()
    return Estimate.share(float(right.mean()), len(right))


def frechet_distance(features: np.ndarray, real: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to a classifier's features of generated and of real images.

    It is divided by the total variance of the real features: 0 for equal Gaussians, about 1 if all generated images are
    the same. Small sets overestimate it, so compare sets of the same size.

    References:
        M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler and S. Hochreiter, GANs Trained by a Two Time-Scale Update
        Rule Converge to a Local Nash Equilibrium (2017), arXiv:1706.08500; their features are an Inception net's.

    Args:
        features: Features of the generated images, (N, features).
        real: Features of the real images, (M, features).
    """
    means = [np.asarray(f, dtype=np.float64).mean(0) for f in (features, real)]
    one, other = (np.cov(np.asarray(f, dtype=np.float64).T) for f in (features, real))
    variances, axes = np.linalg.eigh(other)
    root = (axes * np.sqrt(variances.clip(min=0))) @ axes.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ one @ root).clip(min=0)).sum()
    distance = np.square(means[0] - means[1]).sum() + np.trace(one) + np.trace(other) - 2 * shared
    return float(max(0.0, distance) / np.trace(other))
