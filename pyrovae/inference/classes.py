"""Classification: p(y | x) from p(x | y) by Bayes' rule, or q(y | x) by a guide that has one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyrovae.checks import Count, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import HIDDEN, Split, batches_of_any
from pyrovae.estimates import Estimate
from pyrovae.inference.graphs import GraphEngine
from pyrovae.inference.importance import importance_weighted
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen
from pyrovae.semi_supervised import SemiSupervisedVAE


@dataclass(frozen=True, eq=False)
class Reliability:
    """Reliability curve: accuracy by confidence, the probability of the predicted class.

    Attributes:
        confidence: Mean confidence in each bin, (bins,).
        accuracy: Share of correct predictions, (bins,).
        error: Standard error of the accuracy if the probabilities are calibrated, (bins,).
        counts: Images in each bin, (bins,). Empty bins are left out.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    error: np.ndarray
    counts: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean distance between accuracy and confidence over the images."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.counts))


class _Classified(ABC):
    """Probabilities of classes, and the true ones.

    Attributes:
        labels: True classes, (images,).
    """

    labels: np.ndarray

    @property
    @abstractmethod
    def log_probabilities(self) -> np.ndarray:
        """Log-probability of each class, (images, classes)."""

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each class, (images, classes)."""
        return np.exp(self.log_probabilities)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class, (images,)."""
        return self.log_probabilities.argmax(1)

    @property
    def correct(self) -> np.ndarray:
        """Whether the most probable class is the true one, (images,)."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> Estimate:
        """Share of correct predictions."""
        return Estimate.share(float(self.correct.mean()), len(self.labels))

    @property
    def log_score(self) -> Estimate:
        """Mean of minus the log-probability of the right class, nats: a proper score, smallest if calibrated."""
        return Estimate.mean_of(-self.log_probabilities[np.arange(len(self.labels)), self.labels], "nats")

    def reliability(self, bins: int = 10) -> Reliability:
        """Accuracy by confidence in bins of equal width.

        References:
            C. Guo et al., On Calibration of Modern Neural Networks (2017), arXiv:1706.04599.
        """
        sure = self.probabilities.max(1)
        place = np.minimum((sure * bins).astype(int), bins - 1)
        rows = [np.flatnonzero(place == b) for b in range(bins) if (place == b).any()]
        confidence = np.array([sure[r].mean() for r in rows])
        counts = np.array([len(r) for r in rows])
        accuracy = np.array([self.correct[r].mean() for r in rows])
        spread = np.array([np.sqrt((sure[r] * (1 - sure[r])).sum()) for r in rows])
        return Reliability(confidence, accuracy, spread / counts, counts)

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        curve = self.reliability()
        return {
            "images": len(self.labels),
            "accuracy": self.accuracy.value,
            "accuracy_error": self.accuracy.sampling,
            "log_score": self.log_score.value,
            "log_score_error": self.log_score.sampling,
            "expected_calibration_error": curve.expected_error,
            "confidence": curve.confidence.tolist(),
            "accuracy_by_confidence": curve.accuracy.tolist(),
            "counts": curve.counts.tolist(),
        }


@dataclass(frozen=True, eq=False)
class ClassPosterior(_Classified):
    """p(y | x) of images.

    Attributes:
        log_likelihood: log p(x | y), or a bound that estimates it, (images, classes), in nats.
        prior: p(y), (classes,).
        labels: True classes, (images,).
        samples: Codes for each image and class.
    """

    log_likelihood: np.ndarray
    prior: np.ndarray
    labels: np.ndarray
    samples: int

    @property
    def log_probabilities(self) -> np.ndarray:
        """Log p(y | x), (images, classes)."""
        from scipy.special import log_softmax

        with np.errstate(divide="ignore"):
            return log_softmax(self.log_likelihood + np.log(self.prior), axis=1)

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        return {"samples": self.samples, **super().to_dict()}

    def __str__(self) -> str:
        bound = "ELBO" if self.samples == 1 else f"importance-weighted, k = {self.samples:,}"
        return (
            f"p(y | x) names the class of {self.accuracy.percent} of {len(self.labels):,} images correctly; "
            f"-log p(right class) {self.log_score}, calibration error {self.reliability().expected_error:.3f} ({bound})"
        )


@dataclass(frozen=True, eq=False)
class LabelPredictions(_Classified):
    """q(y | x) of images, by the guide of a model that infers labels.

    Attributes:
        logs: log q(y | x), (images, classes).
        labels: True classes, (images,).
    """

    logs: np.ndarray
    labels: np.ndarray

    @property
    def log_probabilities(self) -> np.ndarray:
        """Log q(y | x), (images, classes)."""
        return self.logs

    @property
    def error(self) -> Estimate:
        """Share of wrong predictions."""
        return Estimate(1 - self.accuracy.value, self.accuracy.sampling)

    def __str__(self) -> str:
        return (
            f"q(y | x) names the class of {self.accuracy.percent} of {len(self.labels):,} images "
            f"correctly; "
            f"-log q(right class) {self.log_score}, calibration error {self.reliability().expected_error:.3f}"
        )


@checked
def predict_labels(model: LatentVariableModel, split: Split) -> LabelPredictions:
    """q(y | x) of images, by the guide.

    Args:
        model: A model that infers labels.
        split: Images, uint8 (N, C, H, W), and labels, (N,), which are not read; binarise it first with `fixed_split`.

    Raises:
        NotApplicable: If the model has no q(y | x).
        ValueError: If there are no images.
    """
    if not isinstance(model, SemiSupervisedVAE):
        raise NotApplicable(
            f"a {type(model).__name__} has no q(y | x), by which a guide names classes: train a SemiSupervisedVAE"
        )
    if not len(split):
        raise ValueError("there are no images to classify: the split is empty")
    with frozen(model) as device:
        logs = [model.classifier(x).logits.cpu() for x, _ in batches_of_any(split.without_labels(), 1000, device)]
    return LabelPredictions(torch.cat(logs).double().log_softmax(1).numpy(), split.labels.numpy())


def with_predicted_labels(model: LatentVariableModel, split: Split) -> Split:
    """The same images, with the most probable class by q(y | x) where a label is hidden.

    Args:
        model: A model that infers labels.
        split: Images with the pixels that it was trained on.

    Raises:
        NotApplicable: If the model has no q(y | x).
    """
    hidden = split.labels == HIDDEN
    if not bool(hidden.any()):
        return split
    predicted = torch.from_numpy(predict_labels(model, split).predicted)
    return replace(split, labels=torch.where(hidden, predicted, split.labels))


@checked
def classify(
    model: LatentVariableModel,
    split: Split,
    samples: Count = 100,
    *,
    prior: Sequence[float] | None = None,
    engine: GraphEngine = "graph",
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda codes: None,
) -> ClassPosterior:
    """Estimate p(y | x) = p(y) p(x | y) / Σ_c p(c) p(x | c), with p(x | y) importance-weighted by q(z | x, y).

    With one sample, log p(x | y) is the ELBO of one code.

    References:
        D. P. Kingma et al., Semi-supervised Learning with Deep Generative Models (2014), arXiv:1406.5298, section 3.

    Args:
        model: A conditional model whose likelihood is a density.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        samples: Codes for each image and class.
        prior: p(y) of each class; by default that of the model, or uniform.
        engine: "compiled", or "graph", which needs no compiler.
        seed: Seed of the codes.
        progress: Called with the number of codes done since the last call.

    Raises:
        ValueError: If the model is not conditional, has no p(x), or the prior does not fit.
    """
    own = model.class_probabilities.cpu().double().numpy() if isinstance(model, SemiSupervisedVAE) else None
    shares = _shares(model.shapes.num_classes, own if prior is None and own is not None else prior)
    classes = len(shares)
    if len(split) and int(split.labels.max()) >= classes:
        raise ValueError(f"this model knows the classes 0 to {classes - 1}, got class {int(split.labels.max())}")
    settings: dict[str, Any] = {"sweep": (), "engine": engine, "seed": seed, "progress": progress}
    relabelled = (replace(split, labels=torch.full_like(split.labels, label)) for label in range(classes))
    columns = [importance_weighted(model, each, samples, **settings).log_likelihood for each in relabelled]
    scored = np.stack(columns, 1)
    # The programs of a model that infers labels score the label too.
    return ClassPosterior(scored if own is None else scored - np.log(own), shares, split.labels.numpy(), samples)


def _shares(classes: int, prior: Sequence[float] | np.ndarray | None) -> np.ndarray:
    """p(y), (classes,), uniform by default.

    Raises:
        ValueError: If there are no classes, or the prior is not one probability for each.
    """
    if not classes:
        raise NotApplicable("this model does not look at labels, so it has no p(x | y): use a CVAE")
    shares = np.full(classes, 1 / classes) if prior is None else np.asarray(prior, dtype=np.float64)
    if shares.shape != (classes,) or shares.min() < 0 or not np.isclose(shares.sum(), 1):
        raise ValueError(f"the prior must be {classes} probabilities that add up to 1, got {prior}")
    return shares
