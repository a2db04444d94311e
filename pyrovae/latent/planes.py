"""Planes to project a latent space of many dimensions to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pyrovae.checks import Count, Place, checked
from pyrovae.latent.codes import Codes


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of the latent space.

    Attributes:
        axes: Its two axes as rows, (2, latent_dim).
        names: Labels of the axes.
    """

    axes: np.ndarray
    names: tuple[str, str]


@checked
def pair_plane(latent_dim: Count, first: Place = 0, second: Place = 1) -> Plane:
    """The plane of two latent dimensions.

    Raises:
        ValueError: If the code does not have these dimensions.
    """
    if latent_dim < 2:
        raise ValueError(f"a plane needs a code of at least two dimensions, this one has {latent_dim}")
    if first == second or not (0 <= first < latent_dim and 0 <= second < latent_dim):
        raise ValueError(f"a plane needs two different dimensions from 0 to {latent_dim - 1}, got {first} and {second}")
    return Plane(np.eye(latent_dim)[[first, second]], (f"z[{first}]", f"z[{second}]"))


@checked
def pca_plane(codes: Codes) -> Plane:
    """The plane of the first two principal components of the posterior means."""
    _check(codes)
    _, vectors = np.linalg.eigh(np.cov(codes.means.T.astype(np.float64)))
    return Plane(_signed(vectors[:, :-3:-1].T), ("1st principal component", "2nd principal component"))


@checked
def lda_plane(codes: Codes) -> Plane:
    """The plane of linear discriminant analysis: it maximises the scatter between classes over that within classes.

    Its axes have unit length and in general are not orthogonal.

    References:
        C. R. Rao, The utilization of multiple measurements in problems of biological classification (1948).

    Raises:
        ValueError: If there are fewer than three classes.
    """
    _check(codes)
    labels, counts = np.unique(codes.labels, return_counts=True)
    if len(labels) < 3:
        raise ValueError(f"the plane that separates classes best needs at least three of them, got {len(labels)}")
    weights = counts / counts.sum()
    groups = [codes.of_class(label).means.astype(np.float64) for label in labels]
    within = sum(w * np.cov(g.T, bias=True) for w, g in zip(weights, groups, strict=True)) + codes.mean_covariance()
    means = np.stack([g.mean(0) for g in groups])
    between = np.cov(means.T, aweights=counts, bias=True)
    from scipy import linalg

    _, vectors = linalg.eigh(between, within)
    axes = vectors[:, :-3:-1].T
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    return Plane(_signed(axes), ("1st discriminant", "2nd discriminant"))


def find_plane(codes: Codes, kind: Literal["pair", "pca", "lda"], dims: tuple[int, int] = (0, 1)) -> Plane:
    """One of the planes by its name; `dims` are the two dimensions of "pair".

    Raises:
        ValueError: If there is no such plane.
    """
    if kind == "pair":
        return pair_plane(codes.latent_dim, *dims)
    if kind == "pca":
        return pca_plane(codes)
    if kind == "lda":
        return lda_plane(codes)
    raise ValueError(f"the plane must be pair, pca or lda, got {kind!r}")


def _check(codes: Codes) -> None:
    if codes.latent_dim < 2:
        raise ValueError(f"a plane needs a code of at least two dimensions, this one has {codes.latent_dim}")


def _signed(axes: np.ndarray) -> np.ndarray:
    """The axes with their largest entry made positive, so that every machine draws the same picture."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1, keepdims=True), 1)
    return axes * np.sign(largest)
