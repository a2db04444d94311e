"""M2 of Kingma et al. (2014) on MNIST with 100 labels: test error of q(y | x), and the time of a step beside Pyro's.

50 latent dimensions, softplus networks (one hidden layer of 500 units in each; --hidden 500 500 for two), pixels drawn
anew, 50,000 training images of which 100 keep their label, ten of each class and others for each seed, 10,000 for
validation without labels, weights N(0, 0.001^2) at first, Adam 3e-4, weight decay 1 / 50,000 (the prior N(0, I) of all
weights), alpha 0.1, batches of 128 of which 32 have labels. The last weights are measured: no label beyond the hundred
chooses anything. After every stage the figures go to benchmarks/results/few_labels.json; a run that was stopped goes on
from its folder.

python benchmarks/few_labels.py --seed 1 --epochs 10 20 50 100
python benchmarks/few_labels.py --speed 5
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import TraceEnum_ELBO
from surroundings import surroundings
from torch import nn

import pyrovae
from pyrovae.data import ImageSet, Split, fixed_split, keep_labels, load_images
from pyrovae.engine import SVI
from pyrovae.files import replace_text
from pyrovae.inference import estimate_elbo, predict_labels
from pyrovae.networks import MLPDecoder, MLPEncoder
from pyrovae.runtime import seeded
from pyrovae.training.batches import Batches

RESULTS = Path(__file__).parent / "results" / "few_labels.json"
PUBLISHED = {"M1+TSVM": 11.82, "M2": 11.97, "M1+M2": 3.33}
"""Their test errors with 100 labels in percent: table 1. M2's standard error over label sets is 1.71."""
LABELS = 100


def few_labels(seed: int) -> ImageSet:
    """MNIST with the labels of a seed."""
    return keep_labels(load_images("mnist", validation=10_000), LABELS, seed)


def build(data: ImageSet, options: argparse.Namespace, seed: int) -> pyrovae.SemiSupervisedVAE:
    """The model with its initial weights: N(0, init^2), or torch's own with 0."""
    hidden, init = tuple(options.hidden), options.init
    with seeded(seed):
        model = pyrovae.SemiSupervisedVAE(
            data.image_shape,
            data.num_classes,
            50,
            encoder=lambda shapes: MLPEncoder(shapes, hidden, nn.Softplus),
            decoder=lambda shapes, channels: MLPDecoder(shapes, channels, hidden, nn.Softplus),
            classifier=lambda shapes: MLPEncoder(shapes, hidden, nn.Softplus),
            alpha=options.alpha,
        )
        for weight in model.parameters() if init else ():
            nn.init.normal_(weight, std=init)
    return model


def trainer(options: argparse.Namespace, epochs: int) -> pyrovae.Trainer:
    """A training up to the end of a stage."""
    decay = 1 / 50_000
    return pyrovae.Trainer(
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=options.lr, weight_decay=decay),
        epochs=epochs,
        batch_size=128,
        seed=options.seed,
        engine=options.engine,
        checkpoint_every=60.0,
    )


def measure(model: pyrovae.SemiSupervisedVAE, test: Split) -> dict[str, Any]:
    """Error, log score and calibration of q(y | x) on the test images, and their bound."""
    labels = predict_labels(model, test)
    return {
        "test_error": labels.error.value,
        "test_error_error": labels.error.sampling,
        "log_score": labels.log_score.value,
        "calibration_error": labels.reliability().expected_error,
        "negative_elbo": estimate_elbo(model, test.without_labels()).negative_elbo.value,
    }


