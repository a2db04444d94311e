"""Where chains begin."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.poutine as poutine
import torch
from torch import Tensor

from pyrovae.engine.capture import untouched
from pyrovae.engine.posterior.density import Density, first_not_finite, own_parameters
from pyrovae.engine.posterior.errors import ModelError

TRIES = 100
FAR = 30.0
"""How far out, in unconstrained space, a support shows its bounds."""
RADIUS = 2.0
"""Chains begin uniformly between -2 and 2 in every unconstrained dimension, as Stan's and Pyro's do."""

Call = Callable[[Tensor], Any]


def starts(density: Density, call: Call, start: Any, chains: int, seed: int) -> list[np.ndarray]:
    """A vector for each chain at which density and gradient are finite.

    Args:
        density: The model.
        call: Its density and gradient, compiled or not.
        start: "uniform", "prior", or a guide.
        chains: How many.
        seed: Seed of all.

    Raises:
        ModelError: If there is none in `TRIES` tries; names the site that is to blame.
    """
    found = []
    for chain in range(chains):
        for attempt in range(TRIES):
            u = _propose(density, start, entropy(seed, chain, attempt))
            try:
                value, gradient = call(u)
            except torch.linalg.LinAlgError:
                continue
            if torch.isfinite(value) and torch.isfinite(gradient).all():
                found.append(u.numpy())
                break
        else:
            raise ModelError(_blame(density, u, gradient))
    return found


def entropy(seed: int, *numbers: int) -> list[int]:
    """What NumPy seeds a generator with, other words for other seeds of any size: it strings 32-bit words together."""
    return [seed % 2**32, *numbers, seed // 2**32]


def elements_without_slope(density: Density, begin: list[np.ndarray]) -> dict[str, int]:
    """How many elements of each latent nothing depends on, as far as can be seen near the starts: they are improper.

    Those are proper all the same whose support has bounds on all sides: there they are uniform.
    """
    flat = torch.ones(density.size, dtype=torch.bool)
    with untouched(), own_parameters():
        for u in (torch.from_numpy(u + shift) for u in begin[:2] for shift in (0.0, 0.37)):
            with contextlib.suppress(torch.linalg.LinAlgError):
                flat &= density.slopes_without_volume(u) == 0
            if not flat.any():
                return {}
        flat_of = {n: flat & _elements(density, n) for n in density.latents}
        start = torch.from_numpy(begin[0])
        return {n: int(f.sum()) for n, f in flat_of.items() if f.any() and not _has_bounds(density, start, f)}


def _elements(density: Density, name: str) -> Tensor:
    places = torch.arange(density.size)
    return (places >= density.latents[name].start) & (places < density.latents[name].stop)


def _has_bounds(density: Density, u: Tensor, elements: Tensor) -> bool:
    """Whether the volume of a transform shrinks far out both ways, as it does where the support is bounded."""
    here = density.log_volume(u)
    return all(bool(density.log_volume(u + way * elements) < here - 1) for way in (-FAR, FAR))


def _propose(density: Density, start: Any, seed: list[int]) -> Tensor:
    numbers = np.random.default_rng(seed)
    if isinstance(start, str) and start == "uniform":
        return torch.from_numpy(numbers.uniform(-RADIUS, RADIUS, density.size))
    program = density.model if isinstance(start, str) else start
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(numbers.integers(2**63)))
        values = draw_latents(density, program)
    return density.free(values)


def draw_latents(density: Density, program: Callable[..., Any]) -> dict[str, Tensor]:
    """One draw of every latent from a program that has them as sites, a guide or the model itself.

    Raises:
        ModelError: If it lacks one.
    """
    with torch.no_grad(), untouched(), own_parameters():
        trace = poutine.trace(poutine.block(program, hide_types=["param"])).get_trace(*density.args, **density.kwargs)
    missing = [name for name in density.latents if name not in trace.nodes]
    if missing:
        raise ModelError(f"the guide has no site {missing[0]!r}, which the model draws: give a guide of this model")
    return {name: trace.nodes[name]["value"].detach() for name in density.latents}


def _blame(density: Density, u: Tensor, gradient: Tensor) -> str:
    """Why a chain cannot begin."""
    where = first_not_finite(density, u)
    if where is not None:
        return (
            f"no start was found in {TRIES} tries at which the density is finite ({where}): look at this site's "
            f"distribution and its data, or start elsewhere (start='prior', or a guide)"
        )
    bad = ~torch.isfinite(gradient)
    names = [n for n, latent in density.latents.items() if bad[latent.start : latent.stop].any()]
    which = f"its gradient at site {names[0]!r} is not" if names else "the sum of its terms is not"
    return (
        f"no start was found in {TRIES} tries at which the density is finite and smooth ({which} finite): look for "
        f"torch.where around a division or a logarithm, or start elsewhere (start='prior', or a guide)"
    )


def check_start(start: Any) -> None:
    """Refuse what is no way to begin.

    Raises:
        ValueError: If it is neither a known word nor a program.
    """
    if isinstance(start, str) and start in ("uniform", "prior"):
        return
    if isinstance(start, str) or not callable(start) or inspect.isclass(start):
        raise ValueError(f"start must be 'uniform', 'prior' or a guide, got {start!r}")
