"""The evidence lower bound of a set of images, in its two parts."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from pyrovae.data import Split, batches
from pyrovae.evaluation.collapse import active_units
from pyrovae.models import LatentVariableModel
from pyrovae.objectives import LatentSite, kl_per_dimension, latent_sites
from pyrovae.runtime import frozen


@dataclass(frozen=True)
class ElboEstimate:
    """The bound of a set of images; means over the images, in nats per image.

    Attributes:
        images: Number of images.
        score: What the reconstruction term is: "NLL", or "cross-entropy" where it is no density.
        reconstruction: Minus the expected log-likelihood of an image given its code.
        kl: Divergence of the posterior from the prior.
        kl_per_dim: The same for each latent dimension, (latent_dim,), where posterior and prior are
            independent over dimensions and the divergence has a closed form; otherwise None.
        active_units: Number of latent dimensions whose posterior mean depends on the image.
    """

    images: int
    score: str
    reconstruction: float
    kl: float
    kl_per_dim: np.ndarray | None
    active_units: int

    @property
    def negative_elbo(self) -> float:
        """Reconstruction + KL: an upper bound of -log p(x) where the score is a density."""
        return self.reconstruction + self.kl

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        values = {**asdict(self), "negative_elbo": self.negative_elbo, "unit": "nats per image"}
        return values | {"kl_per_dim": None if self.kl_per_dim is None else self.kl_per_dim.tolist()}

    def __str__(self) -> str:
        total = "-ELBO" if self.score == "NLL" else f"{self.score} + KL"
        return (
            f"{total} {self.negative_elbo:.2f} = reconstruction ({self.score}) {self.reconstruction:.2f} "
            f"+ KL {self.kl:.2f} nats per image, {self.images:,} images, {self.active_units} active units"
        )


def estimate_elbo(
    model: LatentVariableModel,
    split: Split,
    *,
    batch_size: int = 1000,
    seed: int = 0,
) -> ElboEstimate:
    """Estimate the ELBO of a split with one code per image, whatever the weights of the training were.

    The KL term is exact where Pyro knows it in closed form and otherwise estimated with the same codes.

    Args:
        model: Any object with Pyro programs `model(x, y)` and `guide(x, y)`.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split` where the model
            was trained on binary pixels.
        batch_size: Images at a time; it bounds the memory and does not change the estimate's law.
        seed: Seed of the codes.

    Raises:
        ValueError: If there are no images.
    """
    if not len(split.images):
        raise ValueError("there are no images to evaluate: the split is empty")
    sums = torch.zeros(2, dtype=torch.float64)
    per_dim: Tensor | None = None
    means = []
    with frozen(model, seed) as device:
        for x, y in batches(split, batch_size, device):
            latents, reconstruction = _trace(model, x, y)
            kl, batch_per_dim, mean = _divergence(latents)
            sums += torch.stack([reconstruction, kl]).double().cpu()
            means.append(mean.cpu())
            if batch_per_dim is not None:
                batch_per_dim = batch_per_dim.double().cpu()
                per_dim = batch_per_dim if per_dim is None else per_dim + batch_per_dim
    n = len(split.images)
    return ElboEstimate(
        images=n,
        score=getattr(model.likelihood, "score", "NLL"),
        reconstruction=float(sums[0] / n),
        kl=float(sums[1] / n),
        kl_per_dim=None if per_dim is None else (per_dim / n).numpy(),
        active_units=active_units(torch.cat(means)),
    )


def _trace(model: LatentVariableModel, x: Tensor, y: Tensor) -> tuple[list[tuple[LatentSite, Tensor]], Tensor]:
    """Run guide and model once: codes with their log q - log p, and minus the log-density of what is observed."""
    guide_trace = poutine.trace(model.guide).get_trace(x, y)
    model_trace = poutine.trace(poutine.replay(model.model, trace=guide_trace)).get_trace(x, y)
    guide_trace.compute_log_prob()
    model_trace.compute_log_prob()
    latents = [
        (site, guide_trace.nodes[site.name]["log_prob"] - model_trace.nodes[site.name]["log_prob"])
        for site in latent_sites(guide_trace, model_trace)
    ]
    observed = [model_trace.nodes[name]["log_prob_sum"] for name in model_trace.observation_nodes]
    return latents, -torch.stack([torch.as_tensor(value) for value in observed]).sum()


def _divergence(latents: list[tuple[LatentSite, Tensor]]) -> tuple[Tensor, Tensor | None, Tensor]:
    """KL over the batch; the same per dimension or None; posterior means, (B, dimensions)."""
    total = torch.zeros(())
    per_dim: list[Tensor | None] = []
    means = []
    for site, log_ratio in latents:
        each = kl_per_dimension(site.q, site.p) if site.in_order else None
        dims = None if each is None else each.flatten(0, -2).sum(0)
        per_dim.append(dims)
        total = total.to(site.value.device) + (log_ratio.sum() if dims is None else dims.sum())
        means.append(_mean(site.q, site.value).flatten(1))
    known = [dims for dims in per_dim if dims is not None]
    return total, torch.cat(known) if known and len(known) == len(per_dim) else None, torch.cat(means, 1)


def _mean(q: Distribution, value: Tensor) -> Tensor:
    """The posterior mean, or the draw itself where the family has no mean in closed form."""
    try:
        return q.mean
    except NotImplementedError:
        return value
