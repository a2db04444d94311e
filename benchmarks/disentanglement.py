"""MIG, SAP and DCI of four objectives on the rendered shapes, at a small fixed budget.

1,024-256-256-8 and mirrored, ReLU, Adam 1e-3, batch 128, pixels as `--pixels auto` draws them, a few epochs over
the training images of `--data shapes`; scores of the posterior means of the 5,070 test images. The budget is far below
the published ones, whose networks see hundreds of thousands of batches. Results go to
benchmarks/results/disentanglement.json, a row as soon as it is finished; a row that is there already is not run again.

python benchmarks/disentanglement.py --epochs 20 --seeds 0,1,2
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from surroundings import over_seeds, surroundings

import pyrovae
from pyrovae import networks
from pyrovae.data import ImageSet, fixed_split, policy_of
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.latent import encode
from pyrovae.metrics import Factors, importance, information_gap, separation
from pyrovae.objectives import DIPVAE, BetaTCVAE, Objective, TraceELBO
from pyrovae.runtime import seeded

RESULTS = Path(__file__).parent / "results" / "disentanglement.json"
LATENT_DIM, HIDDEN, FITTED = 8, (256, 256), 10_000
OBJECTIVES: dict[str, Objective] = {
    "VAE": TraceELBO(),
    "β-VAE, β = 4": TraceELBO(beta=4.0),
    "β-TCVAE, 6": BetaTCVAE(),
    "DIP-VAE-I, 10": DIPVAE(kind="I"),
    "DIP-VAE-II, 10": DIPVAE(),
}
SCORES = ("MIG", "SAP", "disentanglement", "completeness", "informativeness")


def train(name: str, seed: int, data: ImageSet, epochs: int, engine: str) -> dict[str, object]:
    """Train one model; its bound and the scores of its codes."""
    with seeded(seed):
        model = pyrovae.VAE(
            data.image_shape,
            LATENT_DIM,
            encoder=partial(networks.MLPEncoder, hidden=HIDDEN),
            decoder=partial(networks.MLPDecoder, hidden=HIDDEN),
        )
    began = time.monotonic()
    pyrovae.Trainer(OBJECTIVES[name], epochs=epochs, seed=seed, engine=engine).fit(model, data, progress=False)
    seconds = time.monotonic() - began
    splits = {part: fixed_split(data.split(part), policy_of(data, "auto")) for part in ("train", "test")}
    index = np.linspace(0, len(splits["train"]) - 1, FITTED).astype(int).tolist()
    codes = encode(model, splits["train"].take(index)), encode(model, splits["test"])
    factors = Factors.of(data, "train").take(index), Factors.of(data, "test")
    gap, used = information_gap(codes[1], factors[1]), importance(*codes, factors)
    scores = {"MIG": gap.score, "SAP": separation(*codes, factors).score}
    scores |= {name: getattr(used, name) for name in SCORES[2:]}
    bound = estimate_elbo(model, splits["test"])
    return {
        "row": name,
        "seed": seed,
        "epochs": epochs,
        "seconds": round(seconds, 1),
        "negative_elbo": bound.negative_elbo.value,
        "kl": bound.kl.value,
        "active_units": bound.active_units,
        **{name: score.value for name, score in scores.items()},
        **{f"{name}_error": score.error for name, score in scores.items()},
        "gaps": dict(zip(factors[1].names, gap.gaps.tolist(), strict=True)),
        "known": dict(zip(factors[1].names, used.known.tolist(), strict=True)),
        **surroundings(),
    }


def table(runs: list[dict]) -> str:
    """Mean and standard deviation over seeds."""
    lines = [
        "| objective | −ELBO | KL | MIG | SAP | DCI d | DCI c | DCI i | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in OBJECTIVES:
        mine = [run for run in runs if run["row"] == name]
        if mine:
            columns = [over_seeds([run[key] for run in mine], 1) for key in ("negative_elbo", "kl")]
            columns += [over_seeds([run[key] for run in mine], 3) for key in SCORES]
            lines.append(f"| {name} | {' | '.join(columns)} | {len(mine)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, save after each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training images")
    parser.add_argument("--engine", default="compiled", help="auto, compiled, graph or pyro")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results")
    options = parser.parse_args()
    data = pyrovae.load_images("shapes")
    runs = json.loads(options.results.read_text()) if options.results.exists() else []
    done = {(r["row"], r["seed"], r["epochs"]) for r in runs}
    for seed in map(int, options.seeds.split(",")):
        for name in OBJECTIVES:
            if (name, seed, options.epochs) in done:
                continue
            runs.append(train(name, seed, data, options.epochs, options.engine))
            options.results.write_text(json.dumps(runs, indent=1) + "\n")
            print(f"{name} seed {seed}: MIG {runs[-1]['MIG']:.3f} in {runs[-1]['seconds']} s", flush=True)
    print(table([run for run in runs if run["epochs"] == options.epochs]))


if __name__ == "__main__":
    main()
