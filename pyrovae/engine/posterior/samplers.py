"""One chain of the No-U-Turn sampler: by nutpie, or by Pyro over the same compiled density."""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from pyrovae.engine.arviz import arviz_and_xarray
from pyrovae.engine.posterior.chains import PATIENCE, Chain, Stop
from pyrovae.engine.posterior.native import NativeCall
from pyrovae.engine.posterior.starts import entropy

Call = Callable[[Tensor], Sequence[Tensor]]
HOW_TO_INSTALL = "pip install 'pyrovae[nuts]'"
REPORT_EVERY = 20
"""Transitions between two words about progress."""


@dataclass(frozen=True)
class Settings:
    """What every chain does.

    Attributes:
        draws: Transitions that are kept.
        tune: Transitions that adapt step size and mass matrix.
        seed: Seed of all chains.
        target_accept: Acceptance that the step size is adapted to.
        max_depth: Doublings of a trajectory at most.
        mass_matrix: "diagonal", "low_rank" or "dense".
    """

    draws: int
    tune: int
    seed: int
    target_accept: float
    max_depth: int
    mass_matrix: str

    def seed_of(self, chain: int) -> int:
        """The seed of one chain, the same however many run beside it."""
        return int(np.random.SeedSequence(entropy(self.seed, chain)).generate_state(1)[0])


def has_nutpie() -> bool:
    """Whether nutpie is installed."""
    return find_spec("nutpie") is not None


class Evaluation:
    """Log-density and gradient for a sampler in NumPy's terms; counts its calls.

    Args:
        call: Takes a vector, returns value and gradient.
        size: Length of the vector.
    """

    def __init__(self, call: Call, size: int) -> None:
        self._call = call
        self._argument = torch.empty(size, dtype=torch.float64)
        self._view = self._argument.numpy()
        self.calls = 0

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; minus infinity where the density cannot be computed."""
        self.calls += 1
        self._view[:] = x
        try:
            value, gradient = self._call(self._argument)
        except torch.linalg.LinAlgError:  # a covariance that is singular to rounding
            return -np.inf, np.zeros_like(x)
        return value.item(), gradient.numpy()


# ---- nutpie


@functools.cache  # filters of warnings, which the import sets for a moment, are not for several threads to set
def _nutpie() -> Any:
    arviz_and_xarray()  # nutpie imports ArviZ too, which warns
    import nutpie  # type: ignore[import-not-found,unused-ignore]

    return nutpie


def nutpie_chain(
    call: Call, start: np.ndarray, settings: Settings, chain: int, stop: Stop, progress: Callable[[int], None]
) -> Chain:
    """Draw one chain by nutpie; a density in C is called without Python.

    References:
        A. Seyboldt, E. L. Carlson and B. Carpenter, Preconditioning Hamiltonian Monte Carlo by minimizing Fisher
        divergence (2026), for its mass matrix.
    """
    nutpie = _nutpie()
    size = len(start)
    model, done = _nutpie_model(call, start)
    sampler = nutpie.sample(
        model,
        draws=settings.draws,
        tune=settings.tune,
        chains=1,
        cores=1,
        seed=settings.seed_of(chain),
        progress_bar=False,
        **_adaptation(settings.mass_matrix == "low_rank"),
        target_accept=settings.target_accept,
        maxdepth=settings.max_depth,
        return_raw_trace=True,
        blocking=False,
    )
    raw, told = None, 0
    while raw is None:
        with contextlib.suppress(TimeoutError):
            raw = sampler.abort() if stop.is_set() else sampler.wait(timeout=PATIENCE)
        progress(done() - told)
        told = done()
    return _read(raw, size, settings.draws + settings.tune)


def _adaptation(low_rank: bool) -> dict[str, Any]:
    """How nutpie is told of its mass matrix, which changed with version 0.16.9 or so."""
    if "adaptation" in inspect.signature(_nutpie().sample).parameters:
        return {"adaptation": "low_rank"} if low_rank else {}
    return {"low_rank_modified_mass_matrix": low_rank}


def calls_c(call: Call) -> bool:
    """Whether nutpie calls a density as a C function: its chains may then run in threads of one process."""
    if not isinstance(call, NativeCall):
        return False
    try:
        _native_model(call, np.zeros(call.native.size))
    except (AttributeError, ImportError, TypeError):  # a nutpie whose model of PyMC's takes other arguments
        return False
    return True


def _nutpie_model(call: Call, start: np.ndarray) -> tuple[Any, Callable[[], int]]:
    """Nutpie's model of a density, and how many transitions it has made."""
    if isinstance(call, NativeCall):
        call = own = NativeCall(call.native)  # a workspace of its own
        if calls_c(own):
            return _native_model(own, start), lambda: int(own.counts[1])
    return _python_model(Evaluation(call, len(start)), start)


