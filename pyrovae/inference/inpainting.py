"""Inpainting: the distribution of the missing part of an image given the observed part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split
from pyrovae.inference.draws import PosteriorDraws, thinned
from pyrovae.inference.grid import quadrature_posterior
from pyrovae.inference.local import fit_local
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.inference.target import Target
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen
from pyrovae.shapes import ImageShape

Half = Literal["left", "right", "top", "bottom"]
Method = Literal["auto", "quadrature", "nuts", "svi"]


@dataclass(frozen=True, eq=False)
class Inpainting:
    """Partly observed images and their completions.

    Attributes:
        x: The whole images, (images, C, H, W).
        seen: Which pixels were observed, bool (images, C, H, W).
        posterior: Draws from p(z | x_seen).
        completions: Images completed at some of the draws: observed pixels unchanged, the mean of p(x | z) elsewhere,
            (images, completions, C, H, W).
        mean: The same with the mean over all draws, (images, C, H, W).
    """

    x: np.ndarray
    seen: np.ndarray
    posterior: PosteriorDraws
    completions: np.ndarray
    mean: np.ndarray

    def grid(self) -> np.ndarray:
        """A row per image: whole, observed part on grey, completions, their mean, (images, columns, C, H, W)."""
        # Vectors are drawn as numbers, of which none is grey.
        shown = np.where(self.seen, self.x, 0.35 if self.x.shape[-2] > 1 else np.nan)
        return np.concatenate([self.x[:, None], shown[:, None], self.completions, self.mean[:, None]], 1)


@checked
def half(image_shape: ImageShape, side: Half) -> Tensor:
    """A mask that is true on one half of an image, bool (C, H, W).

    Raises:
        ValueError: If there is no such half.
    """
    _, height, width = image_shape
    mask = torch.zeros(image_shape, dtype=torch.bool)
    parts = {
        "left": (..., slice(None), slice(0, width // 2)),
        "right": (..., slice(None), slice(width // 2, None)),
        "top": (..., slice(0, height // 2), slice(None)),
        "bottom": (..., slice(height // 2, None), slice(None)),
    }
    mask[parts[side]] = True
    return mask


@checked
def inpaint(
    model: LatentVariableModel,
    split: Split,
    seen: Tensor,
    *,
    method: Method = "auto",
    completions: Count = 6,
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> Inpainting:
    """Draw codes from p(z | x_seen), where p(x_seen | z) scores the observed pixels alone, and complete the images.

    References:
        D. J. Rezende, S. Mohamed and D. Wierstra, Stochastic Backpropagation (2014), arXiv:1401.4082, section 6.

    Args:
        model: A model whose pixels are independent given the code. A conditional model gets the images' labels.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        seen: Which pixels are observed, bool (C, H, W) or (N, C, H, W), such as `half`.
        method: "quadrature" (one or two dimensions), "nuts", "svi" (the best q of the guide's family), or "auto":
            quadrature if possible, else NUTS.
        completions: Completed images per image.
        seed: Seed of the draws.
        progress: Called with the number of codes, transitions or steps done since the last call.

    Raises:
        ValueError: If there is no such method, the mask does not fit, or the model's pixels are not independent.
    """
    size = 8 * completions * split.images.numel()
    check_memory({f"{completions:,} completions of each image": size}, "choose fewer completions")
    if method == "auto":
        method = "quadrature" if model.shapes.latent_dim <= 2 else "nuts"
    if method == "quadrature":
        posterior = quadrature_posterior(model, split, seen=seen, progress=progress).draws(seed=seed)
    elif method == "nuts":
        posterior = nuts_posterior(model, split, seen=seen, seed=seed, progress=progress)
    else:
        posterior = _best_of_the_family(model, split, seen, seed, progress)
    return _complete(model, split, seen, posterior, completions, seed)


def _best_of_the_family(
    model: LatentVariableModel, split: Split, seen: Tensor, seed: int, progress: Callable[[int], object]
) -> PosteriorDraws:
    """Draws from the best q of the guide's family for the observed pixels."""
    best = fit_local(model, split, seen=seen, seed=seed, progress=progress)
    with frozen(model, seed) as device:
        target = Target.of(model, split, device)
        z = best(target.x, target.y).sample(torch.Size([1000]))
    return PosteriorDraws("local SVI", z[None].cpu().numpy(), independent=True)


def _complete(
    model: LatentVariableModel, split: Split, seen: Tensor, posterior: PosteriorDraws, completions: int, seed: int
) -> Inpainting:
    """Decode draws of the codes and restore the observed pixels."""
    with frozen(model, seed) as device:
        target = Target.of(model, split, device, seen)
        z = torch.as_tensor(thinned(posterior, 500), device=device)
        expected = torch.cat([model.likelihood(part, target.y).mean for part in z.split(100)])
        # Evenly spaced over the chains, so that different modes are shown.
        some = torch.linspace(0, len(z) - 1, completions).long()
        mask = target.seen.expand_as(target.x)  # type: ignore[union-attr]
        shown = torch.where(mask, target.x, expected[some]).transpose(0, 1)
        mean = torch.where(mask, target.x, expected.mean(0))
    return Inpainting(
        x=target.x.numpy(force=True),
        seen=mask.numpy(force=True),
        posterior=posterior,
        completions=shown.numpy(force=True),
        mean=mean.numpy(force=True),
    )
