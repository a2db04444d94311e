"""New data, and the log-probabilities of the data at hand, at draws of a Pyro model's latents."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyrovae.engine.compat import Message, Messenger
from pyrovae.engine.posterior.density import Density, Program, density_of, own_parameters
from pyrovae.engine.posterior.double import double_precision
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.graphs import VectorGraph, trace_vector
from pyrovae.engine.posterior.results import START, Coords, Dims, Labels, assembled, group, has_group
from pyrovae.engine.turns import in_turn

BATCH_BYTES = 64 * 2**20
"""Largest tensor that a batch of draws may make for a site; a batch holds as many draws as fit."""


@in_turn
def predictive(
    model: Program,
    draws: Any,
    model_args: Sequence[Any] = (),
    model_kwargs: Mapping[str, Any] | None = None,
    *,
    sites: Sequence[str] | None = None,
    seed: int = 0,
    engine: str = "graph",
    dims: Dims | None = None,
    coords: Coords | None = None,
) -> Any:
    """New data from a Pyro model at draws of its latents, in batches of bounded memory.

    The draws of the latents come from `nuts`, from a guide by `guide_draws`, or from elsewhere. Observed sites are
    drawn anew, and so are sites that the draws lack, such as the latents of new groups. The arguments may be others
    than those of the fit, with new covariates.

    Args:
        model: Any Pyro program.
        draws: ArviZ's object with a group `posterior`, an `xarray.Dataset`, or arrays by site, each (chains, draws,
            ...).
        model_args: The program's arguments.
        model_kwargs: The same by name.
        sites: Names of the sites to return; by default every site that the draws lack.
        seed: Seed of the draws.
        engine: "graph", where a batch of draws is one pass of a graph, and a run of the program for each draw only
            where it has none; "pyro", always a run for each draw.
        dims: Names of a site's dimensions.
        coords: Labels along dimensions.

    Returns:
        ArviZ's object with a group `posterior_predictive`.

    Raises:
        ModelError: If the model fails: names the site.
        ValueError: If the draws are of no site of the model, or another argument is wrong.
    """
    if engine not in ("graph", "pyro"):
        raise ValueError(f"engine must be graph or pyro, got {engine!r}")
    density = density_of(model, tuple(model_args), dict(model_kwargs or {}), sampled=False)
    arrays, numbers = _arrays(draws)
    values = _given(arrays, density)
    wanted = _wanted(density, values, sites)
    found = at_draws(density, values, values_of(wanted), anew=True, seed=seed, engine=engine)
    labels = Labels(density, dims, coords)
    return assembled({"posterior_predictive": labels.dataset(found).assign_coords(numbers)})


def _arrays(draws: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draws by name, and the numbers of their chains and draws, which thinning leaves with gaps.

    Raises:
        ValueError: If an array of xarray's has not both dimensions.
    """
    if isinstance(draws, dict):
        return {name: np.asarray(value) for name, value in draws.items()}, {}
    found = group(draws, "posterior") if has_group(draws, "posterior") else draws
    arrays = {}
    for name, variable in found.data_vars.items():
        if not {*START} <= {*variable.dims}:
            raise ValueError(
                f"draws of {name!r} must have the dimensions chain and draw, got {', '.join(map(str, variable.dims))}: "
                f"give the group posterior itself, not what arviz.extract makes of it"
            )
        arrays[str(name)] = variable.transpose(*START, ...).values
    return arrays, {dim: found[dim].values for dim in START if dim in found.coords}


def _given(arrays: Mapping[str, np.ndarray], density: Density) -> dict[str, np.ndarray]:
    """The draws of sites that the model has, (chains, draws, ...).

    Raises:
        ValueError: If there are none, or their shapes are others.
    """
    known = {name: arrays[name] for name in density.drawn if name in arrays}
    if not known:
        raise ValueError(
            f"draws must be of latent sites of the model ({', '.join(density.drawn)}), got {', '.join(arrays)}"
        )
    outer = next(iter(known.values())).shape[:2]
    for name, value in known.items():
        shape = density.drawn[name].shape
        if value.shape[:2] != outer:
            raise ValueError(
                f"draws of site {name!r} must be as many chains and draws as of the others, {outer}, got "
                f"{value.shape[:2]}"
            )
        if value.ndim < 2 or value.shape[2:] != shape:
            raise ValueError(
                f"draws of site {name!r} must be (chains, draws, {', '.join(map(str, shape))}), got {value.shape}; "
                f"leave the site out if it is of new groups"
            )
    return known


