"""Draws of a guide in the same form as those of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor

from pyrovae.engine.posterior.density import Density, Program, density_of, own_parameters
from pyrovae.engine.posterior.double import double_precision
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.replay import at_draws, likelihood_values, many_runs, predictive_values, seeded, values_of
from pyrovae.engine.posterior.results import Coords, Dims, Labels, assembled
from pyrovae.engine.turns import in_turn

BATCH = 500
"""Draws that are made together."""


@in_turn
def guide_draws(
    model: Program,
    guide: Program,
    model_args: Sequence[Any] = (),
    model_kwargs: Mapping[str, Any] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    dims: Dims | None = None,
    coords: Coords | None = None,
    log_likelihood: bool = False,
    posterior_predictive: bool = False,
) -> Any:
    """Independent draws of a guide as one chain in ArviZ's object, for the comparison with `nuts`.

    Args:
        model: A Pyro program.
        guide: Its guide; an AutoGuide too.
        model_args: The arguments of both.
        model_kwargs: The same by name.
        draws: How many.
        seed: Their seed.
        dims: Names of a site's dimensions.
        coords: Labels along dimensions.
        log_likelihood: Whether to keep the log-probability of each observation.
        posterior_predictive: Whether to draw new data at every draw.

    Returns:
        `arviz.InferenceData`, or `xarray.DataTree` with ArviZ 1.x; `posterior` has the attribute `independent_draws`.

    Raises:
        ModelError: If the model fails, or the guide lacks one of its latents: names the site.
        ValueError: If the number of draws is wrong.
    """
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be a whole number from 1, got {draws!r}")
    density = density_of(model, tuple(model_args), dict(model_kwargs or {}), sampled=False)
    labels = Labels(density, dims, coords)
    latents = latents_of_guide(density, guide, draws, seed)[0]
    rest = (
        at_draws(density, latents, values_of(list(density.deterministics)), anew=False)
        if density.deterministics
        else {}
    )
    groups = {"posterior": labels.dataset({**latents, **rest}, independent_draws=1, sampler="guide", seed=seed)}
    if posterior_predictive:
        groups["posterior_predictive"] = labels.dataset(predictive_values(density, latents, seed))
    if log_likelihood:
        groups["log_likelihood"] = labels.dataset(likelihood_values(density, latents))
    if density.data:
        groups["observed_data"] = labels.dataset({n: v.cpu().numpy() for n, v in density.data.items()}, ())
    return assembled(groups)


def latents_of_guide(
    density: Density, guide: Program, draws: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws of a guide with their log-densities.

    Args:
        density: The model.
        guide: Its guide.
        draws: How many.
        seed: Their seed.

    Returns:
        The model's latents by name, each (1, draws, ...), and log q, (draws,).

    Raises:
        ModelError: If the guide lacks one.
    """

    def one(nothing: Tensor) -> dict[str, Tensor]:
        with own_parameters(), double_precision(), pyro.validation_enabled(False):
            trace = poutine.trace(guide).get_trace(*density.args, **density.kwargs)
            if missing := [name for name in density.drawn if name not in trace.nodes]:
                raise ModelError(
                    f"the guide has no site {missing[0]!r}, which the model draws: give this model's guide"
                )
            found = {name: trace.nodes[name]["value"] for name in density.drawn}
            return {**found, LOG_DENSITY: torch.as_tensor(trace.log_prob_sum())}

    with torch.no_grad(), seeded(seed):
        many: Callable[[Tensor], dict[str, Tensor]] = many_runs(one, torch.zeros(0, dtype=torch.float64), "graph")
        parts = [many(torch.zeros(len(rows), 0)) for rows in torch.arange(draws).split(BATCH)]
    joined = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    log_density = joined.pop(LOG_DENSITY)
    return {name: value[None] for name, value in joined.items()}, log_density


LOG_DENSITY = "log q of the guide"
