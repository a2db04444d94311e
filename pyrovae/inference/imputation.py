"""Imputation: what may the values be that are missing, given those that are seen?

    p(x_missing | x_seen) = E over p(z | x_seen) of p(x_missing | z)

Codes are drawn from the guide and weighted by p(x_seen, z) / q(z | x_seen): self-normalised importance sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import Count, Probability, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, batches
from pyrovae.inference.likelihood import check_has_likelihood
from pyrovae.inference.target import other_codes
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

VALUES_AT_A_TIME = 4_000_000
"""Values decoded together; it bounds the memory whatever the number of rows."""


@dataclass(frozen=True, eq=False)
class Imputation:
    """Rows of which values are missing, and what these may be.

    Attributes:
        missing: Which values are missing, bool (rows, C, H, W).
        mean: The rows with E[x_missing | x_seen] where a value is missing, (rows, C, H, W).
        draws: The rows with draws from p(x_missing | x_seen), (draws, rows, C, H, W).
        low: Lower ends of central intervals of `mass`, (rows, C, H, W); what is seen where it is seen.
        high: Upper ends.
        mass: Probability in an interval.
        effective: Effective number of codes of each row, (rows,): how many equal weights are worth those that it has.
    """

    missing: np.ndarray
    mean: np.ndarray
    draws: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mass: float
    effective: np.ndarray

    def diagnosis(self) -> str:
        """How far the weights can be trusted, in a line."""
        few = int((self.effective < 10).sum())
        return (
            f"{int(self.missing.sum()):,} values imputed in {int(self.missing.any((1, 2, 3)).sum()):,} of "
            f"{len(self.missing):,} rows; effective codes: median {np.median(self.effective):.0f}, fewer than ten in "
            f"{few:,} rows"
        )


@checked
def impute(
    model: LatentVariableModel,
    split: Split,
    *,
    samples: Count = 1000,
    draws: Count = 20,
    mass: Probability = 0.9,
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda rows: None,
) -> Imputation:
    """Draw the missing values of rows given those that are seen. A conditional model is told the row's label.

    References:
        P.-A. Mattei and J. Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (2019),
        arXiv:1812.02633, section 3.

    Args:
        model: A model that was built for missing values, with a density of them.
        split: Rows, float32 (N, C, H, W) with NaN where a value is missing, and labels, (N,).
        samples: Codes drawn for each row, k.
        draws: Completed rows that are kept, at most as many.
        mass: Probability in the intervals, between 0 and 1.
        seed: Seed of the draws.
        progress: Called with the number of rows done since the last call.

    Raises:
        ValueError: If a number is out of its range, there are no rows, or the model cannot score what is seen.
    """
    if draws > samples:
        raise ValueError(f"draws must be at most samples, the codes of each row, got draws={draws}, samples={samples}")
    check_has_likelihood(model)
    _check(model, split)
    ends = torch.tensor([(1 - mass) / 2, (1 + mass) / 2])
    size = max(1, VALUES_AT_A_TIME // (samples * split.images[0].numel()))
    parts = []
    with frozen(model, seed) as device:
        for x, y in batches(split, size, device):
            parts.append([each.cpu() for each in _impute(model, x, y, samples, draws, ends.to(device))])
            progress(len(x))
    mean, low, high, drawn, effective = ([part[i] for part in parts] for i in range(5))
    return Imputation(
        missing=split.images.isnan().numpy(),
        mean=torch.cat(mean).numpy(),
        draws=torch.cat(drawn, 1).numpy(),
        low=torch.cat(low).numpy(),
        high=torch.cat(high).numpy(),
        mass=mass,
        effective=torch.cat(effective).numpy(),
    )


def _check(model: LatentVariableModel, split: Split) -> None:
    if not model.likelihood.takes_missing:
        raise NotApplicable(
            "this model was not built for missing values: train one with missing='mask' (--model.missing mask)"
        )
    if others := ", ".join(other_codes(model)):
        raise NotApplicable(f"imputation is for models whose only code is z, this one draws {others} as well")
    if not len(split):
        raise ValueError("there are no rows to impute: the split is empty")


def _impute(
    model: LatentVariableModel, x: Tensor, y: Tensor, samples: int, draws: int, ends: Tensor
) -> tuple[Tensor, ...]:
    """Mean, ends of the intervals, (B, C, H, W), draws, (draws, B, C, H, W), and effective codes, (B,), of a batch."""
    q = model.posterior(x, y)
    z = q.sample(torch.Size([samples]))
    p = model.likelihood(z, y)
    logs = p.log_prob(x) + model.prior(y).log_prob(z) - q.log_prob(z)
    weights = logs.double().softmax(0)
    missing = x.isnan()
    expected = torch.einsum("sb,sb...->b...", weights.to(p.mean.dtype), p.mean)
    rows = torch.multinomial(weights.T, samples, replacement=True).T
    chosen = rows.reshape(*rows.shape, *[1] * (x.ndim - 1)).expand(-1, -1, *x.shape[1:])
    values = p.sample().gather(0, chosen)
    low, high = (torch.quantile(values.flatten(1), end, 0).reshape(x.shape) for end in ends)
    filled = [torch.where(missing, each, x) for each in (expected, low, high, values[:draws])]
    return *filled, 1 / weights.square().sum(0)
