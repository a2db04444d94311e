"""Log-likelihoods of images with their errors, whatever found them."""

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
        log_likelihood: log p(x) of each image, or the bound that estimates it, (images,).
        error: Standard error of each, or the quadrature's own error bound, (images,).
        bias: How far each lies below log p(x) on average, to first order in 1 / samples, (images,); 0 for quadrature.
        sweep: Mean bound for numbers of samples up to the one used, by number; empty for other methods.
        sweep_errors: Standard error of each.
        pareto: Pareto shape k of the importance weights of each image, (images,), or None.
        pareto_threshold: Shape above which the estimate of an image is not to be trusted.
    """

    method: str
    log_likelihood: np.ndarray
    error: np.ndarray
    bias: np.ndarray
    sweep: dict[int, float] = field(default_factory=dict)
    sweep_errors: dict[int, float] = field(default_factory=dict)
    pareto: np.ndarray | None = None
    pareto_threshold: float = math.nan

    @property
    def mean(self) -> float:
        """Mean over the images."""
        return float(self.log_likelihood.mean())

    @property
    def estimate(self) -> Estimate:
        """Mean over the images with its errors; the bias is beside it."""
        return PerImage(self.log_likelihood, self.error).mean

    @property
    def mean_error(self) -> float:
        """Monte Carlo error of the mean: that of the method, not of the choice of images."""
        return self.estimate.monte_carlo

    @property
    def mean_bias(self) -> float:
        """How far the mean lies below that of log p(x), to first order; more images do not make it smaller."""
        return float(self.bias.mean())

    @property
    def failed(self) -> int | None:
        """Number of images whose Pareto shape is above the threshold: those that the guide fails."""
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
            "sweep": self.sweep,
            "sweep_errors": self.sweep_errors,
            "unit": "nats per image",
        }
        if self.pareto is not None:
            quantiles = np.quantile(self.pareto, [0.05, 0.5, 0.95]).tolist()
            values["pareto"] = {"5 % 50 % 95 %": quantiles, "threshold": self.pareto_threshold, "failed": self.failed}
        return values

    def __str__(self) -> str:
        return (
            f"log p(x) {self.mean:.2f} nats per image ± {self.mean_error:.2g} (Monte Carlo) "
            f"± {self.estimate.sampling:.2f} (sampling), {self.method}, {len(self.error):,} images"
        )


def check_has_likelihood(model: LatentVariableModel) -> None:
    """Refuse a model of which no log p(x) exists.

    Raises:
        NotApplicable: If the guide has no density, the prior is not scored, or the likelihood is none.
    """
    if not model.likelihood.is_density:
        raise NotApplicable(
            f"this model scores pixels by {model.likelihood.score}, which is no density: there is no log p(x) to "
            f"estimate; its reconstruction and KL are what can be reported"
        )
    model.need_bound("an autoencoder has no density of codes, so no log p(x): only its reconstruction exists")
