"""The latent space: where images are in it, how classes lie in it, and what its points decode to."""

from pyrovae.latent.codes import Codes, encode
from pyrovae.latent.comparison import Agreement, ClassComparison, agreement, compare_classes
from pyrovae.latent.gaussians import MASSES, ClassGaussians, Ellipse, class_ellipses, class_gaussians, ellipse
from pyrovae.latent.generate import PriorSamples, Reconstructions, decode, reconstruct, sample_per_class, sample_prior
from pyrovae.latent.manifold import Manifold, decode_manifold
from pyrovae.latent.planes import Plane, lda_plane, pair_plane, pca_plane
from pyrovae.latent.walks import Walk, axes, every_class, grid, line, walk

__all__ = [
    "MASSES",
    "Agreement",
    "ClassComparison",
    "ClassGaussians",
    "Codes",
    "Ellipse",
    "Manifold",
    "Plane",
    "PriorSamples",
    "Reconstructions",
    "Walk",
    "agreement",
    "axes",
    "class_ellipses",
    "class_gaussians",
    "compare_classes",
    "decode",
    "decode_manifold",
    "ellipse",
    "encode",
    "every_class",
    "grid",
    "lda_plane",
    "line",
    "pair_plane",
    "pca_plane",
    "reconstruct",
    "sample_per_class",
    "sample_prior",
    "walk",
]
