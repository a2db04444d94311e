"""The Gaussian VAE of Davidson et al. (2018), table 1, for 2, 5, 10 and 20 dimensions.

784-256-128-z and mirrored, ReLU, Adam 1e-3, batch 64, pixels drawn anew, KL warm-up over 100 epochs, early stopping
after 50 epochs without a better validation bound, log p(x) with k = 500. Results go to
benchmarks/results/nvae_row.json; a run that was stopped goes on from its folder.

With --as_theirs weights start uniform by Glorot and Bengio, biases at 0, and the guide's scale is a softplus, as in
the authors' code.

python benchmarks/nvae_row.py --dims 2,5,10,20 --seeds 0,1,2
python benchmarks/nvae_row.py --dims 5 --as_theirs
"""

import argparse
import json
from pathlib import Path

import pyro.distributions as dist
from surroundings import surroundings
from torch import Tensor, nn
from torch.nn.functional import softplus

import pyrovae
from pyrovae.data import fixed_split
from pyrovae.files import replace_text
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.inference.importance import importance_weighted
from pyrovae.latent import encode
from pyrovae.metrics.codes import code_accuracy
from pyrovae.networks import MLPDecoder, MLPEncoder
from pyrovae.posteriors import DiagonalNormal
from pyrovae.runtime import seeded
from pyrovae.training.weights import load_weights

RESULTS = Path(__file__).parent / "results" / "nvae_row.json"
PUBLISHED = {2: (-137.08, -135.73), 5: (-112.98, -110.21), 10: (-98.36, -93.84), 20: (-94.79, -88.90)}
"""Their ELBO and log p(x), nats."""


class SoftplusNormal(DiagonalNormal):
    """A Normal with independent dimensions and a softplus for a scale."""

    def of(self, outputs: Tensor) -> dist.TorchDistribution:
        """Independent Normal variables."""
        loc, scale = outputs.chunk(2, -1)
        return dist.Normal(loc, softplus(scale)).to_event(1)

    def draws(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Location plus scale times noise."""
        loc, scale = outputs.chunk(2, -1)
        return loc + softplus(scale) * noise


def build(image_shape: tuple[int, int, int], latent_dim: int, seed: int, as_theirs: bool) -> pyrovae.VAE:
    """The network."""
    with seeded(seed):
        model = pyrovae.VAE(
            image_shape,
            latent_dim,
            encoder=lambda shapes: MLPEncoder(shapes, (256, 128)),
            decoder=lambda shapes, channels: MLPDecoder(shapes, channels, (128, 256)),
            posterior=SoftplusNormal if as_theirs else DiagonalNormal,
        )
        for layer in model.modules():
            if as_theirs and isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
    return model


def main() -> None:
    """Train what is missing, measure, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", default="2,5,10,20", help="latent dimensions, separated by commas")
    parser.add_argument("--seeds", default="0", help="seeds, separated by commas")
    parser.add_argument("--epochs", type=int, default=500, help="epochs at most; the warm-up is always of 100")
    parser.add_argument("--as_theirs", action="store_true", help="weights and scale of the guide as in their code")
    parser.add_argument("--images", type=int, default=10_000, help="test images for log p(x)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="compiled", help="auto, compiled, graph or pyro")
    parser.add_argument("--runs_dir", default="runs", help="folder of the run folders")
    options = parser.parse_args()
    data = pyrovae.load_images("mnist")
    test, train = fixed_split(data.split("test"), "dynamic"), fixed_split(data.split("train"), "dynamic")
    few = test.take(range(0, len(test), max(1, len(test) // options.images)))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    setting = {"epochs_at_most": options.epochs, "as_theirs": options.as_theirs}
    done = {(row["latent_dim"], row["seed"]) for row in results if {**row, **setting} == row}
    for seed in map(int, options.seeds.split(",")):
        for latent_dim in map(int, options.dims.split(",")):
            if (latent_dim, seed) in done:
                continue
            model = build(data.image_shape, latent_dim, seed, options.as_theirs)
            name = f"nvae-{latent_dim}d-seed{seed}{'-as-theirs' if options.as_theirs else ''}"
            folder = pyrovae.RunFolder(Path(options.runs_dir) / name)
            folder.path.mkdir(parents=True, exist_ok=True)
            history = pyrovae.Trainer(
                objective=pyrovae.TraceELBO(warmup=100 / options.epochs),
                epochs=options.epochs,
                batch_size=64,
                patience=50,
                seed=seed,
                device=options.device,
                engine=options.engine,
            ).fit(model, data, folder, resume=folder.checkpoint.exists(), progress=False)
            load_weights(folder.best_weights, model)
            bound = estimate_elbo(model, test, seed=seed)
            likelihood = importance_weighted(model, few, 500, engine="compiled", seed=seed)
            accuracy = code_accuracy(encode(model, train, seed=seed), encode(model, test, seed=seed), seed=seed)
            row = {
                "latent_dim": latent_dim,
                "seed": seed,
                **setting,
                "epochs": len(history.rows),
                "seconds": round(history.rows[-1]["seconds"], 1),
                "elbo": -bound.negative_elbo.value,
                "log_likelihood_k_500": likelihood.mean,
                "error": likelihood.mean_error,
                "images": len(few),
                "published": PUBLISHED.get(latent_dim),
                "neighbours_accuracy": {n: (share.value, share.sampling) for n, share in accuracy.neighbours.items()},
                "neighbours": accuracy.k,
                "pixels": "train dynamic, test drawn once (seed 0)",
                **surroundings(),
            }
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []  # another process may have added rows
            replace_text(RESULTS, json.dumps([*results, row], indent=1) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
