"""Likelihoods of what is seen: values that are missing, NaN, are no part of the score.

    p(x_seen | z) = prod over the seen i of p(x_i | z)

Values are independent given the code, so those that are missing integrate to 1 and their factors are left out.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from pyrovae.contracts import Around, Likelihood, NotApplicable, as_likelihood


class _OrMissing(constraints.Constraint):
    """Values of another constraint, or NaN."""

    def __init__(self, seen: Any, anywhere: float) -> None:
        self.seen, self.anywhere = seen, anywhere
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        """Whether values that are seen are."""
        return self.seen.is_discrete

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is missing or lies inside."""
        missing = value.isnan()
        return missing | self.seen.check(torch.where(missing, self.anywhere, value))


class OfSeen(dist.TorchDistribution):
    """A distribution of single values in which NaN, a value that is missing, has the log-density 0.

    Args:
        base: Distribution with an empty event shape, whose support holds 0, or 0.5 if it is continuous.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form

    def __init__(self, base: Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape, validate_args=False)
        # Where the base is asked instead of at NaN, so that its gradients are finite there.
        self._anywhere = 0.0 if self._is_discrete else 0.5

    @property
    def _is_discrete(self) -> bool:
        support: Any = self.base.support
        return bool(support.is_discrete)

    @property
    def has_rsample(self) -> bool:
        """Whether draws of the base are differentiable."""
        return self.base.has_rsample

    @property
    def support(self) -> constraints.Constraint:
        """That of the base, and NaN."""
        return _OrMissing(self.base.support, self._anywhere)

    @property
    def mean(self) -> Tensor:
        """Of the base."""
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        """Of the base."""
        return self.base.variance

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> OfSeen:
        """Return the same with another batch shape."""
        return OfSeen(self.base.expand(batch_shape))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw values, none of them missing."""
        return self.base.sample(sample_shape)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - torch's own form
        """Draw values through which gradients pass."""
        return self.base.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of each value that is seen, and 0 of the others."""
        missing = value.isnan()
        return torch.where(missing, 0.0, self.base.log_prob(torch.where(missing, self._anywhere, value)))


def score_seen(likelihood: Likelihood) -> Likelihood:
    """A likelihood in whose score NaN, a value that is missing, has no part."""
    return _SeenLikelihood(as_likelihood(likelihood))


class _SeenLikelihood(Around, Likelihood):
    """A likelihood that scores what is seen."""

    takes_missing = True

    def __init__(self, module: Likelihood) -> None:
        super().__init__()
        self.module = module
        self.score, self.pixels, self.cure = module.score, module.pixels, module.cure  # type: ignore[misc]

    def forward(self, *inputs: Tensor | None) -> Distribution:
        """The likelihood, in which NaN has no score.

        Raises:
            NotApplicable: If values are not independent given the code.
        """
        p = self.module(*inputs)
        if not isinstance(p, Independent) or p.reinterpreted_batch_ndims != 3:
            raise NotApplicable(
                f"what is seen can be scored only where values are independent given the code, Independent(..., 3), "
                f"got {type(p).__name__}: use a model without missing values, or another likelihood"
            )
        return OfSeen(p.base_dist).to_event(3)
