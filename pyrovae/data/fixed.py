"""Splits whose pixels are drawn once, for evaluation."""

from dataclasses import replace

from pyrovae.data.images import Split
from pyrovae.data.pixels import PixelPolicy, fix_pixels


def fixed_split(split: Split, policy: PixelPolicy, seed: int = 0) -> Split:
    """The same split with its images binarised once and for all, as evaluation needs it; see `fix_pixels`."""
    return replace(split, images=fix_pixels(split.images, policy, seed))
