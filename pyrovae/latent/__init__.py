"""The latent space: where images are in it, how classes lie in it, and what its points decode to."""

from pyrovae.latent.arithmetic import (
    AttributeEffect,
    AttributeVector,
    attribute_vector,
    effect,
    extremes,
    find_attribute,
    move,
)
from pyrovae.latent.closeup import Closeup, closeup
from pyrovae.latent.codes import Codes, encode, mean_codes
from pyrovae.latent.comparison import Agreement, ClassComparison, agreement, compare_classes
from pyrovae.latent.gaussians import MASSES, ClassGaussians, Ellipse, class_ellipses, class_gaussians, ellipse
from pyrovae.latent.generate import PriorSamples, Reconstructions, decode, reconstruct, sample_per_class, sample_prior
from pyrovae.latent.manifold import Manifold, decode_manifold
from pyrovae.latent.morphology import Morphology, measure
from pyrovae.latent.planes import Plane, lda_plane, pair_plane, pca_plane
from pyrovae.latent.walks import Walk, axes, every_class, grid, line, walk

__all__ = [
    "MASSES",
    "Agreement",
    "AttributeEffect",
    "AttributeVector",
    "ClassComparison",
    "ClassGaussians",
    "Closeup",
    "Codes",
    "Ellipse",
    "Manifold",
    "Morphology",
    "Plane",
    "PriorSamples",
    "Reconstructions",
    "Walk",
    "agreement",
    "attribute_vector",
    "axes",
    "class_ellipses",
    "class_gaussians",
    "closeup",
    "compare_classes",
    "decode",
    "decode_manifold",
    "effect",
    "ellipse",
    "encode",
    "every_class",
    "extremes",
    "find_attribute",
    "grid",
    "lda_plane",
    "line",
    "mean_codes",
    "measure",
    "move",
    "pair_plane",
    "pca_plane",
    "reconstruct",
    "sample_per_class",
    "sample_prior",
    "walk",
]
