"""Effective draws per second of NUTS: pyrovae beside Pyro, NumPyro and PyMC with nutpie.

python benchmarks/nuts.py
python benchmarks/nuts.py --models schools logistic --contenders pyrovae numpyro --rounds 3 --save

Each contender runs one chain, in float64 and on one thread, in a process of its own; contenders alternate. "Cold" is
the first run in the process, compilation and warm-up included; "warm" a second run with another seed; "process" the
time from the start of Python to the first draws, all imports included. pyrovae runs twice: at first it finds no
compiled density on disk, "again" it finds that of the process before. What counts is the smallest bulk-ESS among all
latents over seconds, of wall time and of CPU time, which other work on the machine disturbs less. `--chains` times
four chains of pyrovae on all cores against one. The models are written once, in the words that Pyro and NumPyro share.
Pyro draws fewer transitions, since it is slow. It needs nutpie, and NumPyro and PyMC where they are to be met.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "nuts.json"
CONTENDERS = ("pyrovae", "numpyro", "pymc", "pyro")
TRANSITIONS = {"pyro": 150}
BEGUN = "PYROVAE_BENCHMARK_BEGUN"
"""Variable with the time at which a contender's process was started."""
PATIENCE = 400.0
"""Seconds that a contender may take for both runs."""
Draws = dict[str, np.ndarray]
Model = Callable[[], None]
Run = Callable[[int, int], Draws]


# ---- models, in the words of Pyro and NumPyro


def schools(p: Any) -> Model:
    effects = p.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    errors = p.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def model() -> None:
        mu = p.sample("mu", p.dist.Normal(0.0, 5.0))
        tau = p.sample("tau", p.dist.HalfCauchy(5.0))
        with p.plate("school", 8):
            away = p.sample("away", p.dist.Normal(0.0, 1.0))
            p.sample("effect", p.dist.Normal(mu + tau * away, errors), obs=effects)

    return model


