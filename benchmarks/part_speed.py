"""What each part costs: the time of a training step with it, over that of the default, in one process.

python benchmarks/part_speed.py
python benchmarks/part_speed.py --engine pyro --rounds 40 --latent_dim 10

Default: StandardNormal, Bernoulli, DiagonalNormal, TraceELBO, on 28x28 pixels, MLP with 256 hidden units, Adam. One row
changes one of them (and what has to go with it). Default and row alternate step by step, so that both meet the same
machine; the ratio is that of the medians. On the CPU, whose time it is: run it with OMP_NUM_THREADS=1. With --save the
rows go to benchmarks/results/part_speed.json, each as soon as it is timed, in the place of its last timing.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from surroundings import surroundings

from pyrovae import CVAE, VAE, likelihoods, networks, posteriors, priors
from pyrovae.engine import SVI
from pyrovae.objectives import FreeBits, ImportanceWeighted, Objective, Renyi, TraceELBO, TraceMeanField

RESULTS = Path(__file__).parent / "results" / "part_speed.json"
ROWS: dict[str, dict] = {
    "prior Normal": {"prior": priors.Normal},
    "prior Normal, one per class (CVAE)": {"prior": partial(priors.Normal, per_class=True), "cls": CVAE},
    "prior Laplace": {"prior": priors.Laplace},
    "prior StudentT": {"prior": priors.StudentT},
    "prior GaussianMixture, 10": {"prior": priors.GaussianMixture},
    "prior VampPrior, 100": {"prior": priors.VampPrior},
    "prior Flow, realnvp": {"prior": priors.Flow},
    "prior Flow, maf": {"prior": partial(priors.Flow, kind="maf")},
    "prior Flow, nsf": {"prior": partial(priors.Flow, kind="nsf")},
    "prior Uniform + posterior Beta": {"prior": priors.Uniform, "posterior": posteriors.Beta},
    "prior VonMises + posterior WrappedNormal": {"prior": priors.VonMises, "posterior": posteriors.WrappedNormal},
    "likelihood CrossEntropy": {"likelihood": likelihoods.CrossEntropy},
    "likelihood ContinuousBernoulli": {"likelihood": likelihoods.ContinuousBernoulli},
    "likelihood Normal": {"likelihood": likelihoods.Normal},
    "likelihood Normal, learned": {"likelihood": partial(likelihoods.Normal, noise="learned")},
    "likelihood Normal, per_pixel": {"likelihood": partial(likelihoods.Normal, noise="per_pixel")},
    "likelihood Normal, decoder": {"likelihood": partial(likelihoods.Normal, noise="decoder")},
    "likelihood Laplace": {"likelihood": likelihoods.Laplace},
    "likelihood Beta, margin": {"likelihood": partial(likelihoods.Beta, margin=0.01)},
    "likelihood Categorical, 256": {"likelihood": likelihoods.Categorical},
    "likelihood DiscretizedLogistic, 5": {"likelihood": likelihoods.DiscretizedLogistic},
    "likelihood DiscretizedLogistic, 1": {"likelihood": partial(likelihoods.DiscretizedLogistic, components=1)},
    "likelihood Poisson": {"likelihood": likelihoods.Poisson},
    "likelihood NegativeBinomial": {"likelihood": likelihoods.NegativeBinomial},
    "posterior FullNormal": {"posterior": posteriors.FullNormal},
    "posterior LowRankNormal": {"posterior": posteriors.LowRankNormal},
    "posterior Laplace": {"posterior": posteriors.Laplace},
    "posterior StudentT": {"posterior": posteriors.StudentT},
    "posterior Mixture, 3": {"posterior": posteriors.Mixture},
    "posterior Flow, iaf": {"posterior": posteriors.Flow},
    "posterior Flow, nsf": {"posterior": partial(posteriors.Flow, kind="nsf")},
    "posterior Flow, realnvp": {"posterior": partial(posteriors.Flow, kind="realnvp")},
    "objective TraceMeanField": {"objective": TraceMeanField()},
    "objective FreeBits": {"objective": FreeBits()},
    "objective ImportanceWeighted, k=1": {"objective": ImportanceWeighted(1)},
    "objective ImportanceWeighted, k=1, stl": {"objective": ImportanceWeighted(1, "stl")},
    "objective TraceELBO, 5 particles": {"objective": TraceELBO(particles=5)},
    "objective ImportanceWeighted, k=5": {"objective": ImportanceWeighted(5)},
    "objective ImportanceWeighted, k=5, dreg": {"objective": ImportanceWeighted(5, "dreg")},
    "objective Renyi, k=5": {"objective": Renyi(0.5, 5)},
    "network gated 300-300": {
        "encoder": networks.GatedMLPEncoder,
        "decoder": networks.GatedMLPDecoder,
    },
    "network residual, 2 blocks": {
        "encoder": networks.ResidualMLPEncoder,
        "decoder": networks.ResidualMLPDecoder,
    },
}


class Bench:
    """A model and its training, one step at a time."""

    def __init__(
        self, options: argparse.Namespace, cls: type = VAE, objective: Objective | None = None, **parts: object
    ) -> None:
        torch.manual_seed(0)
        objective = objective or TraceELBO()
        classes = {"num_classes": 10} if cls is CVAE else {}
        self.model = cls((1, 28, 28), latent_dim=options.latent_dim, **classes, **parts)
        self.svi = SVI(
            objective.weighted(self.model.model),
            objective.weighted(self.model.guide),
            torch.optim.Adam(self.model.parameters()),
            loss=objective.elbo(),
            engine=options.engine,
        )
        x = (torch.rand(options.batch, 1, 28, 28) * 255).round() / 255
        binary = isinstance(self.model.likelihood, likelihoods.Bernoulli)
        self.arguments = (torch.tensor(1.0), x.round() if binary else x, torch.arange(options.batch) % 10)

    def seconds(self) -> float:
        """Processor time of one step, which other programs on the machine do not add to."""
        began = time.process_time()
        self.svi.update(*self.arguments)
        return time.process_time() - began


def save(row: str, ms: float, default_ms: float, options: argparse.Namespace) -> None:
    """Put a timing among the results."""
    key = {"row": row, "engine": options.engine, "latent_dim": options.latent_dim, "batch": options.batch}
    timing = {
        "ms": round(ms, 2),
        "default_ms": round(default_ms, 2),
        "ratio": round(ms / default_ms, 2),
        **surroundings(),
    }
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    others = [result for result in before if any(result[name] != value for name, value in key.items())]
    RESULTS.write_text(json.dumps([*others, key | timing], indent=1) + "\n")


def main() -> None:
    """Time every row against the default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="graph", help="Engine of the steps: graph, compiled or pyro.")
    parser.add_argument("--rounds", type=int, default=60, help="Steps of each, after five that do not count.")
    parser.add_argument("--latent_dim", type=int, default=2, help="Dimensions of the code.")
    parser.add_argument("--batch", type=int, default=128, help="Images in a step.")
    parser.add_argument("--only", default="", help="Rows whose name contains this.")
    parser.add_argument("--save", action="store_true", help="Keep the timings in benchmarks/results.")
    options = parser.parse_args()
    print(f"engine {options.engine}, latent_dim {options.latent_dim}, batch {options.batch}")
    print(f"{'row':45s} {'ms a step':>10s} {'default':>10s} {'ratio':>7s}")
    default = Bench(options)
    for name, changes in ROWS.items():
        if options.only not in name:
            continue
        row = Bench(options, **changes)
        times = [(default.seconds(), row.seconds()) for _ in range(options.rounds + 5)][5:]
        theirs, ours = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:45s} {ours:10.2f} {theirs:10.2f} {ours / theirs:7.2f}", flush=True)
        if options.save:
            save(name, ours, theirs, options)


if __name__ == "__main__":
    main()