def _wanted(density: Density, values: Mapping[str, Any], sites: Sequence[str] | None) -> list[str]:
    every = {**density.drawn, **density.deterministics, **density.observed}
    if sites is None:
        return [name for name in every if name not in values and name not in density.deterministics]
    if isinstance(sites, str) or not all(name in every for name in sites):
        raise ValueError(f"sites must be a list of sites ({', '.join(every)}), got {sites!r}")
    return list(sites)


class _Given(Messenger):
    """Gives sites their values; sites to be drawn anew forget their data."""

    def __init__(self, values: Mapping[str, Tensor], anew: Mapping[str, Any]) -> None:
        super().__init__()
        self._values, self._anew = values, anew

    def _pyro_sample(self, msg: Message) -> None:
        name = str(msg["name"])
        if name in self._values:
            msg["value"], msg["done"] = self._values[name], True
        elif name in self._anew:
            msg["is_observed"], msg["value"] = False, None


Pick = Callable[[Any], dict[str, Tensor]]


def values_of(names: Sequence[str]) -> Pick:
    """Takes the values of sites from a trace."""
    return lambda trace: {name: trace.nodes[name]["value"] for name in names}


def pointwise(names: Sequence[str]) -> Pick:
    """Takes the log-probability of each observation from a trace, 0 where a mask hides it; scales are left out."""

    def pick(trace: Any) -> dict[str, Tensor]:
        return {name: _masked_log_prob(trace.nodes[name]) for name in names}

    return pick


def _masked_log_prob(site: Any) -> Tensor:
    return scale_and_mask(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), mask=site["mask"])