def _regression(numbers: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    points = numbers.normal(size=(400, 25))
    truth = numbers.normal(size=25)
    return points, (numbers.random(400) < 1 / (1 + np.exp(-points @ truth))).astype(float)


def logistic(p: Any) -> Model:
    points, labels = map(p.array, _regression(np.random.default_rng(1)))

    def model() -> None:
        weight = p.sample("weight", p.dist.Normal(p.array(np.zeros(25)), 1.0).to_event(1))
        with p.plate("rows", 400):
            p.sample("label", p.dist.Bernoulli(logits=points @ weight), obs=labels)

    return model


def _grouped(numbers: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    group = np.repeat(np.arange(100), 8)
    x = numbers.normal(size=800)
    y = (
        numbers.normal(1.0, 0.5, 100)[group]
        + numbers.normal(-0.5, 0.3, 100)[group] * x
        + numbers.normal(size=800) * 0.7
    )
    return group, x, y


def hierarchical(p: Any) -> Model:
    group, x, y = _grouped(np.random.default_rng(2))
    which, x, y = p.indices(group), p.array(x), p.array(y)

    def model() -> None:
        level, slope = p.sample("level", p.dist.Normal(0.0, 2.0)), p.sample("slope", p.dist.Normal(0.0, 2.0))
        level_scale = p.sample("level_scale", p.dist.HalfNormal(1.0))
        slope_scale = p.sample("slope_scale", p.dist.HalfNormal(1.0))
        noise = p.sample("noise", p.dist.HalfNormal(1.0))
        with p.plate("group", 100):
            level_away = p.sample("level_away", p.dist.Normal(0.0, 1.0))
            slope_away = p.sample("slope_away", p.dist.Normal(0.0, 1.0))
        mean = (level + level_scale * level_away)[which] + (slope + slope_scale * slope_away)[which] * x
        with p.plate("rows", 800):
            p.sample("y", p.dist.Normal(mean, noise), obs=y)

    return model


def process(p: Any) -> Model:
    numbers = np.random.default_rng(3)
    x = np.sort(numbers.uniform(0, 10, 50))
    distance, y = p.array((x[:, None] - x) ** 2), p.array(np.sin(x) + 0.2 * numbers.normal(size=50))
    one = p.array(np.eye(50))

    def model() -> None:
        length = p.sample("length", p.dist.Gamma(5.0, 3.0))
        height = p.sample("height", p.dist.HalfNormal(2.0))
        noise = p.sample("noise", p.dist.HalfNormal(0.5))
        covariance = height**2 * p.exp(-0.5 * distance / length**2) + (noise**2 + 1e-6) * one
        p.sample("y", p.dist.MultivariateNormal(p.array(np.zeros(50)), covariance_matrix=covariance), obs=y)

    return model


def code(p: Any) -> Model:
    """The code of an 8x8 image under a decoder of 64 hidden units: random weights, as of an untrained VAE."""
    numbers = np.random.default_rng(4)
    first, second = p.array(numbers.normal(size=(10, 64)) / 3), p.array(numbers.normal(size=(64, 64)) / 4)
    image = p.array((numbers.random(64) < 0.4).astype(float))

    def model() -> None:
        z = p.sample("z", p.dist.Normal(p.array(np.zeros(10)), 1.0).to_event(1))
        p.sample("x", p.dist.Bernoulli(logits=p.tanh(z @ first) @ second).to_event(1), obs=image)

    return model


MODELS = {"schools": schools, "logistic": logistic, "hierarchical": hierarchical, "process": process, "code": code}


# ---- contenders: each gives a function of (transitions, seed) that returns draws by latent, (1, draws, ...)


def _torch_words() -> Any:
    import pyro
    import pyro.distributions as dist
    import torch

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    return SimpleNamespace(
        sample=pyro.sample, plate=pyro.plate, dist=dist, exp=torch.exp, tanh=torch.tanh,
        array=lambda values: torch.as_tensor(np.asarray(values)), indices=torch.as_tensor,
    )  # fmt: skip


def pyrovae(name: str, chains: int = 1) -> Run:
    import arviz  # noqa: F401
    import nutpie  # noqa: F401

    import pyrovae
    import pyrovae.engine.posterior  # what other contenders import here too

    model = MODELS[name](_torch_words())

    def run(transitions: int, seed: int) -> Draws:
        found = pyrovae.nuts(
            model, draws=transitions, tune=transitions, chains=chains, seed=seed, engine="compiled", progress=False
        )["posterior"]
        return {str(site): found[site].values for site in found.data_vars}

    return run


def pyro(name: str) -> Run:
    import torch
    from pyro.infer import MCMC, NUTS

    model = MODELS[name](_torch_words())

    def run(transitions: int, seed: int) -> Draws:
        torch.manual_seed(seed)
        sampler = MCMC(NUTS(model), num_samples=transitions, warmup_steps=transitions, disable_progbar=True)
        sampler.run()
        return {site: values.numpy()[None] for site, values in sampler.get_samples().items()}

    return run


def numpyro(name: str) -> Run:
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    numpyro.enable_x64()
    words = SimpleNamespace(
        sample=numpyro.sample, plate=numpyro.plate, dist=dist, exp=jnp.exp, tanh=jnp.tanh,
        array=jnp.asarray, indices=jnp.asarray,
    )  # fmt: skip
    samplers = {}

    def run(transitions: int, seed: int) -> Draws:
        if transitions not in samplers:
            kernel = NUTS(MODELS[name](words))
            samplers[transitions] = MCMC(kernel, num_samples=transitions, num_warmup=transitions, progress_bar=False)
        samplers[transitions].run(jax.random.PRNGKey(seed))
        return {site: np.asarray(values)[None] for site, values in samplers[transitions].get_samples().items()}

    return run


def pymc(name: str) -> Run:
    import nutpie
    import pymc as pm
    import pytensor.tensor as pt

    with pm.Model() as model:
        if name == "schools":
            mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
            away = pm.Normal("away", 0, 1, shape=8)
            errors = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
            pm.Normal("effect", mu + tau * away, errors, observed=[28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
        elif name == "logistic":
            points, labels = _regression(np.random.default_rng(1))
            weight = pm.Normal("weight", 0, 1, shape=25)
            pm.Bernoulli("label", logit_p=pt.dot(points, weight), observed=labels)
        elif name == "hierarchical":
            group, x, y = _grouped(np.random.default_rng(2))
            level, slope = pm.Normal("level", 0, 2), pm.Normal("slope", 0, 2)
            scales = pm.HalfNormal("level_scale", 1), pm.HalfNormal("slope_scale", 1)
            noise = pm.HalfNormal("noise", 1)
            away = pm.Normal("level_away", 0, 1, shape=100), pm.Normal("slope_away", 0, 1, shape=100)
            mean = (level + scales[0] * away[0])[group] + (slope + scales[1] * away[1])[group] * x
            pm.Normal("y", mean, noise, observed=y)
        elif name == "process":
            numbers = np.random.default_rng(3)
            x = np.sort(numbers.uniform(0, 10, 50))
            y = np.sin(x) + 0.2 * numbers.normal(size=50)
            length, height = pm.Gamma("length", 5, 3), pm.HalfNormal("height", 2)
            noise = pm.HalfNormal("noise", 0.5)
            covariance = height**2 * pt.exp(-0.5 * (x[:, None] - x) ** 2 / length**2)
            pm.MvNormal("y", np.zeros(50), covariance + (noise**2 + 1e-6) * np.eye(50), observed=y)
        else:
            numbers = np.random.default_rng(4)
            first, second = numbers.normal(size=(10, 64)) / 3, numbers.normal(size=(64, 64)) / 4
            z = pm.Normal("z", 0, 1, shape=10)
            image = (numbers.random(64) < 0.4).astype(float)
            pm.Bernoulli("x", logit_p=pt.dot(pt.tanh(pt.dot(z, first)), second), observed=image)
    compiled = []

    def run(transitions: int, seed: int) -> Draws:
        if not compiled:
            compiled.append(nutpie.compile_pymc_model(model, backend="numba"))
        found = nutpie.sample(
            compiled[0], draws=transitions, tune=transitions, chains=1, cores=1, seed=seed, progress_bar=False
        )
        return {v.name: np.asarray(found["posterior"][v.name].values) for v in model.free_RVs}

    return run


# ---- timing


def calibration(simulations: int) -> dict[str, Any]:
    """Ranks of true values among NUTS draws of models with known posteriors, by `pyrovae.check`."""
    import pyro
    import pyro.distributions as dist
    import torch

    import pyrovae

    def model() -> None:
        level = pyro.sample("level", dist.Normal(1.0, 2.0))
        rate = pyro.sample("rate", dist.Gamma(3.0, 2.0))
        with pyro.plate("rows", 6):
            pyro.sample("y", dist.Normal(level, 1.5), obs=torch.zeros(6))
            pyro.sample("count", dist.Poisson(rate), obs=torch.ones(6))

    def guide() -> None:
        pyro.sample("level", dist.Normal(0.2, 0.6))
        pyro.sample("rate", dist.Gamma(9.0, 8.0))

    begin, cpu = time.perf_counter(), _cpu()
    found = pyrovae.check(model, guide, draws=1000, simulations=simulations, seed=1)
    return {
        "simulations": simulations,
        "ranks": {name: np.round(ranks[:, 0], 3).tolist() for name, ranks in (found.ranks or {}).items()},
        "p_values": {name: round(p, 4) for name, p in (found.p_values or {}).items()},
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(_cpu() - cpu, 1),
    }


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def smallest_ess(draws: Draws) -> float:
    import arviz

    latents = {name: values for name, values in draws.items() if np.issubdtype(values.dtype, np.floating)}
    found = arviz.ess(arviz.convert_to_dataset(latents), method="bulk")
    return float(min(found[name].min() for name in found.data_vars))


def measure(contender: str, model: str, transitions: int, seed: int, chains: int) -> dict[str, float]:
    """In a process of its own: seconds and effective draws, cold and warm."""
    made = pyrovae(model, chains) if contender == "pyrovae" else globals()[contender](model)
    row: dict[str, float] = {"transitions": 2 * transitions}
    for state, number in (("cold", seed), ("warm", seed + 100)):
        wall, cpu = time.perf_counter(), _cpu()
        draws = made(transitions, number)
        row[f"{state}_s"], row[f"{state}_cpu_s"] = time.perf_counter() - wall, _cpu() - cpu
        if state == "cold":
            row["process_s"], row["process_cpu_s"] = time.time() - float(os.environ[BEGUN]), _cpu()
        row[f"{state}_ess"] = smallest_ess(draws)
    import resource

    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def in_process(
    contender: str, model: str, transitions: int, seed: int, chains: int, python: str, cache: str
) -> dict[str, float] | None:
    """The row of one contender, or None where it cannot run."""
    command = [python, __file__, "--one", contender, model, str(transitions), str(seed), str(chains)]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "XDG_CACHE_HOME": cache, BEGUN: str(time.time()),
    }  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        print(f"  {contender}: not done in {PATIENCE:.0f} s")
        return None
    if done.returncode:
        print(f"  {contender}: {(done.stderr.strip().splitlines() or ['?'])[-1][:150]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def show(model: str, rows: dict[str, list[dict[str, float]]]) -> None:
    for contender, found in rows.items():
        line = f"{model:14}{contender:15} ESS/s (s), wall, CPU:"
        for state in ("process", "cold", "warm"):
            line += f" {state}"
            for unit in ("s", "cpu_s"):
                seconds = [r[f"{state}_{unit}"] for r in found]
                draws = [r["warm_ess" if state == "warm" else "cold_ess"] for r in found]
                rate = np.median([ess / s for ess, s in zip(draws, seconds, strict=True)])
                line += f" {rate:.1f} ({np.median(seconds):.2f})"
        print(f"{line}; peak {found[0]['peak_mb']:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--transitions", type=int, default=500, help="of warm-up, and as many that are kept")
    parser.add_argument("--rounds", type=int, default=1, help="each contender runs so often, in turn")
    parser.add_argument("--chains", action="store_true", help="four chains against one, pyrovae alone")
    parser.add_argument("--save", action="store_true", help=f"write the rows to {RESULTS.name}, beside older ones")
    parser.add_argument("--numpyro_python", default=sys.executable, help="interpreter that has NumPyro and ArviZ")
    parser.add_argument("--pymc_python", default=sys.executable, help="interpreter that has PyMC, nutpie and ArviZ")
    parser.add_argument("--calibration", type=int, help="simulations from a conjugate model, and nothing else")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        contender, model, transitions, seed, chains = options.one
        print(json.dumps(measure(contender, model, int(transitions), int(seed), int(chains))))
        return
    if options.calibration:
        found = calibration(options.calibration)
        print(found)
        if options.save:
            write({"calibration": found})
        return
    for model in options.models:
        rows: dict[str, list[dict[str, float]]] = {}
        for seed in range(options.rounds):
            for contender in options.contenders:
                for chains in (1, 4) if options.chains else (1,):
                    count = min(options.transitions, TRANSITIONS.get(contender, options.transitions))
                    pythons = {"numpyro": options.numpyro_python, "pymc": options.pymc_python}
                    with tempfile.TemporaryDirectory() as cache:
                        for again in ("", " again") if contender == "pyrovae" else ("",):
                            python = pythons.get(contender, sys.executable)
                            row = in_process(contender, model, count, seed, chains, python, cache)
                            if row is not None:
                                name = f"{contender}{f' x{chains}' if chains > 1 else ''}{again}"
                                rows.setdefault(name, []).append(row)
        show(model, rows)
        if options.save:
            save(model, rows)


def save(model: str, rows: dict[str, list[dict[str, float]]]) -> None:
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    models = stored.get("models", {})
    write({"models": {**models, model: {**models.get(model, {}), **rows}}})


def write(found: dict[str, Any]) -> None:
    """Put results beside older ones."""
    from surroundings import surroundings

    stored = (json.loads(RESULTS.read_text()) if RESULTS.exists() else {}) | found
    load = os.getloadavg()[0]
    stored["surroundings"] = {**surroundings(), "load_average": round(load, 1)}
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
