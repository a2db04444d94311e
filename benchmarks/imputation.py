"""Imputation by a VAE of what is seen beside scikit-learn's imputers, on its embedded sets, half of the values hidden.

Every method sees the same table with the same holes, standardised by what is seen; none sees a hidden value. The score
is the mean squared error of the hidden values in those units, and for the VAE the share of them in its 90 % intervals.
Settings are the same for all seeds, and were set without a look at the seeds that are reported.

    python benchmarks/imputation.py         # writes results/imputation.json
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the class importable
from sklearn.impute import IterativeImputer, KNNImputer
from surroundings import surroundings

from pyrovae import VAE, ImportanceWeighted, RunFolder, Trainer
from pyrovae.data import Split, from_values
from pyrovae.inference import impute
from pyrovae.inference.imputation import LEAST_HELD_OUT
from pyrovae.likelihoods import Normal
from pyrovae.networks import MLPDecoder, MLPEncoder
from pyrovae.training.weights import load_weights

SETS: dict[str, Callable[[], Any]] = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
VALIDATION = 0.1
"""Share of the rows that are not trained on: their bound stops the training, and their values calibrate intervals."""
OTHERS = {"IterativeImputer": IterativeImputer, "KNNImputer": KNNImputer}


def table(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values in standard deviations of what is seen, and which are hidden; columns without variation are left out."""
    x = np.asarray(SETS[name]().data, dtype=np.float64)
    x = x[:, x.std(0) > 0]
    hidden = np.random.default_rng(seed).random(x.shape) < 0.5
    seen = np.where(hidden, np.nan, x)
    varies = np.nanstd(seen, 0) > 0
    x, hidden, seen = x[:, varies], hidden[:, varies], seen[:, varies]
    return (x - np.nanmean(seen, 0)) / np.nanstd(seen, 0), hidden


def by_vae(x: np.ndarray, hidden: np.ndarray, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train on what is seen of nine tenths of the rows, as long as the bound of the others grows, and impute all."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held = round(VALIDATION * len(x))
    splits = {"validation": order[:held].sort().values, "train": order[held:].sort().values}
    data = from_values(np.where(hidden, np.nan, x), scaling="none", splits=splits)
    torch.manual_seed(seed)
    model = VAE(
        data.image_shape,
        options.latent_dim,
        encoder=lambda shapes: MLPEncoder(shapes, (options.hidden,) * 2, torch.nn.Tanh),
        decoder=lambda shapes, channels: MLPDecoder(shapes, channels, (options.hidden,) * 2, torch.nn.Tanh),
        likelihood=lambda shapes, decoder: Normal(shapes, decoder, noise=options.noise, min_scale=0.05),
        missing="mask",
    )
    trainer = Trainer(
        objective=ImportanceWeighted(k=20),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=options.weight_decay),
        epochs=options.epochs,
        patience=options.patience,
        batch_size=64,
        seed=seed,
        engine=options.engine,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        history = trainer.fit(model, data, run, progress=False)
        load_weights(run.best_weights, model)
    rows = data.split("validation")
    enough = int((~rows.images.isnan()).sum()) >= LEAST_HELD_OUT
    whole, calibration = Split(data.images, data.labels), rows if enough else None
    found = impute(model, whole, samples=1000, draws=1, held_out=calibration)
    mean, low, high = (each.reshape(x.shape) for each in (found.mean, found.low, found.high))
    return {
        "mse": float(np.square(mean - x)[hidden].mean()),
        "inside 90 %": float(((low <= x) & (x <= high))[hidden].mean()),
        "nominal": found.nominal,
        "effective codes, median": float(np.median(found.effective)),
        "epochs": len(history),
    }


def by_other(imputer: Any, x: np.ndarray, hidden: np.ndarray) -> dict[str, float]:
    """One of scikit-learn's with its own defaults, fitted to all rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged within its own ten rounds
        filled = imputer().fit_transform(np.where(hidden, np.nan, x))
    return {"mse": float(np.square(filled - x)[hidden].mean())}


def summary(rows: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Means over seeds, and the paired differences from each other method with their standard errors."""
    found: dict[str, Any] = {name: {"mse": float(np.mean([row[name]["mse"] for row in rows]))} for name in rows[0]}
    found["VAE"]["inside 90 %"] = float(np.mean([row["VAE"]["inside 90 %"] for row in rows]))
    for name in OTHERS:
        gain = np.array([row[name]["mse"] - row["VAE"]["mse"] for row in rows])
        found[name]["worse than the VAE by"] = float(gain.mean())
        found[name]["standard error"] = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else None
    return found


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--sets", default="wine,breast cancer,digits")
    parser.add_argument("--epochs", type=int, default=2000, help="at most")
    parser.add_argument("--patience", type=int, default=40, help="epochs without a better bound that end a training")
    parser.add_argument("--latent_dim", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--noise", default="per_pixel")
    parser.add_argument("--weight_decay", type=float, default=0.0)
    parser.add_argument("--engine", default="graph")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "imputation.json")
    options = parser.parse_args()
    tables: dict[str, Any] = {}
    for name in options.sets.split(","):
        rows = []
        for seed in map(int, options.seeds.split(",")):
            x, hidden = table(name, seed)
            row = {other: by_other(imputer, x, hidden) for other, imputer in OTHERS.items()}
            row["VAE"] = by_vae(x, hidden, seed, options)
            print(name, seed, json.dumps(row), flush=True)
            rows.append(row)
        tables[name] = {"summary": summary(rows), "seeds": rows}
        print(name, json.dumps(tables[name]["summary"]), flush=True)
        settings = {key: value for key, value in vars(options).items() if key != "output"}
        options.output.write_text(json.dumps({**surroundings(), "settings": settings, "sets": tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
