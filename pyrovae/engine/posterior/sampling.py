"""The posterior of any Pyro model by the No-U-Turn sampler over its compiled density."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyro.poutine as poutine
import torch
from pyro.infer.reparam import LocScaleReparam
from torch import Tensor
from tqdm.auto import tqdm

from pyrovae.engine.compilation import CompilerError
from pyrovae.engine.posterior.chains import Chain, run_chains
from pyrovae.engine.posterior.density import (
    Density,
    density_of,
    own_parameters,
    scales_that_are_sampled,
)
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.graphs import VectorGraph, compile_vector, one_thread, trace_vector
from pyrovae.engine.posterior.native import NativeCall, UnsupportedError, check_native, native_call
from pyrovae.engine.posterior.replay import likelihood_values, predictive_values, prior_values, values_at
from pyrovae.engine.posterior.results import Coords, Dims, Labels, assembled, stats_dataset
from pyrovae.engine.posterior.samplers import (
    HOW_TO_INSTALL,
    Settings,
    calls_c,
    has_nutpie,
    nutpie_chain,
    pyro_chain,
)
from pyrovae.engine.posterior.starts import check_start, elements_without_slope, starts
from pyrovae.engine.turns import in_turn

logger = logging.getLogger(__name__)

FEW_TRANSITIONS = 300
"""Up to so many in all, a compiler costs more time than it saves."""
TOLERANCE = 1e-8
"""Largest relative difference between the graph's density and the program's."""


class SamplingWarning(UserWarning):
    """A sampler has run, and its draws are to be looked at with care."""


@in_turn
def nuts(
    model: Callable[..., Any],
    model_args: Sequence[Any] = (),
    model_kwargs: Mapping[str, Any] | None = None,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int = 0,
    cores: int | None = None,
    target_accept: float = 0.8,
    max_depth: int = 10,
    mass_matrix: str = "diagonal",
    start: Any = "uniform",
    reparametrise: bool = False,
    sampler: str = "auto",
    engine: str = "auto",
    dims: Dims | None = None,
    coords: Coords | None = None,
    log_likelihood: bool = False,
    prior: int = 0,
    posterior_predictive: bool = False,
    keep_tuning: bool = False,
    progress: bool = True,
) -> Any:
    """Draw from the posterior of a Pyro model; the answer is ArviZ's.

    The model's log-density and its gradient over one unconstrained vector become a graph, compiled and in float64
    whatever the model's type is. Discrete latents with finitely many values are summed out. Parameters (`pyro.param`,
    weights of modules) are held where they are, and Pyro's parameter store is as before. Ctrl-C keeps the draws so far.
    The same seed gives the same bits, however many cores there are.

    References:
        M. D. Hoffman and A. Gelman, The No-U-Turn Sampler (2014), Journal of Machine Learning Research 15.

    Args:
        model: Any Pyro program with continuous latents, or a `PyroModule`.
        model_args: Its arguments.
        model_kwargs: The same by name.
        draws: Transitions that each chain keeps.
        tune: Transitions before them that adapt step size and mass matrix.
        chains: Number of chains.
        seed: Seed of starts, chains and predictive draws.
        cores: Chains that run at a time, as many as there are cores by default: in threads where nutpie calls the
            density as one C function, otherwise in processes. Where the system does not fork soundly (not Linux), and
            with sampler or engine "pyro", chains without C follow each other.
        target_accept: Acceptance that the step size is adapted to; higher is slower, with fewer divergences.
        max_depth: Doublings of a trajectory at most.
        mass_matrix: "diagonal"; "low_rank" (nutpie) or "dense" (Pyro) for posteriors with strong correlations.
        start: Where chains begin: "uniform" between -2 and 2 in unconstrained space, "prior", or a guide.
        reparametrise: Whether latents of location and scale whose scale is sampled too are decentred, by
            `pyro.infer.reparam.LocScaleReparam`; the cure of funnels.
        sampler: "nutpie", "pyro", or "auto" for nutpie where it is installed.
        engine: "compiled", as one C function or by Inductor; "graph", which needs no compiler; "pyro", where every
            density is a run of the program; "auto" compiles if there is a compiler and more than a few transitions.
        dims: Names of a site's dimensions, or of its last ones; plates name theirs themselves.
        coords: Labels along dimensions.
        log_likelihood: Whether to keep the log-probability of each observation, for LOO.
        prior: Draws from prior and prior predictive.
        posterior_predictive: Whether to draw new data at every draw.
        keep_tuning: Whether to keep the draws of the warm-up too, in groups `warmup_posterior` and so on.
        progress: Whether to show a bar.

    Returns:
        `arviz.InferenceData`, or `xarray.DataTree` with ArviZ 1.x.

    Raises:
        ModelError: If the model cannot be sampled: names the site and the cure.
        ValueError: If another argument is wrong.
        CompilerError: If engine is "compiled", and compilation is impossible.
        KeyboardInterrupt: If it comes before any chain has kept a draw.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def coin(heads, tosses):
        ...     p = pyro.sample("p", dist.Beta(1, 1))
        ...     pyro.sample("heads", dist.Binomial(tosses, p), obs=heads)
        >>> found = nuts(coin, (torch.tensor(7.0), 10), draws=100, tune=100, chains=2, progress=False)
        >>> dict(found["posterior"].sizes)
        {'chain': 2, 'draw': 100}
    """
    settings = Settings(draws, tune, seed, target_accept, max_depth, mass_matrix)
    chosen = _check(settings, chains, cores, start, sampler, engine)
    args, kwargs = tuple(model_args), dict(model_kwargs or {})
    density = density_of(model, args, kwargs)
    if reparametrise:
        density = _decentred(density)
    labels = Labels(density, dims, coords)
    call = compiled_density(density, engine, chains * (draws + tune))
    with one_thread():
        begin = starts(density, call, start, chains, seed)
        _check_slopes(density, elements_without_slope(density, begin), chosen)
        _check_values(density, begin[0])
    sample = _nutpie(call, begin, settings) if chosen == "nutpie" else _pyro(call, begin, settings)
    with _bar(progress, chains * (draws + tune)) as bar:
        # Autograd refuses to work in a process that was forked from one that has used it; graphs do without it.
        alone = chosen == "pyro" or isinstance(call, ProgramCall)
        beside = 1 if alone else cores or available_cores()
        found, interrupted = run_chains(sample, chains, beside, bar.update, threads=not alone and calls_c(call))
    kept = _longest(found)
    if not kept:
        raise KeyboardInterrupt("stopped before any chain had kept a draw")
    if interrupted:
        logger.warning("stopped early: %d chains of %d draws are kept", len(kept), min(c.draws for c in kept))
    request = _Request(log_likelihood, prior, posterior_predictive, keep_tuning, seed)
    kind = "C" if isinstance(call, NativeCall) else "Python"
    attrs = {"sampler": chosen, "density": kind, "seed": seed, "tuning_steps": tune, "interrupted": int(interrupted)}
    return _result(density, kept, labels, request, attrs)


def _check(settings: Settings, chains: int, cores: int | None, start: Any, sampler: str, engine: str) -> str:
    """The sampler to use.

    Raises:
        ValueError: If a setting is out of its range, or asks for what the sampler does not have.
    """
    for name, value, least in (
        ("draws", settings.draws, 1), ("tune", settings.tune, 1), ("chains", chains, 1), ("seed", settings.seed, 0),
        ("cores", 1 if cores is None else cores, 1), ("max_depth", settings.max_depth, 1),
    ):  # fmt: skip
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")
    if not 0 < settings.target_accept < 1:
        raise ValueError(f"target_accept must be between 0 and 1, got {settings.target_accept!r}")
    for name, word, words in (
        ("mass_matrix", settings.mass_matrix, ("diagonal", "low_rank", "dense")),
        ("sampler", sampler, ("auto", "nutpie", "pyro")),
        ("engine", engine, ("auto", "compiled", "graph", "pyro")),
    ):
        if word not in words:
            raise ValueError(f"{name} must be one of {', '.join(words)}, got {word!r}")
    check_start(start)
    able = {"dense": "pyro", "low_rank": "nutpie"}.get(settings.mass_matrix)
    chosen = sampler if sampler != "auto" else able or ("nutpie" if has_nutpie() else "pyro")
    if able not in (None, chosen):
        raise ValueError(f"mass_matrix={settings.mass_matrix!r} is {able}'s alone, got sampler={sampler!r}")
    if chosen == "nutpie" and not has_nutpie():
        raise ValueError(f"nutpie is not installed: {HOW_TO_INSTALL}, or choose sampler='pyro', which is slower")
    return chosen


def _check_slopes(density: Density, flat: Mapping[str, int], sampler: str) -> None:
    """Refuse a latent that nothing depends on, and tell of elements.

    Raises:
        ModelError: If a whole site is flat, or an element and the sampler is nutpie, which needs a slope to begin.
    """
    for name, count in flat.items():
        size = density.latents[name].stop - density.latents[name].start
        cure = "a mask hides it, or its prior is improper: give it a proper one, or leave it out"
        if count == size:
            raise ModelError(f"the density does not depend on site {name!r}, so its posterior is improper ({cure})")
        line = (
            f"the density does not depend on {count} of {size} elements of site {name!r}: their posterior is improper"
        )
        if sampler == "nutpie":
            raise ModelError(f"{line} ({cure}; or choose sampler='pyro', whose draws of them mean nothing)")
        warnings.warn(f"{line} ({cure})", SamplingWarning, stacklevel=4)


def _check_values(density: Density, start: np.ndarray) -> None:
    """Refuse deterministic sites that cannot be computed, before there are draws to lose.

    Raises:
        ModelError: If there are some.
    """
    if not (density.enumerated and density.deterministics):
        return
    try:
        values_at(density, start[None, None])
    except Exception as error:
        raise ModelError(
            f"the deterministic sites ({', '.join(density.deterministics)}) cannot be computed beside discrete latents "
            f"that are summed out ({type(error).__name__}: {error}): leave them out"
        ) from error


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decentred(density: Density) -> Density:
    """The same model with its latents of sampled scale decentred."""
    names = scales_that_are_sampled(density, torch.zeros(density.size, dtype=torch.float64))
    if not names:
        return density
    config = {name: LocScaleReparam(centered=0.0) for name in names}
    return density_of(poutine.reparam(density.model, config=config), density.args, density.kwargs)


# ---- the density


def compiled_density(density: Density, engine: str, transitions: int) -> Callable[[Tensor], Any]:
    """Log-density and gradient of an unconstrained vector, held against a run of the program.

    Args:
        density: The model.
        engine: As `nuts` takes it.
        transitions: How many there will be, which decides whether compilation pays.

    Raises:
        ModelError: If the graph says something else than the program.
        CompilerError: If engine is "compiled", and compilation is impossible.
    """
    by_pyro = ProgramCall(density)
    example = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, density.size))
    if engine == "pyro":
        return _repeated(by_pyro, density.size)
    try:
        graph = trace_vector(density.with_gradient, example)
    except ModelError as error:
        if engine != "auto" or getattr(error.__cause__, "by", None) is None:
            raise
        logger.warning("%s; each gradient runs the program, which is slow", error)
        return _repeated(by_pyro, density.size)
    if graph.random:
        raise ModelError(
            "the density is random: the model draws numbers outside of its sample sites (torch.rand, dropout); make "
            "them sites, or switch modules to eval()"
        )
    call: Callable[[Tensor], Any] = _plain(graph)
    if engine == "compiled" or (engine == "auto" and transitions > FEW_TRANSITIONS):
        try:
            call = _compiled(graph, example)
        except CompilerError as error:
            if engine == "compiled":
                raise
            logger.warning("%s; the graph runs without, which is slower", error)
    _compare(by_pyro, call, density.size, "by a graph of an earlier call", ", or choose engine='pyro'")
    return call


class ProgramCall:
    """Log-density and gradient by a run of the program at each call.

    Args:
        density: The model.
    """

    def __init__(self, density: Density) -> None:
        self._density = density

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient, (), (size,)."""
        with own_parameters():
            return self._density.with_gradient(u)


