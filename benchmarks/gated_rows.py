"""N(0, I) and the VampPrior with gated networks: the one-layer rows of Norouzi et al., Exemplar VAE (2020), table 1.

784-300-300-40 and mirrored, gated, batch 100, Adam 5e-4, pixels drawn anew, KL warm-up over 100 epochs, 50,000 training
images, stop after 50 epochs without a better validation bound, log p(x) with k = 5000 on all test images. Of their code
differ: weights as torch draws them (theirs are He's), gradients as they are (theirs are divided by each tensor's norm),
no bounds on log-variances, and pseudo-inputs that start as images of the training set. A run that was stopped goes on
from its folder; results go to benchmarks/results/gated_rows.json. A run that has not stopped by itself is measured at
--epochs and says so.

python benchmarks/gated_rows.py --data mnist --prior StandardNormal
python benchmarks/gated_rows.py --data fashion-mnist --prior VampPrior --epochs 300
"""

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from burda import measure as bounds
from surroundings import surroundings

import pyrovae
from pyrovae.data import ImageSet, fixed_split
from pyrovae.files import replace_text
from pyrovae.networks import GatedMLPDecoder, GatedMLPEncoder
from pyrovae.priors import StandardNormal, VampPrior
from pyrovae.runtime import seeded
from pyrovae.training.weights import load_weights

RESULTS = Path(__file__).parent / "results" / "gated_rows.json"
PRIORS = {"StandardNormal": StandardNormal, "VampPrior": partial(VampPrior, components=500)}
PUBLISHED = {
    ("mnist", "StandardNormal"): 84.45,
    ("mnist", "VampPrior"): 82.43,
    ("fashion-mnist", "StandardNormal"): 228.70,
    ("fashion-mnist", "VampPrior"): 227.35,
}
"""Their -log p(x), nats."""
WARM_UP, PATIENCE, MOST = 100, 50, 2000


def build(data: ImageSet, prior: str, seed: int) -> pyrovae.VAE:
    """The network."""
    with seeded(seed):
        return pyrovae.VAE(data.image_shape, 40, prior=PRIORS[prior], encoder=GatedMLPEncoder, decoder=GatedMLPDecoder)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Train on to the end, or to --epochs; measure the weights with the best validation bound."""
    data = pyrovae.load_images(options.data, validation=10_000)
    model = build(data, options.prior, options.seed)
    folder = pyrovae.RunFolder(
        Path(options.runs_dir) / f"gated-{options.data}-{options.prior}-seed{options.seed}".lower()
    )
    folder.path.mkdir(parents=True, exist_ok=True)
    history = pyrovae.Trainer(
        objective=pyrovae.TraceELBO(warmup=min(1.0, WARM_UP / options.epochs)),
        optimizer=partial(torch.optim.Adam, lr=5e-4),
        epochs=options.epochs,
        batch_size=100,
        patience=PATIENCE,
        pixels="dynamic",
        seed=options.seed,
        device=options.device,
        engine=options.engine,
    ).fit(model, data, folder, resume=folder.can_resume, progress=False)
    load_weights(folder.best_weights, model)
    test = fixed_split(data.split("test"), "dynamic")
    return {
        "data": options.data,
        "prior": options.prior,
        "seed": options.seed,
        "epochs_at_most": options.epochs,
        "epochs": len(history.rows),
        "stopped_by_itself": len(history.rows) < options.epochs,
        "seconds": round(history.rows[-1]["seconds"], 1),
        **bounds(model, test, options),
        "published_nll": PUBLISHED[options.data, options.prior],
        "pixels": "train dynamic, test drawn once (seed 0)",
        **surroundings(),
    }


def main() -> None:
    """Train what is missing, measure, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("mnist", "fashion-mnist"), default="mnist")
    parser.add_argument("--prior", choices=tuple(PRIORS), default="StandardNormal")
    parser.add_argument("--epochs", type=int, default=MOST, help="epochs at most; the warm-up is always of 100")
    parser.add_argument("--images", type=int, default=10_000, help="test images for log p(x)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="compiled", help="auto, compiled, graph or pyro")
    parser.add_argument("--runs_dir", default="runs", help="folder of the run folders")
    options = parser.parse_args()
    row = measure(options)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []  # another process may have added rows
    replace_text(RESULTS, json.dumps([*results, row], indent=1) + "\n")
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
