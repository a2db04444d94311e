"""The true posterior of a code of any dimension: Pyro's NUTS, all images and chains as one vectorised potential."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor
from torch.distributions import biject_to

from pyrovae.checks import Count, Probability, Seed, Within, checked
from pyrovae.data import Split
from pyrovae.engine import compile_function
from pyrovae.inference.draws import PosteriorDraws
from pyrovae.inference.target import Target
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

PILOT_DRAWS = 2000
"""Draws of the guide, or of the prior, from which a start and a scale are made."""


@checked
def nuts_posterior(
    model: LatentVariableModel,
    split: Split,
    *,
    seen: Tensor | None = None,
    chains: Annotated[int, Within(2, 2**15)] = 4,
    warmup: Count = 300,
    draws: Annotated[int, Within(4, 10**8)] = 300,
    target_accept: Probability = 0.8,
    together: Count = 8,
    engine: str = "graph",
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda transitions: None,
) -> PosteriorDraws:
    """Draw from p(z | x) by Hamiltonian Monte Carlo, started from the guide.

    All chains of `together` images are one state of one sampler, whose target is the product of theirs: each is drawn
    from its own posterior, and one pass of the decoder serves all. They share the step size, so one difficult image
    makes all of them slow, and a divergence is everyone's. Codes are measured in units of the guide, mean and Cholesky
    factor, so that the sampler starts with about the right scale and has only the guide's errors to adapt to. With part
    of the image unseen the start is the prior, its draws weighted by the likelihood.

    References:
        M. D. Hoffman and A. Gelman, The No-U-Turn Sampler (2014), Journal of Machine Learning Research 15.

    Args:
        model: A model whose guide has a density.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        seen: Which pixels count, bool (C, H, W) or (N, C, H, W); all by default.
        chains: Chains for each image, at least 2, so that they can disagree.
        warmup: Transitions that adapt step and scale, and are thrown away.
        draws: Transitions of each chain that are kept, at least 4.
        target_accept: Acceptance that the step size is adapted to; higher is slower, with fewer divergences.
        together: Images in one sampler.
        engine: "graph", "compiled" (pays for long chains) or "pyro" (eager; the quickest for a hundred transitions).
        seed: Seed of the chains.
        progress: Called with the number of transitions done since the last call.

    Raises:
        ValueError: If there is no posterior, or an argument is out of its range.
    """
    size = 16 * chains * (draws + warmup) * len(split) * model.shapes.latent_dim
    check_memory({f"{chains} chains of {draws:,} draws": size}, "choose fewer draws")
    parts, diverging = [], []
    with frozen(model, seed) as device:
        whole = Target.of(model, split, device, seen)
        for first in range(0, len(whole), together):
            target = whole.take(slice(first, first + together))
            to_codes, start = _whitened(target, chains)
            kernel = NUTS(
                potential_fn=_potential(target, to_codes, engine), target_accept_prob=target_accept, max_tree_depth=8
            )
            u, divergences = _sample(kernel, start, draws, warmup, progress)
            z, _ = to_codes(u)
            parts.append(z.transpose(0, 1).cpu().numpy())
            diverged = np.zeros((chains, draws, len(target)), bool)
            diverged[:, divergences] = True
            diverging.append(diverged)
    return PosteriorDraws("NUTS", np.concatenate(parts, 2), False, np.concatenate(diverging, 2))


def _sample(
    kernel: NUTS, start: Tensor, draws: int, warmup: int, progress: Callable[[int], object]
) -> tuple[Tensor, list[int]]:
    """States of the chains, (draws, images, chains, dims) as the start has them, and which transitions diverged."""
    sampler = MCMC(
        kernel,
        num_samples=draws,
        warmup_steps=warmup,
        initial_params={"u": start},
        disable_progbar=True,
        hook_fn=lambda *_: progress(1),
    )
    with torch.enable_grad():
        sampler.run()
    return sampler.get_samples()["u"], sampler.diagnostics()["divergences"]["chain 0"]


def _whitened(target: Target, chains: int) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], Tensor]:
    """A map from u, of about unit scale, to codes and log |dz / du|; and starting points u, (chains, images, dims)."""
    bijection = biject_to(target.model.prior(target.y).support)
    seen_whole = target.seen is None
    pilot = target.guide().sample(torch.Size([PILOT_DRAWS])) if seen_whole else target.weighted_prior(PILOT_DRAWS)
    free = bijection.inv(pilot)
    mean, away = free.mean(0), free - free.mean(0)
    covariance = torch.einsum("snd,snf->ndf", away, away) / PILOT_DRAWS
    # Resampled pilots may be few and equal: a little of the prior's width keeps the factor regular.
    factor = torch.linalg.cholesky(covariance + 1e-4 * torch.eye(free.shape[-1], device=free.device))
    volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def to_codes(u: Tensor) -> tuple[Tensor, Tensor]:
        v = mean + (factor @ u[..., None])[..., 0]
        z = bijection(v)
        return z, bijection.log_abs_det_jacobian(v, z) + volume

    return to_codes, torch.linalg.solve_triangular(factor, away[:chains, ..., None], upper=False)[..., 0]


class _Energy(torch.autograd.Function):
    """A value whose gradient came with it."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, graph: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        value, gradient = graph(u)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        return outer[0] * ctx.saved_tensors[0], None


def _potential(
    target: Target, to_codes: Callable[[Tensor], tuple[Tensor, Tensor]], engine: str
) -> Callable[[dict[str, Tensor]], Tensor]:
    """-log p(x, z) - log |dz / du|, summed over chains and images; traced together with its gradient."""

    def energy(u: Tensor) -> Tensor:
        z, log_volume = to_codes(u)
        return -(target.log_joint(z) + log_volume).sum()

    def with_gradient(u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            value = energy(u)
            (gradient,) = torch.autograd.grad(value, u)
        return value.detach(), gradient

    if engine == "pyro":
        return lambda parameters: energy(parameters["u"])
    graph = compile_function(with_gradient, engine)
    return lambda parameters: _Energy.apply(parameters["u"], graph)
