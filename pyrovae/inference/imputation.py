"""Imputation: what may the values be that are missing, given those that are seen?

    p(x_missing | x_seen) = E over p(z | x_seen) of p(x_missing | z)

Codes are drawn from the guide and weighted by p(x_seen, z) / q(z | x_seen): self-normalised importance sampling. Of a
model that infers labels so is a label that is hidden, by p(x_seen, z, y) / q(z, y | x_seen).

A model that was trained too short or too long gives intervals that are too wide or too narrow. Rows that it was not
trained on tell by how much, as values that are seen there can be hidden from it, and all intervals are corrected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.checks import Count, Probability, Seed, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import HIDDEN, Split, batches
from pyrovae.inference.likelihood import check_has_likelihood
from pyrovae.inference.target import other_codes
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen
from pyrovae.semi_supervised import SemiSupervisedVAE

VALUES_AT_A_TIME = 4_000_000
"""Values decoded together; it bounds the memory whatever the number of rows."""
FOLDS = 5
"""Parts of the values seen of rows that are held out; each is hidden once."""
LEAST_HELD_OUT = 225
"""Values by which intervals can be calibrated, at least: the share of them in 90 % intervals is known to 2 %."""


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
        nominal: What the model takes that probability for; the same unless intervals were calibrated.
        effective: Effective number of codes of each row, (rows,): how many equal weights are worth those that it has.
    """

    missing: np.ndarray
    mean: np.ndarray
    draws: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mass: float
    nominal: float
    effective: np.ndarray

    def diagnosis(self) -> str:
        """How far the weights can be trusted, in a line."""
        few = int((self.effective < 10).sum())
        return (
            f"{int(self.missing.sum()):,} values imputed in {int(self.missing.any((1, 2, 3)).sum()):,} of "
            f"{len(self.missing):,} rows; effective codes: median {np.median(self.effective):.0f}, fewer than ten in "
            f"{few:,} rows{self._calibration}"
        )

    @property
    def _calibration(self) -> str:
        """How far the model's own intervals would be off, in words."""
        if self.nominal == self.mass:
            return ""
        return f"; intervals of {self.mass:.0%} by rows held out, where the model by itself says {self.nominal:.1%}"


@checked
def impute(
    model: LatentVariableModel,
    split: Split,
    *,
    samples: Count = 1000,
    draws: Count = 20,
    mass: Probability = 0.9,
    held_out: Split | None = None,
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda rows: None,
) -> Imputation:
    """Draw the missing values of rows given those that are seen. A conditional model is told the row's label.

    References:
        P.-A. Mattei and J. Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (2019),
        arXiv:1812.02633, section 3; J. Lei et al., Distribution-Free Predictive Inference for Regression (2018),
        arXiv:1604.04173, for intervals calibrated by what is held out.

    Args:
        model: A model that was built for missing values, with a density of them.
        split: Rows, float32 (N, C, H, W) with NaN where a value is missing, and labels, (N,); of a model that infers
            labels they may be hidden, here and of rows that are held out.
        samples: Codes drawn for each row, k.
        draws: Completed rows that are kept, at most as many.
        mass: Probability in the intervals, between 0 and 1.
        held_out: Rows that the model was not trained on, to calibrate the intervals: a fifth of their seen values is
            hidden at a time, and intervals get the width at which they hold the share `mass` of those; at most that of
            all draws.
        seed: Seed of the draws.
        progress: Called with the number of rows done since the last call.

    Raises:
        ValueError: If a number is out of its range, there are no rows, the model cannot score what is seen, or rows
            that are held out have too few values.
    """
    if draws > samples:
        raise ValueError(f"draws must be at most samples, the codes of each row, got draws={draws}, samples={samples}")
    check_has_likelihood(model)
    _check(model, split)
    nominal = mass if held_out is None else _calibrated(model, held_out, samples, mass, seed)
    ends = torch.tensor([(1 - nominal) / 2, (1 + nominal) / 2])
    size = max(1, VALUES_AT_A_TIME // (samples * split.images[0].numel()))
    parts = []
    with frozen(model, seed) as device:
        for x, y in _batches(model, split, size, device):
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
        nominal=nominal,
        effective=torch.cat(effective).numpy(),
    )


