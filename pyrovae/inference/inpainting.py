"""Inpainting: what may the rest of an image be, when part of it is seen?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.inference.draws import PosteriorDraws, thinned
from pyrovae.inference.grid import quadrature_posterior
from pyrovae.inference.local import fit_local
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.inference.target import Target
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen
from pyrovae.shapes import ImageShape

Half = Literal["left", "right", "top", "bottom"]
Method = Literal["auto", "quadrature", "nuts", "svi"]


@dataclass(frozen=True, eq=False)
class Inpainting:
    """Images of which part is seen, and what the rest may be.

    Attributes:
        x: The whole images, (images, C, H, W).
        seen: Which pixels were seen, bool (images, C, H, W).
        posterior: Draws from p(z | x_seen).
        completions: Completed images at some of the draws: seen pixels as they are, the mean of p(x | z) elsewhere,
            (images, completions, C, H, W).
        mean: The mean over all draws, completed likewise, (images, C, H, W).
    """

    x: np.ndarray
    seen: np.ndarray
    posterior: PosteriorDraws
    completions: np.ndarray
    mean: np.ndarray

    def grid(self) -> np.ndarray:
        """A row for each image: whole, what is seen on grey, completions, their mean, (images, columns, C, H, W)."""
        # Vectors are drawn as numbers, of which none is grey.
        shown = np.where(self.seen, self.x, 0.35 if self.x.shape[-2] > 1 else np.nan)
        return np.concatenate([self.x[:, None], shown[:, None], self.completions, self.mean[:, None]], 1)


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
    if side not in parts:
        raise ValueError(f"the half that is seen must be left, right, top or bottom, got {side!r}")
    mask[parts[side]] = True
    return mask


def inpaint(
    model: LatentVariableModel,
    split: Split,
    seen: Tensor,
    *,
    method: Method = "auto",
    completions: int = 6,
    seed: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> Inpainting:
    """Draw codes from p(z | x_seen), p(x_seen | z) being the likelihood of the seen pixels alone, and complete.

    A conditional model is told the image's label.

    References:
        D. J. Rezende, S. Mohamed and D. Wierstra, Stochastic Backpropagation (2014), arXiv:1401.4082, section 6.

    Args:
        model: A model whose pixels are independent given the code.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        seen: Which pixels are seen, bool (C, H, W) or (N, C, H, W), such as `half`.
        method: "quadrature" (one or two dimensions), "nuts", "svi" (the best q of the guide's family for the seen
            pixels), or "auto": the first that can do it.
        completions: Completed images shown for each.
        seed: Seed of the draws.
        progress: Called with the number of codes, transitions or steps done since the last call.

    Raises:
        ValueError: If there is no such method, the mask does not fit, or the model's pixels are not independent.
    """
    if method == "auto":
        method = "quadrature" if model.shapes.latent_dim <= 2 else "nuts"
    if method == "quadrature":
        posterior = quadrature_posterior(model, split, seen=seen, progress=progress).draws(seed=seed)
    elif method == "nuts":
        posterior = nuts_posterior(model, split, seen=seen, seed=seed, progress=progress)
    elif method == "svi":
        best = fit_local(model, split, seen=seen, seed=seed, progress=progress)
        with frozen(model, seed) as device:
            target = Target.of(model, split, device)
            z = best(target.x, target.y).sample(torch.Size([1000]))
        posterior = PosteriorDraws("local SVI", z[None].cpu().numpy(), independent=True)
    else:
        raise ValueError(f"method must be auto, quadrature, nuts or svi, got {method!r}")
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