def train(options: argparse.Namespace) -> None:
    """Train stage by stage, measure and keep after each."""
    data = few_labels(options.seed)
    test = fixed_split(data.split("test"), "dynamic")
    name = {
        "seed": options.seed,
        "hidden": options.hidden,
        "lr": options.lr,
        "init": options.init,
        "alpha": options.alpha,
    }
    layers = "-".join(map(str, options.hidden))
    folder = pyrovae.RunFolder(
        Path(options.runs_dir)
        / f"few-labels-{layers}-lr{options.lr:g}-init{options.init:g}-alpha{options.alpha:g}-seed{options.seed}"
    )
    folder.path.mkdir(parents=True, exist_ok=True)
    for epochs in options.epochs:
        if any(row.items() >= (name | {"epochs": epochs}).items() for row in read()["runs"]):
            continue
        model = build(data, options, options.seed)
        history = trainer(options, epochs).fit(model, data, folder, resume=folder.can_resume, progress=False)
        row = name | {"epochs": epochs, "labels": LABELS, "pixels": "train dynamic, test drawn once (seed 0)"}
        row |= measure(model.cpu(), test) | {"training_seconds": round(history.rows[-1]["seconds"], 1)}
        row["validation_negative_elbo"] = history.rows[-1]["validation_negative_elbo"]
        results = read()  # of which another process may have written more meanwhile
        results |= {"runs": [*results["runs"], row | surroundings()], "published": PUBLISHED}
        replace_text(RESULTS, json.dumps(results, indent=1) + "\n")
        print(json.dumps(row), flush=True)


def read() -> dict[str, Any]:
    """What was measured before."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": []}


def contenders(options: argparse.Namespace, data: ImageSet) -> dict[str, Any]:
    """The same programs, batches and optimiser: a function that takes a step, by name."""
    batches = Batches(data, "dynamic", 128, 0, torch.device("cpu"))
    order = iter(batches.of_epoch(0, 0, batches.per_epoch) * 100)
    objective = pyrovae.TraceELBO()
    found: dict[str, Any] = {}

    def prepare(beta: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return beta, *batches.prepare(*inputs)

    for name in ("pyro.infer.SVI", *options.engines):
        model = build(data, options, 0)
        programs = objective.programs(model, batches.order.few)
        if name == "pyro.infer.SVI":

            def program(*args: torch.Tensor, model: Any = model, inner: Any = programs.model) -> None:
                pyro.module("m2", model)
                inner(*args)

            loss = TraceEnum_ELBO(max_plate_nesting=1)
            svi = pyro.infer.SVI(program, programs.guide, pyro.optim.Adam({"lr": options.lr}), loss)
            found[name] = lambda svi=svi: svi.step(*prepare(torch.tensor(1.0), *batches.inputs(next(order))))
            continue
        engine = SVI(programs.model, programs.guide, torch.optim.Adam(model.parameters(), lr=options.lr),
                     loss=programs.elbo, engine=name, prepare=prepare)  # fmt: skip
        found[name] = lambda svi=engine: svi.run([(torch.tensor(1.0), *batches.inputs(next(order)))])
    return found


def speed(options: argparse.Namespace) -> None:
    """Milliseconds a step of each contender, in turns."""
    data = few_labels(0)
    steps = contenders(options, data)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(6):
            step()
    for _ in range(options.speed):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(options.steps):
                step()
            times[name].append((time.perf_counter() - started) / options.steps * 1e3)
    pyro.clear_param_store()
    fastest = times[options.engines[-1]]
    table = {
        name: {
            "median_ms": statistics.median(values),
            f"ratio_to_{options.engines[-1]}": statistics.median(a / b for a, b in zip(values, fastest, strict=True)),
        }
        for name, values in times.items()
    }
    print(json.dumps(table, indent=1))
    row = {"hidden": options.hidden, "rounds": options.speed, "steps": options.steps, "table": table, **surroundings()}
    replace_text(RESULTS, json.dumps(read() | {"speed": row}, indent=1) + "\n")


def main() -> None:
    """Parse the command line; train or time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 20, 50, 100], help="the ends of the stages")
    parser.add_argument("--hidden", type=int, nargs="+", default=[500])
    parser.add_argument("--init", type=float, default=1e-3, help="scale of the initial weights; 0 for torch's own")
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--engine", default="auto", help="auto, compiled, graph or pyro")
    parser.add_argument("--runs_dir", default="runs", help="folder of the run folders")
    parser.add_argument("--speed", type=int, default=0, help="rounds of the comparison of steps, instead of a training")
    parser.add_argument("--steps", type=int, default=10, help="steps of a contender in a round")
    parser.add_argument("--engines", nargs="+", default=["graph", "compiled"])
    options = parser.parse_args()
    if options.speed:
        speed(options)
    else:
        train(options)


if __name__ == "__main__":
    main()
