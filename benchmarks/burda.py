"""VAE and IWAE of Burda et al. (2016), one stochastic layer, MNIST with pixels drawn anew, by the authors' schedule.

784-200-200-50 and mirrored, tanh, scale = exp, Glorot-uniform weights, decoder bias = logit of the training mean, Adam
1e-3 with eps 1e-4, batch 20; stage i of 3^(i-1) epochs at the learning rate 1e-4 * round(10^(1 - (i-1)/7), 1); all
60,000 training images, test images binarised once. Eight stages are 3,280 epochs. After each stage the figures go to
benchmarks/results/burda.json; a run that was stopped goes on from its folder.

python benchmarks/burda.py --stages 4
python benchmarks/burda.py --objective IWAE --k 50 --stages 8 --device cuda
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from surroundings import surroundings
from torch import nn

import pyrovae
from pyrovae.data import ImageSet, Split, fixed_split, to_unit
from pyrovae.files import replace_text
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.inference.importance import importance_weighted
from pyrovae.networks import MLPDecoder, MLPEncoder
from pyrovae.objectives import Objective
from pyrovae.runtime import seeded
from pyrovae.training.order import order_of

RESULTS = Path(__file__).parent / "results" / "burda.json"
PUBLISHED = {("VAE", 1): 86.76, ("VAE", 5): 86.47, ("VAE", 50): 86.35, ("IWAE", 5): 85.54, ("IWAE", 50): 84.78}
"""Their NLL after all eight stages, k = 5000, in nats: table 1."""


def build(data: ImageSet, seed: int) -> pyrovae.VAE:
    """The model with the authors' initial weights."""
    with seeded(seed):
        model = pyrovae.VAE(
            data.image_shape,
            50,
            encoder=lambda shapes: MLPEncoder(shapes, (200, 200), nn.Tanh),
            decoder=lambda shapes, channels: MLPDecoder(shapes, channels, (200, 200), nn.Tanh),
        )
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
    mean = to_unit(data.split("train").images).mean(0).flatten().clamp(1e-3, 1 - 1e-3)
    model.get_parameter("likelihood.decoder.head.bias").data.copy_(mean.logit())
    return model


def settings(objective: str, k: int, stages: int, options: argparse.Namespace) -> pyrovae.Trainer:
    """A training up to the end of a stage, at the authors' learning rates."""
    ends = [(3**i - 1) // 2 for i in range(1, 9)]
    rates = [round(10 ** (1 - i / 7), 1) / 10 for i in range(8)]
    bound: Objective = pyrovae.ImportanceWeighted(k=k) if objective == "IWAE" else pyrovae.TraceELBO(particles=k)
    return pyrovae.Trainer(
        objective=bound,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3, eps=1e-4),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: rates[min(int(np.searchsorted(ends, epoch, side="right")), 7)]
        ),
        epochs=ends[stages - 1],
        batch_size=20,
        seed=options.seed,
        device=options.device,
        engine=options.engine,
    )


def measure(model: pyrovae.VAE, test: Split, options: argparse.Namespace) -> dict[str, object]:
    """Bound of all test images, and NLL with k = 5000 of evenly spaced ones."""
    few = test.take(range(0, len(test), max(1, len(test) // options.images)))
    bound = estimate_elbo(model, test, seed=options.seed)
    likelihood = importance_weighted(model, few, 5000, engine="compiled", seed=options.seed)
    return {
        "negative_elbo": bound.negative_elbo.value,
        "kl": bound.kl.value,
        "active_units": bound.active_units,
        "nll": -likelihood.mean,
        "nll_error": likelihood.mean_error,
        "nll_spread": likelihood.estimate.sampling,
        "nll_images": len(few),
        "nll_k": 5000,
    }


def main() -> None:
    """Train stage by stage, measure and keep after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", choices=("VAE", "IWAE"), default="VAE")
    parser.add_argument("--k", type=int, default=1, help="codes for each image and step")
    parser.add_argument("--stages", type=int, default=4, choices=range(1, 9), help="how many of the eight stages")
    parser.add_argument("--images", type=int, default=1000, help="test images for the NLL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="compiled", help="auto, compiled, graph or pyro")
    parser.add_argument("--runs_dir", default="runs", help="folder of the run folders")
    options = parser.parse_args()
    data = pyrovae.load_images("mnist", validation=0)
    test = fixed_split(data.split("test"), "dynamic")
    name = {"objective": options.objective, "k": options.k, "seed": options.seed}
    folder = pyrovae.RunFolder(Path(options.runs_dir) / "burda-{objective}-k{k}-seed{seed}".format(**name).lower())
    folder.path.mkdir(parents=True, exist_ok=True)
    for stage in range(1, options.stages + 1):
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        if any(row.items() >= (name | {"stage": stage}).items() for row in results):
            continue
        model = build(data, options.seed)
        trainer = settings(options.objective, options.k, stage, options)
        epochs = trainer.total_epochs(order_of(data, trainer.batch_size).per_epoch)
        history = trainer.fit(model, data, folder, resume=folder.checkpoint.exists(), progress=False)
        row = name | {"stage": stage, "epochs": epochs, "steps": epochs * len(data.splits["train"]) // 20}
        row |= measure(model, test, options) | {
            "training_loss": history.rows[-1]["loss"],
            "training_seconds": round(history.rows[-1]["seconds"], 1),
            "pixels": "train dynamic, test drawn once (seed 0)",
            "published_nll_after_8_stages": PUBLISHED.get((options.objective, options.k)),
            **surroundings(),
        }
        # Another objective's process may have added rows meanwhile.
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        replace_text(RESULTS, json.dumps([*results, row], indent=1) + "\n")
        print(
            "{objective} k={k} seed {seed}, stage {stage}, {epochs} epochs: NLL {nll:.2f} ± {nll_error:.2f} "
            "(± {nll_spread:.2f} from the choice of {nll_images} images), -ELBO {negative_elbo:.2f}, "
            "{active_units} active, {training_seconds} s".format(**row),
            flush=True,
        )


if __name__ == "__main__":
    main()
