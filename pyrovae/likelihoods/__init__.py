"""Likelihoods p(x | z, y): modules whose forward returns a distribution over images.

    likelihood(z, y) -> p(x | z, y)    batch_shape (..., B), event_shape (C, H, W)

Each is built from the model's shapes and a function from a number of channels to a decoder with that many
outputs for each pixel, since the likelihood alone knows how many it needs.
"""

from pyrovae.contracts import Likelihood
from pyrovae.likelihoods.base import DecoderFactory
from pyrovae.likelihoods.binary import Bernoulli, CrossEntropy, GreyBernoulli
from pyrovae.likelihoods.continuous import Beta, ContinuousBernoulli, Laplace, Normal, StableContinuousBernoulli
from pyrovae.likelihoods.discrete import Categorical, DiscretizedLogistic, NegativeBinomial, Poisson
from pyrovae.likelihoods.seen import OfSeen, score_seen

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "CrossEntropy",
    "DecoderFactory",
    "DiscretizedLogistic",
    "GreyBernoulli",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Normal",
    "OfSeen",
    "Poisson",
    "StableContinuousBernoulli",
    "score_seen",
]
