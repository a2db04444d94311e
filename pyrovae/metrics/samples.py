"""Quality of samples, by a classifier and by nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from pyrovae.checks import Count, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet, PixelPolicy, Split, fix_pixels, to_unit
from pyrovae.estimates import Estimate
from pyrovae.metrics.classifier import Predictions, predict_classes, train_classifier
from pyrovae.models import LatentVariableModel, labels_in_turn
from pyrovae.runtime import frozen

_CHUNK = 500


@dataclass(frozen=True)
class SampleQuality:
    """Samples compared with real images.

    Attributes:
        samples: Number of samples, and of real images.
        space: Space of the distances: "pixels" or "classifier features".
        precision: Share of samples in the manifold of the real images.
        recall: Share of real images in the manifold of the samples.
        confidence: Mean probability of the predicted class, of samples and of real images; None without a classifier.
        entropy: Mean entropy of the class probabilities, nats, of samples and of real images.
        balance: KL of the samples' class frequencies from those of the real images, nats.
    """

    samples: int
    space: str
    precision: Estimate
    recall: Estimate
    confidence: tuple[Estimate, Estimate] | None = None
    entropy: tuple[Estimate, Estimate] | None = None
    balance: float | None = None


def draw_images(
    model: LatentVariableModel, count: int, labels: torch.Tensor | None = None, *, seed: int = 0
) -> np.ndarray:
    """Draw images from the model, x ~ p(x | z), z ~ p(z): (count, C, H, W).

    If the likelihood is not a density, the means of p(x | z) take the place of draws.

    Args:
        model: The model.
        count: Number of images.
        labels: Class of each, (count,). By default a conditional model takes all classes in turn, and other models get
            no label, so a prior of labelled components is their mixture.
        seed: Seed of the draws.
    """
    with frozen(model, seed) as device:
        y = labels_in_turn(model, count, device) if labels is None else labels.to(device)
        z = model.prior(y).expand([count]).sample()
        images = []
        for index in torch.arange(count, device=device).split(1000):
            p = model.likelihood(z[index], None if y is None else y[index])
            images.append((p.sample() if model.likelihood.is_density else p.mean).cpu())
    return torch.cat(images).numpy()


@checked
def trained_classifier(
    data: ImageSet, pixels: PixelPolicy, *, seed: Seed = 0, device: torch.device | str = "cpu"
) -> Callable[[np.ndarray], Predictions]:
    """A classifier trained on the training images of a set, with the pixels of a run.

    Args:
        data: The images, with labels.
        pixels: The pixel policy. Pixels are drawn once.
        seed: Seed of weights and order.
        device: Where to train and to classify.
    """
    if data.scaling is None:
        data = replace(data, images=fix_pixels(data.images, pixels))
    classifier = train_classifier(data, seed=seed, device=device)
    return partial(predict_classes, classifier)


@checked
def precision_recall(real: np.ndarray, samples: np.ndarray, k: Count = 3) -> tuple[float, float]:
    """Share of samples in the manifold of the real points, and the reverse.

    A point is in the manifold of a set if, for some point of the set, it is no farther from it than that point's k-th
    nearest neighbour in the set.

    References:
        T. Kynkäänniemi, T. Karras, S. Laine, J. Lehtinen and T. Aila, Improved Precision and Recall Metric for
        Assessing Generative Models (2019), arXiv:1904.06991.

    Args:
        real: Points of real images, (N, features).
        samples: Points of samples, (M, features); comparable only between sets of the same sizes.
        k: Number of neighbours.

    Raises:
        NotApplicable: If a set has no more than k points.
    """
    if min(len(real), len(samples)) <= k:
        raise NotApplicable(f"{k} neighbours need more than {k} points in each set, got {len(real)} and {len(samples)}")
    return _inside(samples, real, k), _inside(real, samples, k)


@checked
def sample_quality(
    model: LatentVariableModel,
    split: Split,
    predict: Callable[[np.ndarray], Predictions] | None = None,
    *,
    seed: Seed = 0,
) -> SampleQuality:
    """Compare a split with as many samples of the same classes.

    Args:
        model: The model.
        split: Real images, uint8 (N, C, H, W), and labels, (N,), with the pixels that the model draws.
        predict: A classifier of images in [0, 1], (N, C, H, W). If given, distances are between its features.
        seed: Seed of the draws.
    """
    real = to_unit(split.images).numpy()
    if np.isnan(real).any():
        raise NotApplicable("samples are held against whole images, and values of these are missing")
    samples = draw_images(model, len(real), split.labels, seed=seed)
    n = len(real)
    if predict is None:
        precision, recall = precision_recall(real.reshape(n, -1), samples.reshape(n, -1))
        return SampleQuality(n, "pixels", Estimate.share(precision, n), Estimate.share(recall, n))
    truth, drawn = predict(real), predict(samples)
    precision, recall = precision_recall(truth.features, drawn.features)
    frequencies, expected = (np.bincount(j.labels, minlength=j.probabilities.shape[1]) / n for j in (drawn, truth))
    some = frequencies > 0
    ratio = frequencies[some] / np.maximum(expected[some], 1 / n)
    return SampleQuality(
        n,
        "classifier features",
        Estimate.share(precision, n),
        Estimate.share(recall, n),
        confidence=(Estimate.mean_of(drawn.probabilities.max(1)), Estimate.mean_of(truth.probabilities.max(1))),
        entropy=(Estimate.mean_of(drawn.entropies), Estimate.mean_of(truth.entropies)),
        balance=float((frequencies[some] * np.log(ratio)).sum()),
    )


def _inside(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """Share of points in a ball around one of the manifold's points with the radius of its k-th neighbour."""
    balls = torch.as_tensor(manifold)
    radii = torch.cat([torch.cdist(c, balls).kthvalue(k + 1, 1).values for c in balls.split(_CHUNK)])  # itself is one
    found = [(torch.cdist(c, balls) <= radii).any(1) for c in torch.as_tensor(points).split(_CHUNK)]
    return float(torch.cat(found).double().mean())