def at_draws(
    density: Density, values: Mapping[str, np.ndarray], pick: Pick, *, anew: bool, seed: int = 0, engine: str = "graph"
) -> dict[str, np.ndarray]:
    """Run a model at draws of some of its sites, in batches.

    Args:
        density: The model.
        values: Draws, (chains, draws, ...) each.
        pick: What to take from each trace.
        anew: Whether observed sites are drawn anew.
        seed: Seed of what is drawn.
        engine: "graph" or "pyro".

    Returns:
        What was picked, (chains, draws, ...) each.
    """
    outer = next(iter(values.values())).shape[:2]
    rows = [value.reshape(math.prod(outer), -1) for value in values.values()]
    vectors = torch.from_numpy(np.concatenate(rows, 1).astype(np.float64))

    def one(vector: Tensor) -> dict[str, Tensor]:
        given = _Given(_split(density, values, vector), density.observed if anew else {})
        with own_parameters(), double_precision(), pyro.validation_enabled(False), given, poutine.trace() as capture:
            density.model(*density.args, **density.kwargs)
            return pick(capture.trace)

    parts: list[dict[str, np.ndarray]] = []
    with torch.no_grad(), seeded(seed):
        many = many_runs(one, vectors[0], engine)
        for batch in vectors.split(_rows(density)):
            parts.append({name: value.cpu().numpy() for name, value in many(batch).items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: value.reshape(*outer, *value.shape[1:]) for name, value in joined.items()}


def _split(density: Density, values: Mapping[str, np.ndarray], vector: Tensor) -> dict[str, Tensor]:
    shapes = {name: value.shape[2:] for name, value in values.items()}
    parts = vector.split([math.prod(shape) for shape in shapes.values()])
    return {
        name: part.reshape(shape).to(density.drawn[name].dtype)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
        if name in density.drawn
    }


def _rows(density: Density) -> int:
    """Draws of a batch, so that no site takes more than `BATCH_BYTES`."""
    sites = [*density.drawn.values(), *density.deterministics.values(), *density.observed.values()]
    return max(1, BATCH_BYTES // (8 * max(1, *(math.prod(site.shape) for site in sites))))


def many_runs(
    one: Callable[[Tensor], dict[str, Tensor]], example: Tensor, engine: str
) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function of a batch of vectors: one pass of a graph, or where there is none a run of the program for each."""

    def each(batch: Tensor) -> dict[str, Tensor]:
        rows = [one(vector) for vector in batch]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    if engine == "pyro":
        return each
    try:
        graph = trace_vector(one, example)
    except ModelError:  # control flow by values: legitimate where nothing is differentiated
        return each
    if not _is_settled(one, example, graph):
        return each
    return lambda batch: graph.of_many(batch, "different")


def _is_settled(one: Callable[[Tensor], dict[str, Tensor]], example: Tensor, graph: VectorGraph) -> bool:
    """Whether what a graph computes without random numbers is the same at each run of the program.

    It is not where a distribution draws by NumPy, or a model counts its calls.
    """
    with torch.random.fork_rng(devices=[]):
        runs = [one(example) for _ in range(2)]
        found = graph(example)
    return all(
        torch.equal(first[name], second[name]) or bool((first[name] != first[name]).any())
        for first, second in (runs, (runs[0], found))
        for name in graph.without_random(found)
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's generator of the CPU begins at a seed of any size; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**64)
        yield


# ---- for the answer of a sampler


def values_at(density: Density, u: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Latents and deterministic sites at unconstrained vectors (chains, draws, size): (chains, draws, ...).

    Discrete latents that deterministic sites rest on are drawn from their posterior, by the seed.
    """
    vectors = torch.from_numpy(u.reshape(-1, u.shape[-1]))
    with torch.no_grad(), own_parameters(), seeded(seed):
        run = density.values_given_data if _rest_on_discrete_latents(density, vectors[0]) else density.values
        many = many_runs(run, vectors[0], "graph")
        parts = [{n: v.cpu().numpy() for n, v in many(batch).items()} for batch in vectors.split(_rows(density))]
    return {n: np.concatenate([p[n] for p in parts]).reshape(*u.shape[:2], *parts[0][n].shape[1:]) for n in parts[0]}


def _rest_on_discrete_latents(density: Density, u: Tensor) -> bool:
    """Whether deterministic sites depend on discrete latents that were summed out."""
    if not (density.enumerated and density.deterministics):
        return False
    try:
        return trace_vector(density.values, u).random
    except ModelError:  # no graph says so
        return True


def predictive_values(density: Density, latents: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """New data at draws of the latents, by site: (chains, draws, ...).

    Raises:
        ModelError: If a discrete latent that is summed out belongs to all the data.
    """
    for name in density.enumerated:
        if not density.drawn[name].plates:
            raise ModelError(
                f"posterior_predictive needs the discrete latent {name!r}, which is summed out and in no plate: new "
                f"data would be drawn with its prior; draw it by pyro.infer.infer_discrete first"
            )
    return at_draws(density, latents, values_of(list(density.observed)), anew=True, seed=seed)


def likelihood_values(density: Density, latents: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Log-probability of each observation at draws of the latents, by site: (chains, draws, ...).

    Raises:
        ModelError: If discrete latents are summed out, so that observations have none of their own.
    """
    if density.enumerated:
        raise ModelError(
            f"log_likelihood does not exist where discrete latents ({', '.join(density.enumerated)}) are summed out: "
            f"the terms of the sum belong to no single observation"
        )
    return at_draws(density, latents, pointwise(list(density.observed)), anew=False)


def prior_values(density: Density, draws: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draws of latents and deterministic sites from the prior, and of data; each (1, draws, ...)."""
    names = [*density.drawn, *density.deterministics, *density.observed]
    found = at_draws(density, {"": np.zeros((1, draws, 0))}, values_of(names), anew=True, seed=seed)
    data = {name: found.pop(name) for name in density.observed}
    return found, data