def _compiled(graph: VectorGraph, example: Tensor) -> Callable[[Tensor], Any]:
    """The density as a C function where it can be one, otherwise by Inductor.

    Raises:
        CompilerError: If it can be neither.
    """
    try:
        native = native_call(graph, len(example))
        check_native(native, graph)
    except UnsupportedError as error:
        logger.info("the density is not one C function (%s): Inductor compiles it", error)
        with one_thread():
            return compile_vector(graph, example)
    return native


def _plain(graph: VectorGraph) -> Callable[[Tensor], Any]:
    def call(u: Tensor) -> Any:
        return graph(u)

    return call


def _repeated(by_pyro: ProgramCall, size: int) -> ProgramCall:
    """The program itself, if it says the same twice."""
    _compare(by_pyro, by_pyro, size, "by another call")
    return by_pyro


def _compare(
    by_pyro: Callable[[Tensor], Any], call: Callable[[Tensor], Any], size: int, whose: str, cure: str = ""
) -> None:
    """Hold a density against the program's, for a graph at other points than that where it was traced.

    Raises:
        ModelError: If they differ.
    """
    numbers = np.random.default_rng(1)
    for radius in (0.5, 1.5):
        u = torch.from_numpy(numbers.uniform(-radius, radius, size))
        try:
            expected, slope = by_pyro(u)
            value, gradient = call(u)
        except torch.linalg.LinAlgError:
            continue
        if not torch.isfinite(expected):
            continue
        close = partial(torch.allclose, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        scale = float(slope.abs().max()) or 1.0
        if not (close(value, expected) and close(gradient / scale, slope / scale)):
            raise ModelError(
                f"the model does not do the same at each call (its log-density at one point is {float(expected):.9g} "
                f"by Pyro and {float(value):.9g} {whose}): let it depend on nothing that changes, and draw random "
                f"numbers in sample sites alone{cure}"
            )


# ---- the chains


def _nutpie(call: Callable, begin: list[np.ndarray], settings: Settings) -> Any:
    def sample(chain: int, stop: Any, progress: Callable[[int], None]) -> Chain:
        return nutpie_chain(call, begin[chain], settings, chain, stop, progress)

    return sample


def _pyro(call: Callable, begin: list[np.ndarray], settings: Settings) -> Any:
    def sample(chain: int, stop: Any, progress: Callable[[int], None]) -> Chain:
        return pyro_chain(call, begin[chain], settings, chain, stop, progress)

    return sample


def _bar(progress: bool, total: int) -> Any:
    return tqdm(total=total, disable=not progress, unit="transition", desc="NUTS", leave=False)


def _longest(chains: list[Chain]) -> list[Chain]:
    """The chains to keep of those that an interrupt left unequally long: as many draws in all as there can be."""
    lengths = sorted((chain.draws for chain in chains), reverse=True)
    best = max(range(len(lengths)), key=lambda n: (n + 1) * max(lengths[n], 0), default=-1)
    least = max(lengths[best], 1) if lengths else 1
    return [chain for chain in chains if chain.draws >= least]


# ---- the answer


@dataclass(frozen=True)
class _Request:
    """What the answer holds beside the draws."""

    log_likelihood: bool
    prior: int
    posterior_predictive: bool
    keep_tuning: bool
    seed: int


def _result(density: Density, chains: list[Chain], labels: Labels, request: _Request, attrs: dict[str, Any]) -> Any:
    draws = min(chain.draws for chain in chains)
    u = np.stack([chain.u[chain.warmup :][:draws] for chain in chains])
    stats = {n: np.stack([c.stats[n][c.warmup :][:draws] for c in chains]) for n in chains[0].stats}
    values = values_at(density, u, request.seed)
    latents = {name: values[name] for name in density.latents}
    groups = {
        "posterior": labels.dataset(values, independent_draws=0, **attrs),
        "sample_stats": stats_dataset(stats, **attrs),
    }
    if request.posterior_predictive:
        groups["posterior_predictive"] = labels.dataset(predictive_values(density, latents, request.seed))
    if request.log_likelihood:
        groups["log_likelihood"] = labels.dataset(likelihood_values(density, latents))
    if request.prior:
        latent, data = prior_values(density, request.prior, request.seed)
        groups |= {"prior": labels.dataset(latent), "prior_predictive": labels.dataset(data)}
    if request.keep_tuning and min(chain.warmup for chain in chains):
        warmup = min(chain.warmup for chain in chains)
        early = np.stack([chain.u[:warmup] for chain in chains])
        groups["warmup_posterior"] = labels.dataset(values_at(density, early, request.seed))
        groups["warmup_sample_stats"] = stats_dataset(
            {n: np.stack([c.stats[n][:warmup] for c in chains]) for n in chains[0].stats}
        )
    observed = {name: value.cpu().numpy() for name, value in density.data.items()}
    if observed:
        groups["observed_data"] = labels.dataset(observed, ())
    _warn(density, stats, u)
    return assembled(groups)


def _warn(density: Density, stats: Mapping[str, np.ndarray], u: np.ndarray) -> None:
    diverged, total = int(stats["diverging"].sum()), stats["diverging"].size
    if not diverged:
        return
    line = f"{diverged} of {total:,} transitions diverged: the posterior is sharper somewhere than the step"
    names = scales_that_are_sampled(density, torch.from_numpy(u[0, -1].copy()))
    if names:
        cure = (
            f"the scale of {', '.join(map(repr, names))} is sampled too, which makes a funnel: reparametrise=True "
            f"decentres by LocScaleReparam"
        )
    else:
        cure = "raise target_accept towards 0.99, or reparametrise the model"
    warnings.warn(f"{line}; {cure}", SamplingWarning, stacklevel=5)
