"""Bounds of VAE and CVAE on MNIST's test images at a small fixed budget, over latent dimensions and seeds.

The budget: 784-256-n-256-784, ReLU, Adam 1e-3, batch 128, 20 epochs over all 60,000 training images, grey pixels scored
by cross-entropy (so no figure here is a likelihood). Results go to benchmarks/results/mnist_bounds.json; a combination
that is there already is not run again.

python benchmarks/mnist_bounds.py
python benchmarks/mnist_bounds.py --seeds 0,1,2 --dims 2,10 --models VAE
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from surroundings import surroundings

import pyrovae
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.likelihoods import CrossEntropy
from pyrovae.runtime import seeded

RESULTS = Path(__file__).parent / "results" / "mnist_bounds.json"
YARDSTICK = {
    ("VAE", 2): 153.1,
    ("VAE", 5): 124.5,
    ("VAE", 10): 109.6,
    ("VAE", 20): 104.8,
    ("CVAE", 2): 132.8,
    ("CVAE", 5): 114.2,
    ("CVAE", 10): 103.9,
    ("CVAE", 20): 100.8,
}
"""The same budget in plain PyTorch, measured once by hand-written code."""


def train(name: str, latent_dim: int, seed: int, data: ImageSet, epochs: int, engine: str) -> dict[str, object]:
    """Train one model and evaluate its bound on the test images."""
    with seeded(seed):
        if name == "VAE":
            model = pyrovae.VAE(data.image_shape, latent_dim, likelihood=CrossEntropy)
        else:
            model = pyrovae.CVAE(data.image_shape, data.num_classes, latent_dim, likelihood=CrossEntropy)
    began = time.monotonic()
    trainer = pyrovae.Trainer(epochs=epochs, pixels="none", seed=seed, engine=engine)
    trainer.fit(model, data, progress=False)
    seconds = time.monotonic() - began
    test = estimate_elbo(model, fixed_split(data.split("test"), "none"), seed=seed)
    return {
        "model": name,
        "latent_dim": latent_dim,
        "seed": seed,
        "epochs": epochs,
        "seconds": round(seconds, 1),
        "reconstruction": test.reconstruction.value,
        "kl": test.kl.value,
        "bound": test.negative_elbo.value,
        **surroundings(),
    }


def table(runs: list[dict]) -> str:
    """Mean and standard deviation over seeds, beside the yardstick."""
    lines = ["| model | n | cross-entropy + KL | seeds | plain PyTorch |", "|---|---|---|---|---|"]
    for (model, latent_dim), yardstick in YARDSTICK.items():
        bounds = [r["bound"] for r in runs if (r["model"], r["latent_dim"]) == (model, latent_dim)]
        if bounds:
            spread = f" ± {np.std(bounds, ddof=1):.2f}" if len(bounds) > 1 else ""
            lines.append(f"| {model} | {latent_dim} | {np.mean(bounds):.2f}{spread} | {len(bounds)} | {yardstick} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, save after each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--dims", default="2,5,10,20", help="latent dimensions, separated by commas")
    parser.add_argument("--models", default="VAE,CVAE", help="VAE, CVAE or both")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training images")
    parser.add_argument("--engine", default="auto", help="auto, compiled, graph or pyro")
    options = parser.parse_args()
    data = pyrovae.load_images("mnist", validation=0)
    print(data.source, flush=True)
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(r["model"], r["latent_dim"], r["seed"], r["epochs"]) for r in runs}
    for seed in map(int, options.seeds.split(",")):
        for latent_dim in map(int, options.dims.split(",")):
            for name in options.models.split(","):
                if (name, latent_dim, seed, options.epochs) in done:
                    continue
                runs.append(train(name, latent_dim, seed, data, options.epochs, options.engine))
                RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
                print(
                    f"{name} n={latent_dim} seed {seed}: {runs[-1]['bound']:.2f} in {runs[-1]['seconds']} s", flush=True
                )
    print(table(runs))


if __name__ == "__main__":
    main()
