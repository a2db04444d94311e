"""Codes of images: the moments of each image's posterior, a draw from it, and the label."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from pyro.distributions import Delta, MaskedDistribution
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split, batches
from pyrovae.files import replace_file
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

MOMENT_DRAWS = 128
"""Draws that estimate the moments of a posterior without closed forms."""


@dataclass(frozen=True, eq=False)
class Codes:
    """Posteriors q(z | x) of images.

    Attributes:
        means: Mean of each posterior, (images, latent_dim).
        variances: Variances of each posterior, (images, latent_dim), if its dimensions are independent; otherwise
            covariances, (images, latent_dim, latent_dim).
        draws: One draw from each posterior, (images, latent_dim).
        labels: Class of each image, (images,).
        exact: Whether the moments have closed forms, or are estimated from `MOMENT_DRAWS` draws.
    """

    means: np.ndarray
    variances: np.ndarray
    draws: np.ndarray
    labels: np.ndarray
    exact: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def latent_dim(self) -> int:
        """Number of dimensions of the code."""
        return self.means.shape[1]

    def of_class(self, label: int) -> Codes:
        """The codes of one class."""
        return self.take(np.flatnonzero(self.labels == label))

    def class_mean(self, label: int) -> np.ndarray:
        """Mean of a class's posterior means, (latent_dim,).

        Raises:
            ValueError: If the class has no images.
        """
        own = self.of_class(label)
        if not len(own):
            there = ", ".join(map(str, np.unique(self.labels)))
            raise ValueError(f"class {label} has no images here; there are classes {there}")
        return own.means.mean(0)

    def take(self, index: np.ndarray) -> Codes:
        """Some of the codes, by their indices."""
        return Codes(self.means[index], self.variances[index], self.draws[index], self.labels[index], self.exact)

    def first(self, count: int | None) -> Codes:
        """The first `count` codes, or all if `count` is None or larger.

        Raises:
            ValueError: If the count is below one.
        """
        if count is not None and count < 1:
            raise ValueError(f"images must be at least 1, got {count}")
        return self if count is None else self.take(np.arange(min(count, len(self))))

    def halves(self, seed: int = 0) -> tuple[Codes, Codes]:
        """Two random halves."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(np.sort(order[: len(self) // 2])), self.take(np.sort(order[len(self) // 2 :]))

    def covariances(self) -> np.ndarray:
        """Covariance of each posterior, (images, latent_dim, latent_dim)."""
        if self.variances.ndim == 3:
            return self.variances
        return self.variances[:, :, None] * np.eye(self.latent_dim, dtype=self.variances.dtype)

    def mean_covariance(self) -> np.ndarray:
        """The average posterior covariance, (latent_dim, latent_dim)."""
        mean = self.variances.mean(0, dtype=np.float64)
        return mean if mean.ndim == 2 else np.diag(mean)

    def aggregate(self) -> tuple[np.ndarray, np.ndarray]:
        """Moments of the aggregate posterior, E[μ] and E[Λ] + Cov[μ]: (latent_dim,) and (latent_dim, latent_dim)."""
        means = self.means.astype(np.float64)
        own = self.mean_covariance()
        return means.mean(0), own + np.cov(means.T, bias=True).reshape(own.shape)

    def project(self, plane: np.ndarray) -> Codes:
        """The codes projected to a plane or another linear image of the latent space.

        Args:
            plane: Matrix whose rows are the new axes, (dimensions, latent_dim).
        """
        variances = np.einsum("id,ndf,jf->nij", plane, self.covariances(), plane, optimize=True)
        return Codes(self.means @ plane.T, variances, self.draws @ plane.T, self.labels, self.exact)

    def save(self, path: Path) -> None:
        """Write the codes to a compressed file, `.npz`, atomically.

        Raises:
            OSError: If it cannot be written. Then an existing file is unchanged.
        """
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}

        def write(beside: Path) -> None:
            with beside.open("wb") as file:
                np.savez_compressed(file, **arrays)

        replace_file(path, write)

    @classmethod
    def read(cls, path: Path) -> Codes:
        """Read a file of `save`. Nothing is unpickled.

        Raises:
            ValueError: If the file is not one of `save`.
        """
        try:
            with np.load(path, allow_pickle=False) as saved:
                arrays = {field.name: saved[field.name] for field in fields(cls)}
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{path} holds no codes: {error}") from error
        return cls(**(arrays | {"exact": bool(arrays["exact"])}))


