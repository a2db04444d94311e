"""Compare a run's guide with the true posterior of chosen images, and say what the difference is made of.

python scripts/inspect_posterior.py runs/mnist-vae-2d --images [3,7,12]
python scripts/inspect_posterior.py runs/mnist-vae-10d --draws 1000 --target_accept 0.95 --ais 500
python scripts/inspect_posterior.py runs/mnist-vae-2d --method nuts --output posteriors.pdf
"""

import json
from typing import Any, Literal

from tqdm import tqdm

from pyrovae import config, inspection
from pyrovae.data import to_unit
from pyrovae.evaluation import Annealing, annealed, importance_weighted
from pyrovae.files import replace_text
from pyrovae.plots import new_figure, plot_posterior, plot_predictive, posterior_legend, save_figure


def main() -> None:
    """Draw from the truth, compare, check, keep."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--images", type=list[int], default=[3, 7, 12], help="Numbers of images in the split.")
    parser.add_argument("--method", type=Literal["auto", "quadrature", "nuts"], default="auto", help="Of the truth.")
    parser.add_argument("--draws", type=int, default=300, help="Draws of each of four chains of NUTS.")
    parser.add_argument("--warmup", type=int, default=300, help="Transitions before them.")
    parser.add_argument("--target_accept", type=float, default=0.8, help="Higher: slower, with fewer divergences.")
    parser.add_argument("--ais", type=int, default=0, help="Temperatures of annealing, for log p(x); 0 for none.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of everything drawn.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir, options.device)
    model, seed = run.model, options.seed
    split = run.split(options.split).take(options.images)
    output = config.picture(options.run, options.output, "posteriors")
    print(f"{run.data.name}, split {options.split}, pixels {run.pixels}, seed {seed}")
    evidence = annealed(model, split, Annealing(options.ais), seed=seed) if options.ais else None
    truth: Any
    if options.method == "quadrature" or (options.method == "auto" and model.shapes.latent_dim <= 2):
        truth = inspection.quadrature_posterior(model, split)
        draws = truth.draws(4 * options.draws, seed=seed)
    else:
        settings = {"warmup": options.warmup, "draws": options.draws, "target_accept": options.target_accept}
        with tqdm(unit="transition", disable=None) as bar:
            truth = draws = inspection.nuts_posterior(model, split, **settings, seed=seed, progress=bar.update)
    guide = inspection.guide_draws(model, split, 4 * options.draws, seed=seed)
    comparison = inspection.compare(model, split, truth, evidence=evidence, seed=seed)
    print(f"{draws.diagnosis()}\n{comparison.table(options.images)}\n{comparison.remark}")
    report = {"images": options.images, "seed": seed, "truth": draws.to_dict(), "comparison": comparison.to_dict()}

    figure, axes = new_figure(3.4 * len(split), 3.9, columns=len(split))
    for i, ax in enumerate(axes):
        plot_posterior(comparison, truth, i, ax, picture=to_unit(split.images[i]).numpy())
        ax.set_title(f"image {options.images[i]} ({run.data.class_names[split.labels[i]]})")
    posterior_legend(axes[0])
    save_figure(figure, output)
    likelihood = importance_weighted(model, split, 1000, seed=seed) if comparison.score == "NLL" else None
    if likelihood is not None:
        checks = [inspection.predictive_check(model, split, part, seed=seed) for part in (guide, draws)]
        print(*checks, sep="\n")
        report["predictive"] = [check.to_dict() for check in checks]
        figure, (ax,) = new_figure(0.9 * len(split) + 1.8, 4.7)
        plot_predictive(checks, ax)
        save_figure(figure, output.with_name(f"{output.stem}-predictive{output.suffix}"))
    replace_text(output.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
    print(f"{output}\n{output.with_suffix('.json')}")
    inspection.save_arviz(
        inspection.to_arviz(model, split, draws, guide=guide, likelihood=likelihood, images=options.images, seed=seed),
        output.with_suffix(".nc"),
    )
    print(output.with_suffix(".nc"))


if __name__ == "__main__":
    config.run_command(main)
