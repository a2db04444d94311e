"""Is the fit right? Three checks of a guide that ask for nothing but the programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.poutine as poutine
import torch
from torch import Tensor

from pyrovae.engine.arviz import arviz_and_xarray
from pyrovae.engine.compat import is_subsample
from pyrovae.engine.posterior.density import Density, Program, density_of
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.guides import latents_of_guide
from pyrovae.engine.posterior.replay import at_draws, prior_values
from pyrovae.engine.posterior.results import group
from pyrovae.engine.posterior.sampling import nuts
from pyrovae.engine.posterior.supports import inside
from pyrovae.engine.turns import in_turn

FEW_LOSSES = 100
NOTHING = 1000.0
"""So far below the largest, on the scale of logarithms, a weight is as good as zero."""
BANDS = 0.001
"""Probability with which a calibrated fit is called uncalibrated, for all latents together."""


@dataclass(frozen=True, eq=False)
class Check:
    """What was found; `print` it for the verdict.

    Attributes:
        pareto_k: Pareto k-hat of the weights p / q over all latents together.
        elbo: The bound, nats.
        elbo_error: Its Monte Carlo error.
        log_evidence: Log p(data) by Pareto-smoothed importance sampling from the guide; trust it while k-hat is low.
        draws: How many draws these rest on.
        trend: Change of the loss over the second half of `losses`, in its standard errors; None without losses.
        ranks: Share of posterior draws below the true value, by latent, (simulations, elements); None if not asked for.
        p_values: Of the ranks' uniformity, by latent, the smallest over its elements times their number.
    """

    pareto_k: float
    elbo: float
    elbo_error: float
    log_evidence: float
    draws: int
    trend: float | None = None
    ranks: Mapping[str, np.ndarray] | None = None
    p_values: Mapping[str, float] | None = None

    @property
    def limit(self) -> float:
        """The k-hat up to which estimates from so many draws can be trusted: min(1 - 1 / log10(draws), 0.7)."""
        return min(1 - 1 / np.log10(self.draws), 0.7)

    @property
    def right(self) -> bool:
        """Whether no check complains."""
        return not self.complaints()

    def complaints(self) -> list[str]:
        """What is wrong and what to try, a line each."""
        found = []
        if self.elbo == -np.inf:
            found.append(
                "the ELBO is -inf: the guide draws values outside of the model's support; give its sites the supports "
                "of the model's"
            )
        if not self.pareto_k < self.limit:
            found.append(
                f"Pareto k-hat is {self.pareto_k:.2f}, above {self.limit:.2f}: the guide misses part of the posterior; "
                f"take a richer guide (AutoMultivariateNormal, flows), train longer, or draw by nuts"
            )
        if self.trend is not None and self.trend < -3:
            found.append(
                f"the loss still falls, by {-self.trend:.1f} standard errors over the second half of its record: train "
                f"longer"
            )
        for name, p in (self.p_values or {}).items():
            if p < BANDS / len(self.p_values or {}):
                found.append(f"site {name!r} is not calibrated (p = {p:.1g}): true values do not lie like draws")
        return found

    def __str__(self) -> str:
        head = (
            f"Pareto k-hat {self.pareto_k:.2f} (limit {self.limit:.2f}), "
            f"ELBO {self.elbo:.3f} ± {self.elbo_error:.3f}, log evidence {self.log_evidence:.3f}"
        )
        if self.trend is not None:
            head += f", trend of the loss {self.trend:+.1f} standard errors"
        lines = self.complaints() or ["nothing speaks against the fit"]
        return "\n".join([head, *lines])


def check(
    model: Program,
    guide: Program,
    model_args: Sequence[Any] = (),
    model_kwargs: Mapping[str, Any] | None = None,
    *,
    draws: int = 1000,
    losses: Sequence[float] | None = None,
    simulations: int = 0,
    fit: Callable[..., Any] | None = None,
    seed: int = 0,
) -> Check:
    """Ask whether a guide is near the posterior.

    K-hat compares guide and posterior where the guide draws. Losses tell whether training had come to rest: the change
    over the second half of the record against its own noise, correlation counted, instead of a patience. Simulations
    draw latents and data from the model, fit again, and ask where the true latents lie among the draws; the data of
    observed sites are replaced, whatever the arguments are, so that it works for every program.

    References:
        A. Vehtari et al., Pareto smoothed importance sampling (2024), Journal of Machine Learning Research 25.
        S. Talts et al., Validating Bayesian inference algorithms with simulation-based calibration (2018).

    Args:
        model: A Pyro program.
        guide: Its guide.
        model_args: The arguments of both.
        model_kwargs: The same by name.
        draws: Draws of the guide for k-hat and the bound.
        losses: Losses of the training, in order.
        simulations: How often to simulate and fit; 20 or more tell something.
        fit: Takes a program, its arguments and a seed by name, and returns ArviZ's object; `nuts` by default, with
            which the model is checked, not the guide.
        seed: Seed of all.

    Returns:
        A `Check`: the numbers, in nats where they are logarithms, and by `print` what they say and what helps.

    Raises:
        ModelError: If a program fails: names the site.
        ValueError: If another argument is out of its range.
    """
    if draws < 100:
        raise ValueError(f"draws must be at least 100 for a tail to be fitted, got {draws}")
    if simulations < 0:
        raise ValueError(f"simulations must be at least 0, got {simulations}")
    density = in_turn(density_of)(model, tuple(model_args), dict(model_kwargs or {}), sampled=False)
    if simulations:
        _check_is_generative(density)
    weights = _log_weights(density, guide, draws, seed)
    smooth, k = _smoothed(weights)
    ranks = _ranks(density, simulations, fit or _by_nuts, seed) if simulations else None
    return Check(
        pareto_k=k,
        elbo=float(weights.mean()),
        elbo_error=float(weights.std(ddof=1) / np.sqrt(draws)) if np.isfinite(weights).all() else np.inf,
        log_evidence=smooth,
        draws=draws,
        trend=None if losses is None else loss_trend(losses),
        ranks=ranks,
        p_values=None if ranks is None else {name: _uniformity(values) for name, values in ranks.items()},
    )


@in_turn
def _log_weights(density: Density, guide: Program, draws: int, seed: int) -> np.ndarray:
    """Log p / q at draws of the guide, (draws,).

    Raises:
        ModelError: If some are no numbers.
    """
    latents, log_q = latents_of_guide(density, guide, draws, seed)
    weights = at_draws(density, latents, _log_joint, anew=False)["log p"].reshape(-1) - log_q
    if wrong := int((np.isnan(weights) | (weights == np.inf)).sum()):
        raise ModelError(
            f"log p - log q is not finite at {wrong} of {draws:,} draws of the guide: look for parameters of the guide "
            f"that are not finite, and for distributions of the model that are none at these draws"
        )
    return weights


def _log_joint(trace: Any) -> dict[str, Tensor]:
    """Log p of a trace, -inf outside of the model's support, where some distributions have a number without checks."""
    found = torch.as_tensor(trace.log_prob_sum())
    for site in trace.nodes.values():
        if site["type"] == "sample" and not is_subsample(site["fn"]) and site["fn"].event_dim < 2:  # no matrices
            hidden = False if site["mask"] is None else ~torch.as_tensor(site["mask"], dtype=torch.bool)
            found = torch.where((inside(site["fn"], site["value"]) | hidden).all(), found, -torch.inf)
    return {"log p": found}


