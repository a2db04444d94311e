"""Image sets by name or from arrays, their binarisation, and synthetic data with exact answers."""

from pyrovae.data.fixed import batches, fixed_split, policy_of
from pyrovae.data.images import ImageSet, Split, draw_splits
from pyrovae.data.pixels import PIXEL_POLICIES, PixelChoice, PixelPolicy, choose_policy, fix_pixels, pixels, to_unit
from pyrovae.data.sources import IMAGE_SETS, load_images
from pyrovae.data.synthetic import LinearGaussian

__all__ = [
    "IMAGE_SETS",
    "PIXEL_POLICIES",
    "ImageSet",
    "LinearGaussian",
    "PixelChoice",
    "PixelPolicy",
    "Split",
    "batches",
    "choose_policy",
    "draw_splits",
    "fix_pixels",
    "fixed_split",
    "load_images",
    "pixels",
    "policy_of",
    "to_unit",
]