def _batches(
    model: LatentVariableModel, rows: Split, size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Values, (B, C, H, W), and labels, (B,): any for a model that looks at none, hidden for one that infers them."""
    if not model.shapes.num_classes:
        rows = replace(rows, labels=torch.zeros_like(rows.labels))
    labels = torch.zeros_like(rows.labels) if model.infers_labels else rows.labels
    for (x, y), own in zip(batches(replace(rows, labels=labels), size, device), rows.labels.split(size), strict=True):
        yield x, own.to(device) if model.infers_labels else y


def _check(model: LatentVariableModel, split: Split) -> None:
    if not model.likelihood.takes_missing:
        raise NotApplicable(
            "this model was not built for missing values: train one with missing='mask' (--model.missing mask)"
        )
    if others := ", ".join(other_codes(model)):
        raise NotApplicable(f"imputation is for models whose only code is z, this one draws {others} as well")
    if not len(split):
        raise ValueError("there are no rows to impute: the split is empty")


def _calibrated(model: LatentVariableModel, rows: Split, samples: int, mass: float, seed: int) -> float:
    """The mass at which the model's central intervals hold the share `mass` of values that are hidden from it.

    Raises:
        ValueError: If the rows have too few values.
    """
    seen = ~rows.images.isnan()
    count = int(seen.sum())
    if count < LEAST_HELD_OUT:
        raise ValueError(
            f"intervals are calibrated by at least {LEAST_HELD_OUT} values of rows that are held out, and these have "
            f"{count}: hold more rows out, or leave held_out (--calibrate false)"
        )
    fold = torch.randint(FOLDS, seen.shape, generator=torch.Generator().manual_seed(seed))
    size = max(1, VALUES_AT_A_TIME // (samples * rows.images[0].numel()))
    found = []
    with frozen(model, seed) as device:
        for part in range(FOLDS):
            hidden = seen & (fold == part)
            fewer = replace(rows, images=rows.images.masked_fill(hidden, torch.nan))
            for (x, y), truth, asked in zip(
                _batches(model, fewer, size, device), rows.images.split(size), hidden.split(size), strict=True
            ):
                values = _draw(model, x, y, samples)[0]
                t = truth.to(device)
                rank = (values < t).float().mean(0) + 0.5 * (values == t).float().mean(0)
                found.append((2 * rank - 1).abs().cpu()[asked])
    held = torch.cat(found).sort().values
    return float(held[min(count, math.ceil((count + 1) * mass)) - 1])


def _draw(model: LatentVariableModel, x: Tensor, y: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values given what is seen, (samples, B, C, H, W), their mean, (B, C, H, W), and effective codes, (B,)."""
    y, logs = _draw_labels(model, x, y, samples)
    q = model.posterior(x, y)
    z = q.sample(torch.Size([samples]) if y.ndim == 1 else torch.Size())
    p = model.likelihood(z, y)
    logs = logs + p.log_prob(x) + model.prior(y).log_prob(z) - q.log_prob(z)
    weights = logs.double().softmax(0)
    expected = torch.einsum("sb,sb...->b...", weights.to(p.mean.dtype), p.mean)
    rows = torch.multinomial(weights.T, samples, replacement=True).T
    chosen = rows.reshape(*rows.shape, *[1] * (x.ndim - 1)).expand(-1, -1, *x.shape[1:])
    return p.sample().gather(0, chosen), expected, 1 / weights.square().sum(0)


def _draw_labels(model: LatentVariableModel, x: Tensor, y: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Labels with draws from q(y | x) where they are hidden, (samples, B), and their log p(y) / q(y | x); else (B,)."""
    hidden = y == HIDDEN
    if not (isinstance(model, SemiSupervisedVAE) and bool(hidden.any())):
        return y, torch.zeros((), device=y.device)
    q = model.classifier(x)
    drawn = q.sample(torch.Size([samples]))
    logs = dist.Categorical(model.class_probabilities).log_prob(drawn) - q.log_prob(drawn)
    return torch.where(hidden, drawn, y), torch.where(hidden, logs, 0.0)


def _impute(
    model: LatentVariableModel, x: Tensor, y: Tensor, samples: int, draws: int, ends: Tensor
) -> tuple[Tensor, ...]:
    """Mean, ends of the intervals, (B, C, H, W), draws, (draws, B, C, H, W), and effective codes, (B,), of a batch."""
    values, expected, effective = _draw(model, x, y, samples)
    missing = x.isnan()
    low, high = (torch.quantile(values.flatten(1), end, 0).reshape(x.shape) for end in ends)
    filled = [torch.where(missing, each, x) for each in (expected, low, high, values[:draws])]
    return *filled, effective
