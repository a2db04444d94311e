"""Image sets by name or from arrays, their binarisation, and synthetic data with exact answers."""

from pyrovae.data.fixed import batches, fixed_split
from pyrovae.data.images import ImageSet, Split, draw_splits
from pyrovae.data.pixels import PIXEL_POLICIES, PixelPolicy, fix_pixels, pixels, to_unit
from pyrovae.data.sources import IMAGE_SETS, load_images
from pyrovae.data.synthetic import LinearGaussian

__all__ = [
    "IMAGE_SETS",
    "PIXEL_POLICIES",
    "ImageSet",
    "LinearGaussian",
    "PixelPolicy",
    "Split",
    "batches",
    "draw_splits",
    "fix_pixels",
    "fixed_split",
    "load_images",
    "pixels",
    "to_unit",
]
