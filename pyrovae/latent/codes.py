"""The codes of images: the moments of each image's posterior, a draw from it, and the image's label."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyrovae.data import Split, batches
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

MOMENT_DRAWS = 128
"""Draws from which the moments of a posterior without closed forms are estimated."""


@dataclass(frozen=True, eq=False)
class Codes:
    """Posteriors q(z | x) of images.

    Attributes:
        means: Mean of each posterior, (images, latent_dim).
        spreads: Variances of each posterior, (images, latent_dim), where its dimensions are independent; otherwise
            covariances, (images, latent_dim, latent_dim).
        draws: One draw from each posterior, (images, latent_dim).
        labels: Class of each image, (images,).
        exact: Whether the moments are the family's own, or estimated from `MOMENT_DRAWS` draws.
    """

    means: np.ndarray
    spreads: np.ndarray
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

    def take(self, index: np.ndarray) -> Codes:
        """Some of the codes, by their indices."""
        return Codes(self.means[index], self.spreads[index], self.draws[index], self.labels[index], self.exact)

    def covariances(self) -> np.ndarray:
        """Covariance of each posterior, (images, latent_dim, latent_dim)."""
        if self.spreads.ndim == 3:
            return self.spreads
        return self.spreads[:, :, None] * np.eye(self.latent_dim, dtype=self.spreads.dtype)

    def mean_covariance(self) -> np.ndarray:
        """The average posterior covariance, (latent_dim, latent_dim)."""
        mean = self.spreads.mean(0, dtype=np.float64)
        return mean if mean.ndim == 2 else np.diag(mean)

    def project(self, plane: np.ndarray) -> Codes:
        """The codes seen in a plane or another linear image of the latent space.

        Args:
            plane: Matrix whose rows are the new axes, (dimensions, latent_dim).
        """
        spreads = np.einsum("id,ndf,jf->nij", plane, self.covariances(), plane, optimize=True)
        return Codes(self.means @ plane.T, spreads, self.draws @ plane.T, self.labels, self.exact)

    def save(self, path: Path) -> None:
        """Write everything into one compressed file, `.npz`."""
        with path.open("wb") as file:
            np.savez_compressed(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, path: Path) -> Codes:
        """Read what `save` wrote; nothing is unpickled.

        Raises:
            ValueError: If the file is not what `save` writes.
        """
        try:
            with np.load(path, allow_pickle=False) as saved:
                arrays = {field.name: saved[field.name] for field in fields(cls)}
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{path} holds no codes: {error}") from error
        return cls(**(arrays | {"exact": bool(arrays["exact"])}))


def encode(model: LatentVariableModel, split: Split, *, batch_size: int = 2000, seed: int = 0) -> Codes:
    """Encode images to their posteriors, batch by batch.

    Args:
        model: The model whose posterior encodes.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split` where the model
            was trained on binary pixels.
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
            moments = _moments(q)
            exact = exact and moments is not None
            mean, spread = moments or _moments_of_draws(q)
            parts.append((mean.cpu(), spread.cpu(), q.sample().cpu()))
    means, spreads, draws = (torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True))
    return Codes(means, spreads, draws, split.labels.numpy(), exact)


def _moments(q: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean and variances or covariances in closed form, where the family has them."""
    try:
        mean = q.mean
        if isinstance(q, Independent) or not hasattr(q, "covariance_matrix"):
            return mean, q.variance
        return mean, q.covariance_matrix
    except NotImplementedError:
        return None


def _moments_of_draws(q: Distribution) -> tuple[Tensor, Tensor]:
    draws = q.sample(torch.Size([MOMENT_DRAWS]))
    mean = draws.mean(0)
    centred = draws - mean
    return mean, torch.einsum("snd,snf->ndf", centred, centred) / (MOMENT_DRAWS - 1)
