"""The latent space: codes of images, the distribution of classes, traversals and arithmetic."""

from pyrovae.latent.arithmetic import (
    AttributeEffect,
    AttributeVector,
    attribute_effect,
    attribute_vector,
    extremes,
    find_attribute,
    move_along,
)
from pyrovae.latent.codes import Codes, encode, mean_codes
from pyrovae.latent.comparison import Agreement, ClassComparison, agreement, compare_classes
from pyrovae.latent.gaussians import MASSES, ClassGaussians, Ellipse, class_ellipses, class_gaussians, ellipse
from pyrovae.latent.generate import PriorSamples, Reconstructions, decode, reconstruct, sample_per_class, sample_prior
from pyrovae.latent.manifold import Manifold, decode_manifold
from pyrovae.latent.marginals import Marginals, marginals
from pyrovae.latent.morphology import Morphology, measure
from pyrovae.latent.planes import Plane, lda_plane, pair_plane, pca_plane
from pyrovae.latent.traversals import Traversal, axes_through, every_class, grid_around, interpolate, traverse

__all__ = [
    "MASSES",
    "Agreement",
    "AttributeEffect",
    "AttributeVector",
    "ClassComparison",
    "ClassGaussians",
    "Codes",
    "Ellipse",
    "Manifold",
    "Marginals",
    "Morphology",
    "Plane",
    "PriorSamples",
    "Reconstructions",
    "Traversal",
    "agreement",
    "attribute_effect",
    "attribute_vector",
    "axes_through",
    "class_ellipses",
    "class_gaussians",
    "compare_classes",
    "decode",
    "decode_manifold",
    "ellipse",
    "encode",
    "every_class",
    "extremes",
    "find_attribute",
    "grid_around",
    "interpolate",
    "lda_plane",
    "marginals",
    "mean_codes",
    "measure",
    "move_along",
    "pair_plane",
    "pca_plane",
    "reconstruct",
    "sample_per_class",
    "sample_prior",
    "traverse",
]
