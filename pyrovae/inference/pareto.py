"""The Pareto shape of importance weights: a diagnostic of their tail, and so of the guide, for each image."""

from __future__ import annotations

import math

import numpy as np

SMALLEST_TAIL = 5
"""Minimum number of weights in a tail for a fit."""


def tail_size(samples: int) -> int:
    """Number of the largest weights that form the tail, min(samples / 5, 3 sqrt(samples)), rounded up."""
    return math.ceil(min(samples / 5, 3 * math.sqrt(samples)))


def threshold(samples: int) -> float:
    """The shape above which an estimate from so many samples is unreliable, min(1 - 1 / log10(samples), 0.7).

    References:
        A. Vehtari et al., Pareto Smoothed Importance Sampling (2024), Journal of Machine Learning Research 25(72).
    """
    return min(1 - 1 / math.log10(samples), 0.7) if samples > 1 else math.nan


def pareto_shape(log_weights: np.ndarray, samples: int | None = None) -> np.ndarray:
    """Shape k of a generalised Pareto distribution fitted to the largest importance weights of each image.

    The weights have finite moments up to order 1 / k. Below 0.5 their variance is finite. Up to 0.7 their mean
    converges at a usable rate. Above 0.7 the guide is too narrow or misplaced. Equal weights have the shape 0.

    References:
        A. Vehtari et al., Pareto Smoothed Importance Sampling (2024), Journal of Machine Learning Research 25(72), for
        the tail and the prior that shrinks a fit of few weights towards 0.5; Y. Yao et al., Yes, but Did It Work?:
        Evaluating Variational Inference (2018), arXiv:1802.02538, for the use.

    Args:
        log_weights: Logarithms of the weights, (images, samples), in any order and up to a constant. The
            `tail_size(samples) + 1` largest are enough.
        samples: Number of all weights, if only the largest are given.

    Returns:
        k, (images,); NaN if there are too few weights for a tail.
    """
    size = tail_size(samples or log_weights.shape[1])
    if size < SMALLEST_TAIL or log_weights.shape[1] <= size:
        return np.full(len(log_weights), np.nan)
    largest = np.sort(log_weights.astype(np.float64), 1)[:, -size - 1 :]
    weights = np.exp(largest - largest[:, -1:])
    excesses = weights[:, 1:] - weights[:, :1]
    varied = excesses[:, 0] > 0
    shapes = np.zeros(len(log_weights))
    if varied.any():
        shapes[varied] = generalised_pareto_shape(excesses[varied])
    # Rounded log weights may equal the cut. Those images are fitted without the ties.
    for i in np.flatnonzero(~varied):
        above = excesses[i][excesses[i] > 0]
        if len(above) >= SMALLEST_TAIL and above[-1] > 1e-6:
            shapes[i] = generalised_pareto_shape(above[None])[0]
    return shapes


def generalised_pareto_shape(excesses: np.ndarray) -> np.ndarray:
    """Shape k of the density (1 + k y / scale)^(-1 / k - 1) / scale, by Zhang and Stephens' quasi-Bayesian estimate.

    With b = -k / scale the likelihood is maximal over k at k(b) = mean log(1 - b y), so one parameter is left. Its
    posterior mean, under a prior from the data's quartile, is computed on a grid. The shape is then averaged with 0.5,
    weighted as ten observations.

    References:
        J. Zhang and M. Stephens, A New and Efficient Estimation Method for the Generalized Pareto Distribution (2009),
        Technometrics 51(3).

    Args:
        excesses: Weights minus the cut, positive and increasing along each row, (rows, n).

    Returns:
        k, (rows,).
    """
    n = excesses.shape[1]
    grid = 30 + int(math.sqrt(n))
    quartile, largest = excesses[:, [int(n / 4 + 0.5) - 1]], excesses[:, [-1]]
    b = 1 / largest + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    shape = np.stack([np.log1p(-column[:, None] * excesses).mean(1) for column in b.T], 1)
    profile = n * (np.log(-b / shape) - shape - 1)
    posterior = np.exp(profile - profile.max(1, keepdims=True))
    mean = (b * posterior).sum(1, keepdims=True) / posterior.sum(1, keepdims=True)
    fitted = np.log1p(-mean * excesses).mean(1)
    return (n * fitted + 10 * 0.5) / (n + 10)