def _check_is_generative(density: Density) -> None:
    """Refuse simulations from a model that has more to its density than draws show.

    Raises:
        ModelError: If it has a factor.
    """
    for name, site in density.observed.items():
        if 0 in site.shape:
            raise ModelError(
                f"simulations draw latents and data from the model, of which the factor {name!r} is no part: write it "
                f"as a distribution, or choose simulations=0"
            )


def _smoothed(weights: np.ndarray) -> tuple[float, float]:
    """Log of the mean weight, Pareto-smoothed, and k-hat."""
    from scipy.special import logsumexp

    positive = weights[np.isfinite(weights)]
    if not positive.size:
        return -np.inf, np.inf
    if np.ptp(positive) < 1e-9 * max(1.0, np.abs(positive).max()):  # the guide is the posterior, or that and more
        return float(positive.mean() + np.log(len(positive) / len(weights))), -np.inf
    weights = np.maximum(weights, weights.max() - NOTHING)
    smooth, k = _psis(weights)
    return float(logsumexp(smooth) - np.log(len(weights))), k


def _psis(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log-weights by ArviZ, on the scale of those given, and k-hat.

    ArviZ 0.x takes weights, 1.x takes their negatives; both lose the scale. What tells the right sign and the scale is
    that smoothing leaves the smaller half as it is.
    """
    arviz, _ = arviz_and_xarray()
    if arviz.__version__.startswith("0."):
        psislw = arviz.psislw
    else:
        from arviz_stats.base import array_stats  # type: ignore[import-not-found,unused-ignore]

        psislw = array_stats.psislw
    body = np.argsort(weights)[: len(weights) // 2]
    for sign in (1, -1):
        try:
            smooth, k = psislw(sign * weights)
        except ValueError:  # the tail of the wrong sign is all the same
            continue
        shift = (weights - smooth)[body]
        if np.ptp(shift) < 1e-6 * max(1.0, np.ptp(weights)):
            return np.asarray(smooth) + shift.mean(), float(k)
    raise RuntimeError(f"ArviZ {arviz.__version__} smooths weights in a way that this version of pyrovae does not know")


def loss_trend(losses: Sequence[float]) -> float:
    """Change of a noisy loss between the third and the fourth quarter of its record, in standard errors.

    Raises:
        ValueError: If there are too few, or some are not finite.
    """
    values = np.asarray(losses, dtype=np.float64).reshape(-1)
    if len(values) < FEW_LOSSES or not np.isfinite(values).all():
        raise ValueError(
            f"losses must be at least {FEW_LOSSES} finite numbers, got {len(values)} of which "
            f"{int(np.isfinite(values).sum())} are finite"
        )
    arviz, _ = arviz_and_xarray()
    third, fourth = values[len(values) // 2 : -(len(values) // 4)], values[-(len(values) // 4) :]
    change, variance = fourth.mean() - third.mean(), 0.0
    for part in (third, fourth):
        # A trend inside a quarter is what is looked for, and no correlation.
        level = np.polyval(np.polyfit(np.arange(len(part)), part, 1), np.arange(len(part)))
        noise = part - level
        if noise.std() > 0:
            size = float(arviz.ess(arviz.convert_to_dataset({"x": noise[None]}), method="mean")["x"])
            variance += noise.var(ddof=2) / min(size, len(part))
    return float(change / np.sqrt(variance)) if variance > 0 else float(np.sign(change) * np.inf if change else 0.0)


# ---- calibration by simulation


def _by_nuts(model: Program, args: tuple, seed: int, **kwargs: Any) -> Any:
    return nuts(model, args, kwargs, draws=200, tune=200, chains=1, seed=seed, progress=False)


def _ranks(density: Density, simulations: int, fit: Callable[..., Any], seed: int) -> dict[str, np.ndarray]:
    truths, data = in_turn(prior_values)(density, simulations, seed)
    found: dict[str, list[np.ndarray]] = {name: [] for name in density.drawn}
    for number in range(simulations):
        simulated = {
            name: torch.from_numpy(np.asarray(values[0, number])).to(density.data[name].dtype)
            for name, values in data.items()
        }
        program = poutine.condition(density.model, data=simulated)
        posterior = group(fit(program, density.args, seed=seed + number, **density.kwargs), "posterior")
        for name in density.drawn:
            if name in posterior:
                draws = posterior[name].values
                flat = draws.reshape(-1, *draws.shape[2:])
                found[name].append((flat < truths[name][0, number]).mean(0).reshape(-1))
    return {name: np.stack(values) for name, values in found.items() if values}


def _uniformity(ranks: np.ndarray) -> float:
    """Smallest p-value of Kolmogorov and Smirnov's test over the elements, times their number."""
    from scipy.stats import kstest

    values = [kstest(column, "uniform").pvalue for column in ranks.T]
    return float(min(1.0, min(values) * len(values)))
