"""Priors, posteriors and likelihoods against each other on MNIST's test images, at a small fixed budget.

One row changes one part of the default: StandardNormal, Bernoulli, DiagonalNormal, 784-300-20-300-784 with ReLU, Adam
1e-3, batch 128, KL warm-up over half of the epochs, all 60,000 training images. Each row is trained on the pixels that
its likelihood is meant for; figures are comparable within a kind of pixels and not across. Results go to
benchmarks/results/part_bounds.json, a row as soon as it is finished; a row that is there already is not run again.

python benchmarks/part_bounds.py
python benchmarks/part_bounds.py --seeds 0,1,2 --only prior
"""

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from surroundings import over_seeds, surroundings

import pyrovae
from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.data import ImageSet, PixelPolicy, fixed_split
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.inference.importance import importance_weighted
from pyrovae.objectives import TraceELBO
from pyrovae.runtime import seeded

RESULTS = Path(__file__).parent / "results" / "part_bounds.json"
LATENT_DIM, HIDDEN, WARMUP, CODES, IMAGES = 20, 300, 0.5, 100, 1000
"""The budget, beside the epochs; codes and images of the estimate of log p(x)."""


@dataclass(frozen=True)
class Row:
    """One part in the place of the default's.

    Attributes:
        part: What it is called in the table.
        changes: The model's arguments that differ.
        pixels: How images become pixels.
        unit: Of what a figure is the logarithm; only figures of the same can be compared.
    """

    part: str
    changes: dict[str, object] = field(default_factory=dict)
    pixels: PixelPolicy = "dynamic"
    unit: str = "probability of black and white pixels"


GREY = "density of grey values in [0, 1]"
ROWS = [
    Row("StandardNormal, Bernoulli, DiagonalNormal"),
    Row("prior GaussianMixture, 100", {"prior": partial(priors.GaussianMixture, components=100)}),
    Row("prior VampPrior, 100", {"prior": priors.VampPrior}),
    Row("prior Flow, realnvp", {"prior": priors.Flow}),
    Row("posterior FullNormal", {"posterior": posteriors.FullNormal}),
    Row("posterior Flow, iaf", {"posterior": posteriors.Flow}),
    Row("likelihood ContinuousBernoulli", {"likelihood": likelihoods.ContinuousBernoulli}, "none", GREY),
    Row("likelihood Normal, learned", {"likelihood": partial(likelihoods.Normal, noise="learned")}, "none", GREY),
    Row(
        "likelihood DiscretizedLogistic, 1",
        {"likelihood": partial(likelihoods.DiscretizedLogistic, components=1)},
        "none",
        "probability of 256 grey levels",
    ),
]


def train(row: Row, seed: int, data: ImageSet, epochs: int, engine: str) -> dict[str, object]:
    """Train one model; its bound on all test images, and log p(x) of the first of them."""
    with seeded(seed):
        model = pyrovae.VAE(
            data.image_shape,
            LATENT_DIM,
            encoder=partial(networks.MLPEncoder, hidden=(HIDDEN,)),
            decoder=partial(networks.MLPDecoder, hidden=(HIDDEN,)),
            **row.changes,
        )
    objective = TraceELBO(warmup=WARMUP)
    trainer = pyrovae.Trainer(objective, epochs=epochs, pixels=row.pixels, seed=seed, engine=engine)
    began = time.monotonic()
    trainer.fit(model, data, progress=False)
    seconds = time.monotonic() - began
    test = fixed_split(data.split("test"), row.pixels)
    bound = estimate_elbo(model, test, seed=seed)
    first = replace(test, images=test.images[:IMAGES], labels=test.labels[:IMAGES])
    likelihood = importance_weighted(model, first, CODES, seed=seed)
    return {
        "row": row.part,
        "seed": seed,
        "epochs": epochs,
        "unit": row.unit,
        "seconds": round(seconds, 1),
        "reconstruction": bound.reconstruction.value,
        "kl": bound.kl.value,
        "active_units": bound.active_units,
        "negative_elbo": bound.negative_elbo.value,
        "negative_elbo_of_first": estimate_elbo(model, first, seed=seed).negative_elbo.value,
        "negative_log_likelihood_of_first": -likelihood.mean,
        "bits_per_dim": likelihood.bits_per_dim(int(np.prod(data.image_shape))),
        **surroundings(),
    }


def table(runs: list[dict]) -> str:
    """Mean and standard deviation over seeds of each row, under the unit that its figures share with others."""
    lines = [f"| part | -ELBO | -log p(x), k = {CODES}, first {IMAGES:,} | bits/dim | seeds |", "|---|---|---|---|---|"]
    for unit in dict.fromkeys(row.unit for row in ROWS):
        lines.append(f"| *{unit}* | | | | |")
        for row in (row for row in ROWS if row.unit == unit):
            mine = [run for run in runs if run["row"] == row.part]
            if mine:
                keys = ("negative_elbo", "negative_log_likelihood_of_first", "bits_per_dim")
                columns = [over_seeds([run[key] for run in mine], 3 if key == "bits_per_dim" else 2) for key in keys]
                lines.append(f"| {row.part} | {' | '.join(columns)} | {len(mine)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, save after each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training images")
    parser.add_argument("--engine", default="compiled", help="auto, compiled, graph or pyro")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results")
    options = parser.parse_args()
    data = pyrovae.load_images("mnist", validation=0)
    print(data.source, flush=True)
    runs = json.loads(options.results.read_text()) if options.results.exists() else []
    done = {(r["row"], r["seed"], r["epochs"]) for r in runs}
    for seed in map(int, options.seeds.split(",")):
        for row in ROWS:
            if (row.part, seed, options.epochs) in done or options.only not in row.part:
                continue
            runs.append(train(row, seed, data, options.epochs, options.engine))
            options.results.write_text(json.dumps(runs, indent=1) + "\n")
            print(f"{row.part} seed {seed}: {runs[-1]['negative_elbo']:.2f} in {runs[-1]['seconds']} s", flush=True)
    print(table([run for run in runs if run["epochs"] == options.epochs]))


if __name__ == "__main__":
    main()
