"""The unnormalised posterior: log p(x | z, y) + log p(z | y) of images, or of their observed pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, to_unit
from pyrovae.models import LatentVariableModel
from pyrovae.objectives import latent_sites_of

CODES_AT_A_TIME = 20_000
"""Codes that are decoded together. It bounds the memory for any number of draws or points."""


def other_codes(model: LatentVariableModel) -> list[str]:
    """Names of the latent sites of a model's programs other than z."""
    return [site.name for site in latent_sites_of(model) if site.name != "z"]


def check_has_posterior(model: LatentVariableModel) -> None:
    """Refuse a model that has no posterior of z alone.

    Raises:
        NotApplicable: If the prior is not scored, the guide is a point, or the programs draw other codes than z.
    """
    model.need_bound(
        "an autoencoder's code is a point: it has no prior term and no density, so there is no posterior to inspect; "
        "train a VAE"
    )
    others = other_codes(model)
    if others:
        raise NotApplicable(
            f"inspection is for models whose only code is z; the programs of this one also draw {', '.join(others)}"
        )


def check_draws_pixels(model: LatentVariableModel) -> None:
    """Refuse a model whose likelihood cannot draw images like those it was trained on.

    Raises:
        NotApplicable: If the likelihood is not a density of pixels.
    """
    if not model.likelihood.is_density:
        raise NotApplicable(
            f"this model scores pixels by {model.likelihood.score}, which is no density, so there are no draws of x "
            f"and no p(x): train with --pixels dynamic, or with a likelihood that is a density of grey pixels"
        )


@dataclass(frozen=True, eq=False)
class Target:
    """The unnormalised posterior of some images' codes.

    If the likelihood is a density, p(z | x, y) = exp(log_joint) / p(x | y). Grey pixels scored by cross-entropy have no
    density, but exp(-cross-entropy) p(z) can still be normalised over z. That is the Gibbs posterior of the loss, and
    the guide is trained to approximate it. The code then calls the log of its normaliser log p(x).

    References:
        P. G. Bissiri, C. C. Holmes and S. G. Walker, A general framework for updating belief distributions (2016),
        J. R. Statist. Soc. B 78, for posteriors of a loss.

    Attributes:
        model: The model.
        x: Pixels in [0, 1], (images, C, H, W).
        y: Labels, (images,).
        seen: Which pixels are observed, bool (C, H, W) or (images, C, H, W); None for all.
    """

    model: LatentVariableModel
    x: Tensor
    y: Tensor
    seen: Tensor | None = None

    @classmethod
    def of(cls, model: LatentVariableModel, split: Split, device: torch.device, seen: Tensor | None = None) -> Target:
        """The target of the images of a split.

        Raises:
            ValueError: If the model has no posterior, there are no images, they have classes that the model does not
                know, or the mask has a wrong type or shape.
        """
        check_has_posterior(model)
        classes = model.shapes.num_classes
        if not len(split):
            raise ValueError("there are no images to inspect: choose some by their numbers")
        if classes and int(split.labels.max()) >= classes:
            raise ValueError(
                f"this model knows the classes 0 to {classes - 1}, got an image of class {int(split.labels.max())}: "
                f"inspect it on the image set that it was trained on"
            )
        if seen is not None and (seen.dtype != torch.bool or seen.shape[-3:] != split.images.shape[1:]):
            raise ValueError(
                f"the mask of seen pixels must be bool of shape {tuple(split.images.shape[1:])}, true where a pixel is "
                f"seen, got {seen.dtype} of shape {tuple(seen.shape)}"
            )
        x, y = to_unit(split.images.to(device)), split.labels.to(device)
        return cls(model, x, y, None if seen is None else seen.to(device))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: slice) -> Target:
        """Some of the images."""
        seen = self.seen if self.seen is None or self.seen.ndim == 3 else self.seen[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], seen=seen)

    def copied(self) -> Target:
        """The same with images of its own, so that no others are sent with them to another process."""
        return replace(self, x=self.x.clone(), y=self.y.clone(), seen=None if self.seen is None else self.seen.clone())

    def ends(self) -> tuple[float, float]:
        """Bounds of the support of the codes; infinite unless the prior lives on a box or a torus."""
        support: Any = self.model.prior(self.y).support
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        low, high = getattr(support, "lower_bound", -math.inf), getattr(support, "upper_bound", math.inf)
        return float(torch.as_tensor(low).min()), float(torch.as_tensor(high).max())

    def guide(self) -> Distribution:
        """The guide's q(z | x, y). It sees no more of the images than the target does."""
        return self.model.posterior(self.filled(), self.y)

    def log_likelihood(self, z: Tensor) -> Tensor:
        """Log p(x_seen | z, y) of codes (..., images, latent_dim): (..., images).

        Raises:
            ValueError: If some pixels are missing and the pixels are not independent given the code.
        """
        p = self.model.likelihood(z, self.y)
        if self.seen is not None:
            if not isinstance(p, Independent) or p.reinterpreted_batch_ndims != 3:
                raise ValueError(
                    f"part of an image can be scored only where pixels are independent given the code, "
                    f"Independent(..., 3), got {type(p).__name__}"
                )
            p = p.base_dist.mask(self.seen).to_event(3)
        return p.log_prob(self.x)

    def log_joint(self, z: Tensor) -> Tensor:
        """Log p(x_seen | z, y) + log p(z | y) of codes (..., images, latent_dim): (..., images)."""
        return self.log_likelihood(z) + self.model.prior(self.y).log_prob(z)

    def weighted_prior(self, draws: int = 2000) -> Tensor:
        """Prior codes resampled by likelihood: approximately p(z | x_seen, y), (draws, images, latent_dim)."""
        z = self.model.prior(self.y).expand([len(self)]).sample(torch.Size([draws]))
        logs = torch.cat([self.log_likelihood(part) for part in z.split(max(1, CODES_AT_A_TIME // len(self)))])
        rows = torch.multinomial(logs.T.softmax(1), draws, replacement=True).T
        return z.gather(0, rows[..., None].expand_as(z))

    def filled(self) -> Tensor:
        """Pixels for an encoder, (images, C, H, W). Missing ones are filled by their mean under `weighted_prior`."""
        if self.seen is None:
            return self.x
        expected = self.model.likelihood(self.weighted_prior()[:100], self.y).mean.mean(0)
        return torch.where(self.seen, self.x, expected.to(self.x.dtype))

    def log_joint_of_many(self, z: Tensor, progress: Callable[[int], object] = lambda codes: None) -> Tensor:
        """`log_joint` of many codes, (codes, images, latent_dim), in bounded memory: float64 (codes, images)."""
        found = []
        for part in z.split(max(1, CODES_AT_A_TIME // len(self))):
            found.append(self.log_joint(part).double())
            progress(part[..., 0].numel())
        return torch.cat(found)
