"""Sets of images and of values by name or from arrays, how both become x, and synthetic data with exact answers."""

from pyrovae.data.datasets import from_dataset
from pyrovae.data.few_labels import keep_labels
from pyrovae.data.fixed import batches, batches_of_any, evaluated_together, fixed_split, policy_of
from pyrovae.data.images import HIDDEN, ImageSet, Split, draw_splits
from pyrovae.data.packed import load_pack
from pyrovae.data.packing import pack
from pyrovae.data.pixels import (
    PIXEL_POLICIES,
    PixelChoice,
    PixelPolicy,
    choose_policy,
    fix_pixels,
    is_black_and_white,
    pixels,
    to_unit,
)
from pyrovae.data.scaling import SCALING_POLICIES, Scaling, ScalingPolicy
from pyrovae.data.sources import IMAGE_SETS, load_images
from pyrovae.data.synthetic import LinearGaussian
from pyrovae.data.tables import load_array, load_table
from pyrovae.data.values import from_values

__all__ = [
    "HIDDEN",
    "IMAGE_SETS",
    "PIXEL_POLICIES",
    "SCALING_POLICIES",
    "ImageSet",
    "LinearGaussian",
    "PixelChoice",
    "PixelPolicy",
    "Scaling",
    "ScalingPolicy",
    "Split",
    "batches",
    "batches_of_any",
    "choose_policy",
    "draw_splits",
    "evaluated_together",
    "fix_pixels",
    "fixed_split",
    "from_dataset",
    "from_values",
    "is_black_and_white",
    "keep_labels",
    "load_array",
    "load_images",
    "load_pack",
    "load_table",
    "pack",
    "pixels",
    "policy_of",
    "to_unit",
]
