"""Posteriors q(z | x, y), the part of the guide: modules whose forward returns a distribution over codes.

    posterior(x, y) -> q(z | x, y)    batch_shape (B,), event_shape (latent_dim,)

Each is built from the model's shapes and an encoder, whose features it turns into parameters.
"""

from pyrovae.contracts import Posterior
from pyrovae.posteriors.correlated import Flow, FullNormal, LowRankNormal, Mixture
from pyrovae.posteriors.factorised import Beta, Delta, DiagonalNormal, Laplace, StudentT, WrappedNormal
from pyrovae.posteriors.hierarchical import Hierarchical
from pyrovae.posteriors.semi_amortised import SemiAmortised

__all__ = [
    "Beta",
    "Delta",
    "DiagonalNormal",
    "Flow",
    "FullNormal",
    "Hierarchical",
    "Laplace",
    "LowRankNormal",
    "Mixture",
    "Posterior",
    "SemiAmortised",
    "StudentT",
    "WrappedNormal",
]
