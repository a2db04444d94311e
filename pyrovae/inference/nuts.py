"""The true posterior of a code of any dimension by NUTS: independent chains, one pass of the decoder for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import biject_to

from pyrovae.checks import Count, Probability, Seed, Within, checked
from pyrovae.data import Split
from pyrovae.engine import compile_function
from pyrovae.inference.blocks import block_seed, in_blocks
from pyrovae.inference.draws import PosteriorDraws
from pyrovae.inference.side_by_side import walk
from pyrovae.inference.target import Target
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import device_of, frozen, seeded

PILOT_DRAWS = 2000
"""Draws of the guide, or of the prior, from which a start and a scale are made."""
MOST_DOUBLINGS = 8
"""Doublings of a trajectory at most."""


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
    executor: Executor | None = None,
    progress: Callable[[int], object] = lambda transitions: None,
) -> PosteriorDraws:
    """Draw from p(z | x) by Hamiltonian Monte Carlo, started from the guide.

    One pass of the decoder moves all chains of `together` images by one step, and that is all they share: each has its
    own step size, scale, trajectory and divergences. Codes are measured in units of the guide, mean and Cholesky
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
        target_accept: Acceptance that the step sizes are adapted to; higher is slower, with fewer divergences.
        together: Images in one pass of the decoder.
        engine: "graph", "compiled" (pays for long chains) or "pyro" (eager; the quickest for a hundred transitions).
        seed: Seed of the chains.
        executor: Who computes the images, a block at a time and to the same bits: a `concurrent.futures.Executor`; by
            default this process.
        progress: Called with the number of transitions done since the last call, those of the slowest chain.

    Raises:
        ValueError: If there is no posterior, or an argument is out of its range.
    """
    size = 16 * chains * (draws + warmup) * len(split) * model.shapes.latent_dim
    check_memory({f"{chains} chains of {draws:,} draws": size}, "choose fewer draws")
    whole = Target.of(model, split, device_of(model), seen)
    blocks = [(first, whole.take(slice(first, first + together)).copied()) for first in range(0, len(whole), together)]
    lengths = {"draws": draws, "warmup": warmup, "target_accept": target_accept}
    found = in_blocks(partial(_walk_blocks, model, chains, lengths, engine, seed), blocks, executor, progress)
    parts, diverging = zip(*found, strict=True)
    return PosteriorDraws("NUTS", np.concatenate(parts, 2), False, np.concatenate(diverging, 2))


def _walk_blocks(
    model: LatentVariableModel,
    chains: int,
    lengths: dict[str, Any],
    engine: str,
    seed: int,
    blocks: Sequence[tuple[int, Target]],
    progress: Callable[[int], object],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Codes, (chains, draws, images, latent_dim), and divergences of some blocks of images; see `in_blocks`."""
    found = []
    with frozen(model, seed) as device:
        for first, target in blocks:
            with seeded(block_seed(seed, first), device):
                to_codes, start = _whitened(target, chains)
            walks = walk(
                _density(target, to_codes, start, engine),
                start.reshape(-1, start.shape[-1]).double().cpu().numpy(),
                max_depth=MOST_DOUBLINGS,
                seed=[seed, first],
                progress=progress,
                **lengths,
            )
            z, _ = to_codes(torch.from_numpy(walks.draws).to(start).reshape(lengths["draws"], *start.shape))
            diverging = walks.diverging.reshape(lengths["draws"], chains, len(target)).swapaxes(0, 1)
            found.append((z.transpose(0, 1).cpu().numpy(), diverging))
    return found


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


def _density(
    target: Target, to_codes: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor, engine: str
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Log p(x, z) + log |dz / du| of each chain, and its gradient, traced together."""

    def with_gradient(u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            z, log_volume = to_codes(u)
            values = target.log_joint(z) + log_volume
            (gradient,) = torch.autograd.grad(values.sum(), u)
        return values.detach(), gradient

    call = with_gradient if engine == "pyro" else compile_function(with_gradient, engine)

    def density(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, gradient = call(torch.from_numpy(points).to(start).reshape(start.shape))
        return values.reshape(-1).double().cpu().numpy(), gradient.reshape(points.shape).double().cpu().numpy()

    return density
