"""Enumerated models by Pyro and by the compiled engine: milliseconds a step, in turns, and whether the losses agree.

A Gaussian mixture and a hidden Markov model with their discrete variables enumerated in the model, and the
semi-supervised VAE of Kingma et al. (2014) on scikit-learn's digits, whose labels are enumerated in the guide.

    python benchmarks/enumeration.py        # writes results/enumeration.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta
from pyro.poutine import block
from surroundings import surroundings
from torch import nn

from pyrovae.data import load_images
from pyrovae.engine import SVI

Problem = tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]


def mixture() -> Problem:
    """Two Gaussians with unknown weights, means and scale; a point estimate of all but the assignments."""
    data = torch.cat([torch.randn(50) - 3, torch.randn(50) + 3])

    @config_enumerate
    def model(data: torch.Tensor) -> None:
        weights = pyro.sample("weights", dist.Dirichlet(torch.ones(2)))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
        with pyro.plate("components", 2):
            locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(data)):
            which = pyro.sample("which", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(locs[which], scale), obs=data)

    return model, AutoDelta(block(model, expose=["weights", "scale", "locs"])), (data,)


def hidden_markov(steps: int = 10, states: int = 3) -> Problem:
    """Eight sequences of ten steps and three states."""
    data = torch.randn(8, steps)

    def model(x: torch.Tensor) -> None:
        start = 0.9 * torch.eye(states) + 0.1 / states
        moves = pyro.param("moves", start, constraint=dist.constraints.simplex)
        locs = pyro.param("locs", torch.arange(float(states)))
        with pyro.plate("sequences", len(x), dim=-1):
            state: Any = 0
            for t in pyro.markov(range(steps)):
                state = pyro.sample(f"z{t}", dist.Categorical(moves[state]), infer={"enumerate": "parallel"})
                pyro.sample(f"x{t}", dist.Normal(locs[state], 1.0), obs=x[:, t])

    return model, lambda x: None, (data,)


class SemiSupervised(nn.Module):
    """M2: a label and a code make an image; the label is enumerated where it is not known."""

    def __init__(self, pixels: int = 64, classes: int = 10, latent: int = 10, hidden: int = 128) -> None:
        super().__init__()
        self.classes, self.latent = classes, latent
        self.encoder = nn.Sequential(nn.Linear(pixels + classes, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent + classes, hidden), nn.ReLU(), nn.Linear(hidden, pixels))
        self.classifier = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def model(self, x: torch.Tensor) -> None:
        """Label, code, image."""
        pyro.module("m2", self)
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(self.classes)))
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            logits = self.decoder(_beside(z, y))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        """Label from the image, code from both."""
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(logits=self.classifier(x)), infer={"enumerate": "parallel"})
            loc, log_scale = self.encoder(_beside(x, y)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def _beside(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    shape = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return torch.cat([a.expand(*shape, -1), b.expand(*shape, -1)], -1)


def semi_supervised() -> Problem:
    """Sixty-four of the digits, binary."""
    images = (load_images("digits").images[:64].flatten(1).double() / 255 > 0.5).double()
    network = SemiSupervised()
    return network.model, network.guide, (images,)


PROBLEMS = {"Gaussian mixture": mixture, "hidden Markov model": hidden_markov, "semi-supervised VAE": semi_supervised}


def measure(make: Callable[[], Problem], rounds: int, steps: int) -> dict[str, Any]:
    """Train the same problem by each contender in turns, and compare all losses."""
    runs: dict[str, Any] = {}
    losses: dict[str, list[float]] = {}
    stores: dict[str, Any] = {}
    times: dict[str, list[float]] = {}
    states: dict[str, torch.Tensor] = {}
    for name in ("pyro.infer.SVI", "graph", "compiled"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        model, guide, args = make()
        optimizer, loss = pyro.optim.Adam({"lr": 0.01}), TraceEnum_ELBO(max_plate_nesting=1)
        if name == "pyro.infer.SVI":
            svi: Any = pyro.infer.SVI(model, guide, optimizer, loss)
        else:
            svi = SVI(model, guide, optimizer, loss, engine=name)
        torch.manual_seed(1)
        started = time.perf_counter()
        losses[name] = [svi.step(*args) for _ in range(20)]
        runs[name], times[name] = (svi, args, time.perf_counter() - started), []
        stores[name], states[name] = pyro.get_param_store().get_state(), torch.get_rng_state()
    for _ in range(rounds):
        for name, (svi, args, _) in runs.items():
            with pyro.get_param_store().scope(stores[name]):
                torch.set_rng_state(states[name])
                started = time.perf_counter()
                losses[name] += [svi.step(*args) for _ in range(steps)]
                times[name].append((time.perf_counter() - started) / steps * 1e3)
                states[name] = torch.get_rng_state()
    pyro.clear_param_store()
    reference = torch.tensor(losses["pyro.infer.SVI"], dtype=torch.float64)
    ours = times["compiled"]
    return {
        name: {
            "median_ms": statistics.median(values),
            "ratio_to_compiled": statistics.median(a / b for a, b in zip(values, ours, strict=True)),
            "first_20_steps_s": runs[name][2],
            "largest_relative_difference": float(((torch.tensor(losses[name]) - reference) / reference).abs().max()),
        }
        for name, values in times.items()
    }


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    table = {name: measure(make, options.rounds, options.steps) for name, make in PROBLEMS.items()}
    for problem, rows in table.items():
        for name, row in rows.items():
            print(
                f"{problem:22}{name:16}{row['median_ms']:9.3f} ms {row['ratio_to_compiled']:7.2f}"
                f"   loss within {row['largest_relative_difference']:.1e}"
            )
    output = Path(__file__).parent / "results" / "enumeration.json"
    output.write_text(json.dumps({**surroundings(), "dtype": "float64", "tables": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
