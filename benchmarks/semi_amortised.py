"""The semi-amortised posterior beside others: bound, split of its gap, and cost of a step.

784-256-n-256-784 (of digits 64 pixels, n = 2), ReLU, Adam 1e-3, batch 128, pixels drawn anew, a few epochs over all
training images, the same for every row and far from convergence. The bound is that of all test images. On some of them
quadrature gives log p(x), or if n > 2 annealing from the guide (200 temperatures); the gap is split into
approximation (the family) and amortisation (the rest) by `diagnostics.compare`. Milliseconds are the processor's for a
training step on one thread. Results go to benchmarks/results/semi_amortised.json, a row as soon as it is finished; a
row that is there already is not run again.

python benchmarks/semi_amortised.py --data digits --epochs 40
python benchmarks/semi_amortised.py --data mnist --epochs 10 --latent_dim 50 --engine compiled
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from surroundings import surroundings

import pyrovae
from pyrovae import posteriors
from pyrovae.data import ImageSet, Split, fixed_split
from pyrovae.diagnostics.gap import Comparison, compare
from pyrovae.files import replace_text
from pyrovae.inference import estimate_elbo, quadrature_posterior
from pyrovae.inference.annealing import Annealing, annealed
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.posteriors import DiagonalNormal, Flow, FullNormal, SemiAmortised
from pyrovae.runtime import seeded

RESULTS = Path(__file__).parent / "results" / "semi_amortised.json"
POSTERIORS: dict[str, posteriors.Posterior] = {
    "DiagonalNormal": DiagonalNormal,
    "FullNormal": FullNormal,
    "Flow, iaf": Flow,
    "SemiAmortised, 1 step": partial(SemiAmortised, steps=1),
    "SemiAmortised, 3 steps": partial(SemiAmortised, steps=3),
    "SemiAmortised FullNormal, 3 steps": partial(SemiAmortised, posterior=FullNormal, steps=3),
}


def measure(name: str, data: ImageSet, options: argparse.Namespace) -> dict[str, object]:
    """Train one model, split its gap."""
    images, seed = options.images, options.seed
    with seeded(seed):
        model = pyrovae.VAE(data.image_shape, options.latent_dim, posterior=POSTERIORS[name])
    trainer = pyrovae.Trainer(epochs=options.epochs, pixels="dynamic", seed=seed, engine=options.engine)
    trainer.fit(model, data, progress=False)
    test = fixed_split(data.split("test"), "dynamic")
    few = test.take([i * len(test) // images for i in range(images)])
    found = split_gap(model, few, seed)
    parts = {part: getattr(found, part).mean for part in ("log_evidence", "gap", "approximation", "amortisation")}
    bound = estimate_elbo(model, test, seed=seed)
    return {
        "row": name,
        "data": data.name,
        "latent_dim": options.latent_dim,
        "epochs": options.epochs,
        "engine": options.engine,
        "seed": seed,
        "negative_elbo": bound.negative_elbo.value,
        "kl": bound.kl.value,
        "images": images,
        **{part: mean.value for part, mean in parts.items()},
        **{f"{part}_error": mean.sampling for part, mean in parts.items()},
        "ms_a_step": step_time(name, data, options),
        **surroundings(),
    }


def split_gap(model: pyrovae.VAE, few: Split, seed: int) -> Comparison:
    """The parts of the gap on some images."""
    if model.shapes.latent_dim <= 2:
        return compare(model, few, quadrature_posterior(model, few), seed=seed)
    truth = nuts_posterior(model, few, warmup=150, draws=150, together=10, seed=seed)
    return compare(
        model, few, truth, evidence=annealed(model, few, Annealing(200, start="guide"), seed=seed), seed=seed
    )


def step_time(name: str, data: ImageSet, options: argparse.Namespace) -> float:
    """Milliseconds of processor time of a step on a batch of 128 images: the least of five means over 40 steps."""
    with seeded(0):
        model = pyrovae.VAE(data.image_shape, options.latent_dim, posterior=POSTERIORS[name])
        x = fixed_split(data.split("train").take(range(128)), "dynamic").images.float() / 255
        svi = pyrovae.SVI(model.model, model.guide, torch.optim.Adam(model.parameters()), engine=options.engine)
        seconds = []
        for _ in range(6):
            began = time.process_time()
            for _ in range(40):
                svi.update(x)
            seconds.append((time.process_time() - began) / 40)
    return 1000 * min(seconds[1:])  # the first round traces


def table(runs: list[dict]) -> str:
    """A row for each posterior."""
    lines = ["| posterior | −ELBO | gap | approximation | amortisation | ms a step |", "|---|---|---|---|---|---|"]
    for run in runs:
        parts = [f"{run[part]:.2f} ± {run[f'{part}_error']:.2f}" for part in ("gap", "approximation", "amortisation")]
        lines.append(f"| {run['row']} | {run['negative_elbo']:.2f} | {' | '.join(parts)} | {run['ms_a_step']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, save after each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="image set")
    parser.add_argument("--latent_dim", type=int, default=2, help="dimensions of the code")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training images")
    parser.add_argument("--images", type=int, default=30, help="test images whose gap is split")
    parser.add_argument("--engine", default="graph", help="auto, compiled, graph or pyro")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results")
    options = parser.parse_args()
    data = pyrovae.load_images(options.data)
    runs = json.loads(options.results.read_text()) if options.results.exists() else []
    settings = {
        "data": data.name,
        "latent_dim": options.latent_dim,
        "epochs": options.epochs,
        "engine": options.engine,
        "images": options.images,
        "seed": options.seed,
    }
    for name in POSTERIORS:
        if any(run["row"] == name and settings.items() <= run.items() for run in runs):
            continue
        runs.append(measure(name, data, options))
        replace_text(options.results, json.dumps(runs, indent=1) + "\n")
        print(f"{name}: {runs[-1]['negative_elbo']:.2f}, gap {runs[-1]['gap']:.2f}", flush=True)
    print(table([run for run in runs if settings.items() <= run.items()]))


if __name__ == "__main__":
    main()
