"""Log-likelihoods of images with their errors, the result of every estimator of log p(x)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from pyrovae.contracts import NotApplicable
from pyrovae.estimates import Estimate, PerImage
from pyrovae.models import LatentVariableModel


@dataclass(frozen=True, eq=False)
class LikelihoodEstimate:
    """Log-likelihood of images, in nats.

    Attributes:
        method: How it was estimated, in words.
        log_likelihood: log p(x) of each image, or a bound that estimates it, (images,).
        error: Monte Carlo error of each, or quadrature's error bound, (images,).
        bias: How far each lies below log p(x) on average, to first order in 1 / samples, (images,); 0 for quadrature.
        sweep: Mean bound by number of samples, up to the one used; empty for other methods.
        pareto: Pareto shape k of the importance weights of each image, (images,), or None.
        pareto_threshold: Shape above which the estimate of an image is unreliable.
    """

    method: str
    log_likelihood: np.ndarray
    error: np.ndarray
    bias: np.ndarray
    sweep: dict[int, Estimate] = field(default_factory=dict)
    pareto: np.ndarray | None = None
    pareto_threshold: float = math.nan

    @property
    def mean(self) -> float:
        """Mean over the images."""
        return float(self.log_likelihood.mean())

    @property
    def estimate(self) -> Estimate:
        """Mean over the images with its errors, the bias not corrected."""
        return PerImage(self.log_likelihood, self.error).mean

    @property
    def mean_error(self) -> float:
        """Monte Carlo error of the mean."""
        return self.estimate.monte_carlo

    @property
    def mean_bias(self) -> float:
        """How far the mean lies below the mean log p(x), to first order. More images do not reduce it."""
        return float(self.bias.mean())

    @property
    def failed(self) -> int | None:
        """Number of images whose Pareto shape exceeds the threshold: the guide fails for them."""
        return None if self.pareto is None else int((self.pareto > self.pareto_threshold).sum())

    def bits_per_dim(self, dimensions: float) -> float:
        """Minus the mean log-likelihood in bits per pixel and channel."""
        return -self.mean / dimensions / math.log(2)

    def to_dict(self) -> dict[str, object]:
        """The numbers under their names, for JSON."""
        values: dict[str, object] = {
            "method": self.method,
            "images": len(self.error),
            "log_likelihood": self.mean,
            "error": self.mean_error,
            "bias": self.mean_bias,
            "spread": self.estimate.sampling,
            "sweep": {k: bound.value for k, bound in self.sweep.items()},
            "sweep_errors": {k: bound.monte_carlo for k, bound in self.sweep.items()},
            "unit": "nats per image",
        }
        if self.pareto is not None:
            quantiles = np.quantile(self.pareto, [0.05, 0.5, 0.95]).tolist()
            values["pareto"] = {"5 % 50 % 95 %": quantiles, "threshold": self.pareto_threshold, "failed": self.failed}
        return values

    def __str__(self) -> str:
        return (
            f"log p(x) {self.mean:.2f} nats per image{self.estimate.errors}, {self.method}, {len(self.error):,} images"
        )


def check_has_likelihood(model: LatentVariableModel) -> None:
    """Refuse a model for which log p(x) does not exist.

    Raises:
        NotApplicable: If guide or likelihood is not a density, or the prior is not scored.
    """
    if not model.likelihood.is_density:
        raise NotApplicable(
            f"this model scores pixels by {model.likelihood.score}, which is no density: there is no log p(x) to "
            f"estimate; its reconstruction and KL are what can be reported"
        )
    model.need_bound("an autoencoder has no density of codes, so no log p(x): only its reconstruction exists")
