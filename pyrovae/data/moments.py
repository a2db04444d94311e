"""Moments of values that are read some at a time, and the scaling that follows from them."""

import torch
from torch import Tensor

from pyrovae.data.scaling import Scaling, ScalingPolicy


class Moments:
    """Count, mean, spread and range of each column, or of each channel, and how much is missing.

    Args:
        columns: Names of the columns of a table; none for images and sequences.

    Attributes:
        missing: Number of values that are missing.
        total: Number of values.

    Example:
        >>> moments = Moments(("a", "b"))
        >>> for some in torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]).double().split(2):
        ...     moments.add(some[:, None, None])
        >>> moments.scaling("standard").shift.flatten().tolist()
        [2.0, 5.0]
    """

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.missing = self.total = 0
        self._moments: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Take in rows, float64 (n, C, H, W), NaN where a value is missing.

        References:
            T. F. Chan, G. H. Golub and R. J. LeVeque, Algorithms for Computing the Sample Variance (1983).
        """
        self.missing += int(values.isnan().sum())
        self.total += values.numel()
        x = values.flatten(0, 2) if self.columns else values.movedim(1, -1).flatten(0, 2)
        seen = ~x.isnan()
        count = seen.sum(0).double()
        mean = x.nansum(0) / count.clamp(min=1)
        spread = torch.where(seen, x - mean, 0.0).square().sum(0)
        low, high = torch.where(seen, x, torch.inf).amin(0), torch.where(seen, x, -torch.inf).amax(0)
        if self._moments is not None:
            n, old_mean, old_spread, old_low, old_high = self._moments
            both = (n + count).clamp(min=1)
            spread = spread + old_spread + (mean - old_mean).square() * n * count / both
            mean = (n * old_mean + count * mean) / both
            low, high, count = torch.minimum(low, old_low), torch.maximum(high, old_high), n + count
        self._moments = torch.stack([count, mean, spread, low, high])

    def empty(self) -> list[int]:
        """Numbers of the columns, or channels, that have no value."""
        return [] if self._moments is None else (self._moments[0] == 0).nonzero().flatten().tolist()

    def scaling(self, policy: ScalingPolicy) -> Scaling:
        """The scaling of these values, as `Scaling.of` makes it of values in memory."""
        assert self._moments is not None, "there are no values yet"
        count, mean, spread, low, high = self._moments
        varies = low < high
        shift, scale = torch.where(varies, mean, low), (spread / count).sqrt()
        if policy == "unit":
            shift, scale = low, high - low
        if policy == "none":
            shift, scale = torch.zeros_like(low), torch.ones_like(low)
        return Scaling.of_each(policy, shift, torch.where(varies, scale, torch.ones_like(scale)), self.columns)