@checked
def encode(model: LatentVariableModel, split: Split, *, batch_size: Count = 2000, seed: Seed = 0) -> Codes:
    """Encode images to their posteriors, batch by batch.

    Args:
        model: The model.
        split: Images, uint8 (N, C, H, W), and labels, (N,). For a model of binary pixels, binarise it first with
            `fixed_split`.
        batch_size: Images at a time.
        seed: Seed of the draws.

    Raises:
        ValueError: If there are no images.
    """
    if not len(split):
        raise ValueError("there are no images to encode: the split is empty")
    parts: list[tuple[Tensor, ...]] = []
    exact = True
    with frozen(model, seed) as device:
        for x, y in batches(split, batch_size, device):
            q = model.posterior(x, y)
            moments = closed_moments(q)
            exact = exact and moments is not None
            mean, variance = moments or _moments_of_draws(q)
            parts.append((mean.cpu(), variance.cpu(), q.sample().cpu()))
    means, variances, draws = (torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True))
    return Codes(means, variances, draws, split.labels.numpy(), exact)


@checked
def mean_codes(
    model: LatentVariableModel, images: np.ndarray, labels: np.ndarray, *, batch_size: Count = 2000, seed: Seed = 0
) -> np.ndarray:
    """Posterior means of an array of images, such as a decoder's output, (images, latent_dim).

    Args:
        model: The model.
        images: Pixels in [0, 1], (images, C, H, W).
        labels: Class of each, (images,). A model without labels ignores them.
        batch_size: Images at a time.
        seed: Seed of the draws, for families whose mean has no closed form.
    """
    pixels, y = torch.as_tensor(images, dtype=torch.float32), torch.as_tensor(labels)
    with frozen(model, seed) as device:
        parts = []
        for batch, classes in zip(pixels.split(batch_size), y.split(batch_size), strict=True):
            q = model.posterior(batch.to(device), classes.to(device))
            parts.append((closed_moments(q) or _moments_of_draws(q))[0].cpu())
    return torch.cat(parts).numpy()


def prior_moments(model: LatentVariableModel, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean, (latent_dim,), and covariance, (latent_dim, latent_dim), of a model's prior.

    The prior of a conditional model is the mixture over its classes with equal weights. Moments without closed forms
    are estimated from draws.

    Args:
        model: The model.
        seed: Seed of the draws.
    """
    with frozen(model, seed) as device:
        classes = model.shapes.num_classes
        p = model.prior(torch.arange(classes, device=device) if classes else None)
        moments = closed_moments(p) or _moments_of_draws(p, 100 * MOMENT_DRAWS)
        mean, spread = (np.atleast_2d(part.cpu().double().numpy()) for part in moments)
    dim = mean.shape[-1]
    own = (spread.reshape(-1, dim, 1) * np.eye(dim)) if spread.shape == mean.shape else spread.reshape(-1, dim, dim)
    return mean.mean(0), own.mean(0) + np.cov(mean.T, bias=True).reshape(dim, dim)


def one_dimensional(d: Distribution) -> Distribution | None:
    """The marginals of the single dimensions, batch_shape (..., latent_dim), or None if they have no closed form."""
    if isinstance(d, MaskedDistribution):
        return one_dimensional(d.base_dist)
    if isinstance(d, Independent) and not d.base_dist.event_shape:
        return d.base_dist
    if isinstance(d, MultivariateNormal | LowRankMultivariateNormal):
        return Normal(d.mean, d.variance.sqrt())
    return None


def closed_moments(q: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean, and variances or covariances, or None if they have no closed form."""
    if isinstance(q, MixtureSameFamily):
        return _mixture_moments(q)
    try:
        if hasattr(q, "covariance_matrix") and not isinstance(q, Independent):
            return q.mean, q.covariance_matrix
        # Of other families the variance alone says nothing about covariances.
        factorised = isinstance(q, Independent) and not q.base_dist.event_shape
        return (q.mean, q.variance) if factorised or isinstance(q, Delta) else None
    except NotImplementedError:
        return None


def _mixture_moments(q: MixtureSameFamily) -> tuple[Tensor, Tensor] | None:
    """Mean and covariance of a mixture: the average covariance plus the covariance of the means."""
    moments = closed_moments(q.component_distribution)
    if moments is None:
        return None
    means, variances = moments  # (images, components, latent_dim), and one axis more for covariances
    weights = q.mixture_distribution.probs
    covariances = torch.diag_embed(variances) if variances.ndim == means.ndim else variances
    mean = torch.einsum("...k,...kd->...d", weights, means)
    centred = means - mean.unsqueeze(-2)
    between = torch.einsum("...k,...kd,...kf->...df", weights, centred, centred)
    return mean, torch.einsum("...k,...kdf->...df", weights, covariances) + between


def _moments_of_draws(q: Distribution, count: int = MOMENT_DRAWS) -> tuple[Tensor, Tensor]:
    draws = q.sample(torch.Size([count]))
    centred = draws - draws.mean(0)
    covariance = torch.einsum("s...d,s...f->...df", centred, centred) / (count - 1)
    try:
        return q.mean, covariance  # a flow's mean is by quasi-Monte-Carlo, less noisy than that of the draws
    except NotImplementedError:
        return draws.mean(0), covariance
