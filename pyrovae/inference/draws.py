"""Draws of codes given images, by any method, with their convergence diagnostics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split
from pyrovae.inference.arviz import effective_size, r_hat
from pyrovae.inference.target import Target
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

R_HAT_LIMIT = 1.01
ESS_PER_CHAIN = 100


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Draws of the codes of images.

    Attributes:
        source: The method: "guide", "NUTS", "quadrature", "local SVI".
        z: Codes, (chains, draws, images, latent_dim).
        independent: Whether the draws are independent. Then R-hat and effective sizes do not apply.
        diverging: Which transitions of a Markov chain diverged, (chains, draws, images); all false for other methods.
    """

    source: str
    z: np.ndarray
    independent: bool
    diverging: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if not self.diverging.size:
            object.__setattr__(self, "diverging", np.zeros(self.z.shape[:3], bool))

    @property
    def flat(self) -> np.ndarray:
        """All draws of all chains, (chains * draws, images, latent_dim)."""
        return self.z.reshape(-1, *self.z.shape[2:])

    @property
    def mean(self) -> np.ndarray:
        """(images, latent_dim)."""
        return self.flat.mean(0, dtype=np.float64)

    @property
    def covariance(self) -> np.ndarray:
        """(images, latent_dim, latent_dim)."""
        away = self.flat - self.mean
        return np.einsum("snd,snf->ndf", away, away) / (len(away) - 1)

    @property
    def mean_error(self) -> np.ndarray:
        """Standard error of the mean, (images, latent_dim)."""
        return self.flat.std(0, ddof=1) / np.sqrt(self.ess)

    @property
    def r_hat(self) -> np.ndarray:
        """Rank-normalised split R-hat, (images, latent_dim); NaN where draws are independent."""
        if self.independent:
            return np.full(self.z.shape[2:], np.nan)
        return r_hat(self.z)

    @property
    def ess(self) -> np.ndarray:
        """Effective number of draws for each mean, (images, latent_dim); all draws if they are independent."""
        number = self.z.shape[0] * self.z.shape[1]
        if self.independent:
            return np.full(self.z.shape[2:], float(number))
        return effective_size(self.z)

    @property
    def divergences(self) -> np.ndarray:
        """Number of divergent transitions of all chains, (images,)."""
        return self.diverging.sum((0, 1))

    def diagnosis(self) -> str:
        """The worst R-hat, effective size and number of divergences, and a line for each warning."""
        if self.independent:
            return f"{self.source}: {self.z.shape[0] * self.z.shape[1]:,} independent draws for each image"
        chains, draws = self.z.shape[:2]
        head = (
            f"{self.source}: {chains} chains of {draws:,} draws for each image, R-hat up to {self.r_hat.max():.3f}, "
            f"effective draws from {self.ess.min():,.0f}, divergences {int(self.divergences.max())}"
        )
        return "\n".join([head, *(f"warning: {line}" for line in self.complaints())])

    def to_dict(self) -> dict[str, Any]:
        """The diagnostics of each image under their names, for JSON."""
        found: dict[str, Any] = {"source": self.source, "chains": self.z.shape[0], "draws": self.z.shape[1]}
        if not self.independent:
            found |= {"r_hat": self.r_hat.tolist(), "ess": self.ess.tolist()}
            found |= {"divergences": self.divergences.tolist(), "warnings": self.complaints()}
        return found

    def complaints(self) -> list[str]:
        """Warnings with a remedy, a line each; none if the draws are reliable.

        References:
            A. Vehtari et al., Rank-normalization, folding, and localization: an improved R-hat (2021), Bayesian
            Analysis 16, for the limits of 1.01 and 100 draws a chain.
        """
        if self.independent:
            return []
        found = []
        chains, draws = self.z.shape[:2]
        worst, fewest, diverged = self.r_hat.max(), self.ess.min(), int(self.divergences.max())
        if not worst <= R_HAT_LIMIT:
            found.append(
                f"R-hat reaches {worst:.3f}, above {R_HAT_LIMIT}: the chains disagree; use a longer warm-up and "
                f"more draws, or quadrature (up to two dimensions) if the chains are in different modes"
            )
        if not fewest >= ESS_PER_CHAIN * chains:
            found.append(
                f"the effective number of draws falls to {fewest:.0f} of {chains * draws:,}, below {ESS_PER_CHAIN} for "
                f"each chain: draw more"
            )
        if diverged:
            found.append(
                f"{diverged} of {chains * draws:,} transitions diverged: the posterior is sharper somewhere "
                f"than the step size; raise target_accept towards 0.99"
            )
        return found


def thinned(posterior: PosteriorDraws, draws: int) -> np.ndarray:
    """Evenly spaced draws of all chains, (draws, images, latent_dim)."""
    flat = posterior.flat
    return flat[np.linspace(0, len(flat) - 1, min(draws, len(flat))).round().astype(int)]


@checked
def guide_draws(model: LatentVariableModel, split: Split, draws: Count = 1000, *, seed: Seed = 0) -> PosteriorDraws:
    """Independent draws from the guide's q(z | x) of each image.

    Args:
        model: A model whose guide has a density.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        draws: Draws for each image.
        seed: Seed of the draws.

    Raises:
        ValueError: If there is no posterior to draw from.
    """
    size = 8 * draws * len(split) * model.shapes.latent_dim
    check_memory({f"{draws:,} draws for each image": size}, "choose fewer draws")
    with frozen(model, seed) as device:
        z = Target.of(model, split, device).guide().sample(torch.Size([draws]))
    return PosteriorDraws("guide", z[None].cpu().numpy(), independent=True)