def _python_model(evaluate: Evaluation, start: np.ndarray) -> tuple[Any, Callable[[], int]]:
    """Nutpie's model of a density in Python, and how many transitions it has made."""
    size, done = len(start), [0]

    def expand(x: np.ndarray) -> dict[str, np.ndarray]:  # called once for each transition
        done[0] += 1
        return {"u": np.asarray(x, dtype=np.float64)}

    model = _nutpie().compiled_pyfunc.from_pyfunc(
        size,
        lambda: evaluate,
        lambda *seeds: expand,
        [np.dtype(np.float64)],
        [(size,)],
        ["u"],
        dims={"u": ("element",)},
        coords={"element": np.arange(size)},
        make_initial_point_fn=lambda seed: start,
    )
    return model, lambda: done[0]


def _native_model(call: NativeCall, start: np.ndarray) -> Any:
    """Nutpie's model of a density in C: as PyMC's, whose functions have addresses too."""
    CompiledPyMCModel = _nutpie().compile_pymc.CompiledPyMCModel  # noqa: N806
    size = len(start)
    known = {field.name for field in fields(CompiledPyMCModel)}
    return CompiledPyMCModel(
        **{"shared_var_keys": {}} if "shared_var_keys" in known else {},  # since version 0.16.9
        dims={"u": ("element",)},
        compiled_logp_func=_Address(call, "density"),
        compiled_expand_func=_Address(call, "keep"),
        initial_point_func=lambda seed: start,
        shared_data={},
        user_data=call.table,
        n_expanded=size,
        shape_info=(["u"], [slice(0, size)], [(size,)]),
        logp_func=None,
        expand_func=None,
        _n_dim=size,
        _shapes={"u": (size,)},
        _coords={"element": np.arange(size)},
    )


class _Address:
    """A function in C, as nutpie takes it; keeps alive what the function works on."""

    def __init__(self, call: NativeCall, name: str) -> None:
        self._call = call
        self.address = call.native.address(name)


NUTPIE_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "energy_error": "energy_error",
    "depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "mean_tree_accept": "acceptance_rate",
    "logp": "lp",
}


def _read(raw: Any, size: int, total: int) -> Chain:
    """The arrays of nutpie's trace of one chain, which come as Arrow tables."""
    import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]

    (draws,), (stats,) = raw.get_arrow_trace()
    u = pyarrow.array(draws.column("u")).flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    columns = {ours: pyarrow.array(stats.column(theirs)) for theirs, ours in NUTPIE_STATS.items()}
    tuning = pyarrow.array(stats.column("tuning")).to_numpy(zero_copy_only=False)
    found = {name: column.to_numpy(zero_copy_only=False) for name, column in columns.items()}
    return Chain(u.copy(), {n: np.array(v) for n, v in found.items()}, int(tuning.sum()), len(u) == total)


# ---- Pyro


class _Energy(torch.autograd.Function):
    """A value whose gradient came with it."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, call: Call) -> Tensor:
        try:
            value, gradient = call(u)
        except torch.linalg.LinAlgError:
            value, gradient = u.new_tensor(-torch.inf), torch.zeros_like(u)
        ctx.save_for_backward(gradient)
        return -value

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        return -outer[0] * ctx.saved_tensors[0], None


class _StoppedError(Exception):
    """The chain was asked to end early."""


def pyro_chain(
    call: Call, start: np.ndarray, settings: Settings, chain: int, stop: Stop, progress: Callable[[int], None]
) -> Chain:
    """Draw one chain by Pyro's own NUTS."""
    kernel = NUTS(
        potential_fn=lambda parameters: _Energy.apply(parameters["u"], call),
        target_accept_prob=settings.target_accept,
        max_tree_depth=settings.max_depth,
        full_mass=settings.mass_matrix == "dense",
    )
    vectors: list[np.ndarray] = []
    numbers: dict[str, list[float]] = {"diverging": [], "step_size": [], "lp": []}
    warmup = divergences = 0

    def look(kernel: Any, samples: Any, stage: str, number: int) -> None:
        state = samples["u"].detach()
        vectors.append(state.numpy().copy())
        numbers["step_size"].append(float(kernel.step_size))
        numbers["lp"].append(float(call(state)[0]))
        nonlocal warmup, divergences
        if stage.startswith("Warmup"):
            warmup += 1
            numbers["diverging"].append(False)  # Pyro does not count those of the warm-up
        else:
            found = len(kernel.diagnostics()["divergences"])
            numbers["diverging"].append(found > divergences)
            divergences = found
        if len(vectors) % REPORT_EVERY == 0:
            progress(REPORT_EVERY)
        if stop.is_set():
            raise _StoppedError

    with torch.random.fork_rng(devices=[]), torch.enable_grad(), warnings.catch_warnings():
        torch.manual_seed(settings.seed_of(chain))
        sampler = MCMC(
            kernel,
            num_samples=settings.draws,
            warmup_steps=settings.tune,
            initial_params={"u": torch.from_numpy(start.copy())},
            disable_progbar=True,
            hook_fn=look,
        )
        with contextlib.suppress(_StoppedError):
            sampler.run()
    progress(len(vectors) % REPORT_EVERY)
    stats = {name: np.array(values) for name, values in numbers.items()}
    return Chain(np.stack(vectors), stats, warmup, len(vectors) == settings.draws + settings.tune)
