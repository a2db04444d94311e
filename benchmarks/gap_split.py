"""The inference gap of Burda et al.'s 784-200-200-50 VAE in its two parts, as Cremer et al. (2018) split it.

The network is the one that `python benchmarks/burda.py --stages 4` leaves. log p(x) is annealed from the guide, and
once more importance-weighted, with codes of the best q and of a Student variable with the moments of NUTS draws. Test
images are evenly spaced and binarised once. Results go to benchmarks/results/gap_split.json.

python benchmarks/gap_split.py --images 100
"""

import argparse
import json
from pathlib import Path

import numpy as np
from burda import build
from surroundings import surroundings

import pyrovae
from pyrovae.data import fixed_split
from pyrovae.diagnostics.gap import compare
from pyrovae.estimates import PerImage
from pyrovae.files import replace_text
from pyrovae.inference.annealing import Annealing, annealed
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.local import fit_local
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.training.weights import load_weights

RESULTS = Path(__file__).parent / "results" / "gap_split.json"
PUBLISHED = {"gap": 2.77, "approximation": 1.43, "amortisation": 1.34}
"""Their split for MNIST, nats."""
PARTS = ("log_evidence", "elbo", "best_elbo", "gap", "approximation", "amortisation", "reverse")


def main() -> None:
    """Measure group by group, put together, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="test images")
    parser.add_argument("--group", type=int, default=20, help="images that are worked on together")
    parser.add_argument("--temperatures", type=int, default=200, help="of the annealing")
    parser.add_argument("--transitions", type=int, default=150, help="of NUTS: so many to warm up, and so many draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs_dir", default="runs", help="folder of the run folders")
    options = parser.parse_args()
    data = pyrovae.load_images("mnist", validation=0)
    model = build(data, options.seed)
    load_weights(Path(options.runs_dir) / f"burda-vae-k1-seed{options.seed}" / "model.safetensors", model)
    test, settings = fixed_split(data.split("test"), "dynamic"), Annealing(options.temperatures, start="guide")
    numbers = [i * len(test) // options.images for i in range(options.images)]
    found: dict[str, list[PerImage]] = {}
    for first in range(0, len(numbers), options.group):
        few = test.take(numbers[first : first + options.group])
        chains = {"warmup": options.transitions, "draws": options.transitions, "together": options.group}
        truth, best = nuts_posterior(model, few, **chains, seed=options.seed), fit_local(model, few, seed=options.seed)
        evidence = annealed(model, few, settings, seed=options.seed)
        comparison = compare(model, few, truth, best=best, evidence=evidence, samples=2000, seed=options.seed)
        guided = importance_weighted(model, few, 5000, seed=options.seed)
        again = compare(model, few, truth, best=best, samples=2000, seed=options.seed).log_evidence
        print(f"{truth.diagnosis()}\n{comparison}\nby codes: {again.mean}; {guided}")
        parts = {name: getattr(comparison, name) for name in PARTS} | {"log_evidence_by_moments": again}
        parts["log_evidence_by_guide"] = PerImage(guided.log_likelihood, guided.error)
        for name, part in parts.items():
            found.setdefault(name, []).append(part)
        whole = {
            name: PerImage(*map(np.concatenate, zip(*[(p.value, p.error) for p in each], strict=True)))
            for name, each in found.items()
        }
        means = {name: each.mean for name, each in whole.items()}
        row = {n: {"mean": e.value, "error": e.monte_carlo, "spread": e.sampling} for n, e in means.items()}
        row |= {"images": len(whole["gap"].value), "seed": options.seed, "log_evidence_is": comparison.method}
        row |= {"published": PUBLISHED, **surroundings()}
        replace_text(RESULTS, json.dumps(row, indent=1) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
