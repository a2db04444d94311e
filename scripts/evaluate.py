"""Evaluate a run: the bound in its parts, log p(x) by importance weighting, and for a 2-D code by quadrature.

python scripts/evaluate.py runs/mnist-vae-2d
python scripts/evaluate.py runs/mnist-vae-10d --images 1000 --samples 5000 --engine compiled
"""

import json

from tqdm import tqdm

from pyrovae import config
from pyrovae.evaluation import check_has_likelihood, estimate_elbo, importance_weighted, quadrature
from pyrovae.training import RunFolder
from pyrovae.training.files import replace_text


def main() -> None:
    """Estimate, print, keep."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--images", type=int, default=100, help="Images for log p(x); the bound takes the whole split.")
    parser.add_argument("--samples", type=int, default=1000, help="Codes for each image, k.")
    parser.add_argument("--points", type=int, default=200, help="Quadrature points along each side, for a 2-D code.")
    parser.add_argument("--engine", type=config.GraphEngine, default="graph", help="compiled pays for large jobs.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the codes.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir)
    split = run.split(options.split)
    few = split.take(range(min(options.images, len(split))))

    bound = estimate_elbo(run.model, split, seed=options.seed)
    report = {"split": options.split, "pixels": run.pixels, "seed": options.seed, "elbo": bound.to_dict()}
    print(f"{run.data.name}, split {options.split}, pixels {run.pixels}, seed {options.seed}\n{bound}")
    try:
        check_has_likelihood(run.model)
    except ValueError as error:
        print(f"no log p(x): {error}")
    else:
        with tqdm(total=options.samples * len(few), unit="code", unit_scale=True, disable=None) as bar:
            estimates = [
                importance_weighted(
                    run.model, few, options.samples, engine=options.engine, seed=options.seed, progress=bar.update
                )
            ]
        if run.model.shapes.latent_dim == 2:
            with tqdm(total=options.points**2 * len(few), unit="code", unit_scale=True, disable=None) as bar:
                estimates.append(quadrature(run.model, few, options.points, progress=bar.update))
        for estimate in estimates:
            print(f"{estimate}, {estimate.bits_per_dim(split.images[0].numel()):.4f} bits per dimension")
        print("  ".join(f"k={k}: {mean:.2f}" for k, mean in estimates[0].sweep.items()))
        report["likelihood"] = [estimate.to_dict() for estimate in estimates]
    output = RunFolder(run.path).path / f"evaluation-{options.split}.json"
    replace_text(output, json.dumps(report, indent=1) + "\n")
    print(output)


if __name__ == "__main__":
    config.run_command(main)
