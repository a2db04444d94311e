"""Marginals: the posterior density of each latent dimension of a few images, with the prior's, and their KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split, to_unit
from pyrovae.latent.codes import one_dimensional
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

KERNEL_DRAWS = 4000
"""Draws for the kernel estimate of a density without closed form."""


@dataclass(frozen=True, eq=False)
class Marginals:
    """Posterior and prior marginals of the latent dimensions of some images.

    Attributes:
        images: The encoded pixels, (images, C, H, W).
        labels: Class of each image, (images,).
        dims: The latent dimensions, (dims,).
        points: Points of the densities, in increasing order, (images, dims, points).
        posterior: Marginal density of q(z_j | x), (images, dims, points).
        prior: Marginal density of p(z_j), (images, dims, points).
        kl: KL of the posterior marginal from the prior marginal, nats, (images, dims).
        exact: Whether the posterior densities have closed forms, or are kernel estimates from `KERNEL_DRAWS` draws.
    """

    images: np.ndarray
    labels: np.ndarray
    dims: np.ndarray
    points: np.ndarray
    posterior: np.ndarray
    prior: np.ndarray
    kl: np.ndarray
    exact: bool

    def __str__(self) -> str:
        return self.table()

    def table(self, names: Sequence[object] | None = None, class_names: Sequence[str] | None = None) -> str:
        """A line of KL divergences for each image. `names` label the lines; classes have numbers, or `class_names`."""
        names = range(len(self.labels)) if names is None else names
        classes = [str(label) if class_names is None else class_names[label] for label in self.labels]
        how = "" if self.exact else f", densities estimated from {KERNEL_DRAWS:,} draws"
        wide = max(map(len, ["class", *classes]))
        lines = [f"KL of each dimension's posterior from the prior, nats{how}"]
        lines.append(f"{'image':>6} {'class':>{wide}}" + "".join(f"{f'z[{j}]':>8}" for j in self.dims) + "     sum")
        for name, label, kl in zip(names, classes, self.kl, strict=True):
            lines.append(f"{name!s:>6} {label:>{wide}}" + "".join(f"{value:8.3f}" for value in (*kl, kl.sum())))
        return "\n".join(lines)


@checked
def marginals(
    model: LatentVariableModel, split: Split, *, dims: Sequence[int] | None = None, points: Count = 200, seed: Seed = 0
) -> Marginals:
    """Compare the posterior marginals of some images with the prior's, dimension by dimension.

    Args:
        model: The model.
        split: Images, uint8 (N, C, H, W), and labels, (N,). For a model of binary pixels, binarise it first with
            `fixed_split`.
        dims: The latent dimensions; by default all.
        points: Points of each density.
        seed: Seed of the draws, for families whose marginals have no closed form.

    Raises:
        ValueError: If there are no images, a dimension does not exist, or the posterior is a point.
    """
    if not len(split):
        raise ValueError("there are no images to look at: the split is empty")
    model.posterior.need_density(
        "an autoencoder's code is a point: only a posterior with width can be looked at beside the prior"
    )
    latent_dim = model.shapes.latent_dim
    chosen = np.arange(latent_dim) if dims is None else np.asarray(dims)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= latent_dim:
        raise ValueError(f"this code has dimensions 0 to {latent_dim - 1}, got {list(chosen)}")
    with frozen(model, seed) as device:
        x, y = to_unit(split.images.to(device)), split.labels.to(device)
        q, p = model.posterior(x, y), model.prior(y)
        p = p.expand([len(split)]) if p.batch_shape != q.batch_shape else p
        q_draws, p_draws = (d.sample(torch.Size([KERNEL_DRAWS])) for d in (q, p))
        at = _grid(q_draws, p_draws, points)
        posterior, exact = _marginals(q, q_draws, at)
        prior, _ = _marginals(p, p_draws, at)
    grid, posterior, prior = (values[:, chosen] for values in (at.cpu().numpy(), posterior, prior))
    kl = _kl(grid, posterior, prior)
    return Marginals(x.cpu().numpy(), split.labels.numpy(), chosen, grid, posterior, prior, kl, exact)


def _grid(q_draws: Tensor, p_draws: Tensor, points: int) -> Tensor:
    """Points over the range of both, half of them in the posterior's range, (images, dims, points)."""
    q_low, q_high, p_low, p_high = (d.amin(0) for d in (q_draws, -q_draws, p_draws, -p_draws))
    q_high, p_high = -q_high, -p_high
    t = torch.linspace(0, 1, points // 2, device=q_draws.device)
    margin = 0.1 * (q_high - q_low)
    low, high = torch.minimum(q_low - margin, p_low), torch.maximum(q_high + margin, p_high)
    fine = (q_low - margin).unsqueeze(-1) + t * (q_high - q_low + 2 * margin).unsqueeze(-1)
    coarse = low.unsqueeze(-1) + t * (high - low).unsqueeze(-1)
    return torch.cat([coarse, fine], -1).sort(-1).values


def _marginals(d: Distribution, draws: Tensor, at: Tensor) -> tuple[np.ndarray, bool]:
    """Density of each dimension at points, (images, dims, points), and whether it has a closed form."""
    one = one_dimensional(d)
    if one is None:
        return _kernel_densities(draws.cpu().numpy(), at.cpu().numpy()), False
    z = at.movedim(-1, 0)
    support: Any = one.support
    inside = support.check(z)
    density = torch.where(inside, one.log_prob(torch.where(inside, z, draws[:1])).exp(), torch.zeros_like(z))
    return density.movedim(0, -1).cpu().numpy(), True


def _kernel_densities(draws: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Gaussian kernel estimates from draws, (draws, images, latent_dim)."""
    from scipy import stats  # imported here: it takes a second, which a training need not wait for

    images, dims = at.shape[:2]
    return np.stack([[stats.gaussian_kde(draws[:, n, j])(at[n, j]) for j in range(dims)] for n in range(images)])


def _kl(at: np.ndarray, q: np.ndarray, p: np.ndarray) -> np.ndarray:
    """KL by the trapezium rule over the points, (images, latent_dim)."""
    tiny = np.finfo(np.float32).tiny
    return np.trapezoid(q * (np.log(q.clip(min=tiny)) - np.log(p.clip(min=tiny))), at, axis=-1)
