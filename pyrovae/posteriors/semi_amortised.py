"""A posterior that is refined for each image by steps on its own bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrovae.contracts import Likelihood, Posterior, Prior, as_posterior, name_of, unwrapped
from pyrovae.posteriors.base import NormalFamily
from pyrovae.posteriors.factorised import DiagonalNormal
from pyrovae.shapes import MOST, Shapes, WrongTypeError, is_whole


class SemiAmortised(Posterior):
    """A Normal posterior whose parameters start from the encoder's and take a few steps of ascent on each image's ELBO.

    The steps are natural-gradient steps; one that lowers an image's ELBO is taken back, and the next is four times
    shorter. So the bound is no worse than the encoder's. The ELBO of the steps is an average over fixed points, exact
    for a quadratic log p(x, z) if there are at least 2 latent_dim of them; no random number is drawn, and q(z | x) is a
    function of the image. A step costs the decoder as many codes for each image as there are points, forwards and
    backwards. The steps weigh the KL by 1.

    In training mode with gradients, half of a batch is refined and teaches the decoder, with the refined numbers held
    fixed, and the other half keeps the encoder's numbers and teaches both. So the encoder learns to be right alone.
    Gradients through the steps (Kim et al.) let it drift: it ended 10 to 25 nats from the posterior, where new images
    were not led back. In evaluation mode every image is refined.

    References:
        Y. Kim, S. Wiseman, A. Miller, D. Sontag and A. Rush, Semi-Amortized Variational Autoencoders (2018),
        arXiv:1802.02550; R. Krishnan, D. Liang and M. Hoffman, On the Challenges of Learning with Inference Networks
        on Sparse, High-dimensional Data (2018), arXiv:1710.06085, for the encoder that learns from its own bound.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
        posterior: The family: DiagonalNormal or FullNormal.
        steps: Number of steps.
        lr: Size of a step, above 0 and at most 1, where 1 goes all the way to the curvature found.
        points: Number of fixed points, even; 2 latent_dim by default.

    Raises:
        ValueError: If the family is another one, or an argument is out of range.
    """

    noise: Tensor

    def __init__(
        self,
        shapes: Shapes,
        encoder: nn.Module,
        posterior: Callable[[Shapes, nn.Module], Posterior] = DiagonalNormal,
        steps: int = 3,
        lr: float = 0.5,
        points: int | None = None,
    ) -> None:
        super().__init__()
        if not is_whole(steps, 1, MOST):
            raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
        if not isinstance(lr, int | float) or isinstance(lr, bool):
            raise WrongTypeError(f"lr must be a number, got {lr!r}")
        if not 0 < lr <= 1:
            raise ValueError(f"lr must be above 0 and at most 1, got {lr}")
        if points is not None and (not is_whole(points, 2, MOST) or points % 2):
            raise ValueError(f"points must be an even number of at least 2, got {points!r}")
        self.steps, self.lr = steps, float(lr)
        self.posterior = as_posterior(posterior(shapes, encoder))
        if not isinstance(unwrapped(self.posterior), NormalFamily):
            raise ValueError(
                f"SemiAmortised refines the numbers of a Normal posterior, and {name_of(self.posterior)} is none: use "
                f"DiagonalNormal or FullNormal"
            )
        noise = _fixed_points(points or 2 * shapes.latent_dim, shapes.latent_dim)
        self.register_buffer("noise", noise, persistent=False)
        # In a tuple, so that the weights of the other parts are the model's and not saved twice.
        self._others: tuple[Prior, Likelihood] | None = None

    @property
    def amortised(self) -> Posterior:
        """The posterior without the steps, which need a prior that does not depend on them."""
        return self.posterior

    def attach(self, prior: Prior, likelihood: Likelihood) -> None:
        """Refine under this prior and this likelihood; the model calls it with its own."""
        self._others = (prior, likelihood)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        return self._family.of(self.outputs(x, y))

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The refined parameters of each image, (B, outputs).

        Raises:
            ValueError: If it belongs to no model yet.
        """
        if self._others is None:
            raise ValueError(
                "a SemiAmortised posterior has no prior and likelihood yet: build it with a model, or call attach"
            )
        start = self._family.outputs(x, y)
        if not (self.training and torch.is_grad_enabled()):
            return self._refined(start, x, y)
        count = start.shape[-2] // 2
        if not count:
            return start
        labels = y if y is None or y.shape[-1] == 1 else y[..., :count]
        refined = self._refined(start[..., :count, :], x[..., :count, :, :, :], labels)
        return torch.cat([refined, start[..., count:, :]], -2)

    @property
    def _family(self) -> NormalFamily:
        family = unwrapped(self.posterior)
        assert isinstance(family, NormalFamily)
        return family

    def _refined(self, best: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        """The parameters after all steps, as numbers without gradients."""
        best = best.detach()
        with torch.enable_grad():  # the steps need slopes where the caller needs none, too
            value, slope = self._ascent(best, x, y)
            rate = torch.full_like(value, self.lr).unsqueeze(-1)
            for left in reversed(range(self.steps)):
                trial = self._family.ascend(best, slope, rate)
                new_value, new_slope = self._ascent(trial, x, y) if left else (self.bound(trial, x, y).detach(), slope)
                better = (new_value > value).unsqueeze(-1)
                best, slope = torch.where(better, trial, best), torch.where(better, new_slope, slope)
                value = torch.where(better.squeeze(-1), new_value, value)
                rate = torch.where(better, rate, rate / 4)
        return best

    def _ascent(self, outputs: Tensor, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """The bound of each image, (B,), and its slope in the parameters, (B, outputs)."""
        outputs = outputs.detach().requires_grad_()
        value = self.bound(outputs, x, y)
        (slope,) = torch.autograd.grad(value.sum(), outputs)
        return value.detach(), slope.nan_to_num(0.0, 0.0, 0.0)  # an image of probability 0 says nowhere to go

    def bound(self, outputs: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The ELBO of each image, (B,), averaged over the fixed points.

        Args:
            outputs: Parameters of the posterior, (B, outputs).
            x: Images, (B, C, H, W).
            y: Labels, (B,).
        """
        assert self._others is not None
        prior, likelihood = self._others
        noise = self.noise.reshape(len(self.noise), *[1] * (outputs.ndim - 1), -1)
        z = self._family.draws(outputs, noise)
        joint = _unchecked(likelihood(z, y)).log_prob(x) + prior(y).log_prob(z)
        return joint.mean(0) + self._family.of(outputs).entropy()


def _unchecked(p: Distribution) -> Distribution:
    """The distribution without checks of values: grey images are encoded too, as every other posterior does."""
    part: Any = p
    while part is not None:
        part._validate_args = False
        part = getattr(part, "base_dist", None) or getattr(part, "base", None)
    return p


def _fixed_points(count: int, dimensions: int) -> Tensor:
    """Points of mean 0, pairwise opposite, and of covariance I if there are enough of them, (count, dimensions)."""
    half = count // 2
    uniform = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=0).draw(half)
    points = torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6))
    if half >= dimensions:
        points = torch.linalg.qr(points).Q * math.sqrt(half)
    else:
        points = points / points.square().mean(0).sqrt()
    return torch.cat([points, -points]).to(torch.get_default_dtype())
