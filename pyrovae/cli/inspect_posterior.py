"""Compare a run's guide with the true posterior of chosen images, and split their gap into its parts."""

import json
from typing import Any, Literal

from jsonargparse import Namespace
from tqdm import tqdm

from pyrovae.cli.options import add_shared, run_parser
from pyrovae.data import to_unit
from pyrovae.diagnostics.export import save_arviz, to_arviz
from pyrovae.diagnostics.gap import compare
from pyrovae.diagnostics.predictive import predictive_check
from pyrovae.files import replace_text
from pyrovae.inference.annealing import Annealing, annealed
from pyrovae.inference.draws import guide_draws
from pyrovae.inference.grid import quadrature_posterior
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.plots import new_figure, plot_posterior, plot_predictive, posterior_legend, save_figure
from pyrovae.runs.loading import open_run, picture


def _options(description: str | None) -> Namespace:
    """Parse the command line."""
    parser = run_parser(description)
    parser.add_argument("--images", type=list[int], default=[3, 7, 12], help="Numbers of images in the split.")
    parser.add_argument(
        "--method", type=Literal["auto", "quadrature", "nuts"], default="auto", help="Method for the true posterior."
    )
    parser.add_argument("--draws", type=int, default=300, help="Draws of each of the four NUTS chains.")
    parser.add_argument("--warmup", type=int, default=300, help="Warm-up transitions of each chain.")
    parser.add_argument(
        "--target_accept",
        type=float,
        default=0.8,
        help="Acceptance rate of NUTS; higher is slower, with fewer divergences.",
    )
    parser.add_argument("--ais", type=int, default=0, help="Temperatures of annealing, for log p(x); 0 leaves it out.")
    add_shared(parser, "split", "seed", "data_dir", "device", "output")
    return parser.parse_args()


def main(description: str | None = None) -> None:
    """Compute the true posterior, compare, check, save."""
    options = _options(description)
    run = open_run(options.run, options.data_dir, options.device)
    model, seed = run.model, options.seed
    split = run.split(options.split).take(options.images)
    output = picture(options.run, options.output, "posteriors")
    print(f"{run.data.name}, split {options.split}, pixels {run.pixels}, seed {seed}")
    evidence = annealed(model, split, Annealing(options.ais), seed=seed) if options.ais else None
    truth: Any
    if options.method == "quadrature" or (options.method == "auto" and model.shapes.latent_dim <= 2):
        truth = quadrature_posterior(model, split)
        draws = truth.draws(4 * options.draws, seed=seed)
    else:
        settings = {"warmup": options.warmup, "draws": options.draws, "target_accept": options.target_accept}
        with tqdm(unit="transition", disable=None) as bar:
            truth = draws = nuts_posterior(model, split, **settings, seed=seed, progress=bar.update)
    guide = guide_draws(model, split, 4 * options.draws, seed=seed)
    comparison = compare(model, split, truth, evidence=evidence, seed=seed)
    print(f"{draws.diagnosis()}\n{comparison.table(options.images)}\n{comparison.remark}")
    report = {"images": options.images, "seed": seed, "truth": draws.to_dict(), "comparison": comparison.to_dict()}

    figure, axes = new_figure(3.4 * len(split), 4.1, columns=len(split))
    for i, ax in enumerate(axes):
        plot_posterior(comparison, truth, i, ax, picture=to_unit(split.images[i]).numpy())
        ax.set_title(f"image {options.images[i]} ({run.data.class_names[split.labels[i]]})")
    posterior_legend(axes[0])
    save_figure(figure, output)
    likelihood = importance_weighted(model, split, 1000, seed=seed) if comparison.score == "NLL" else None
    if likelihood is not None:
        checks = [predictive_check(model, split, part, seed=seed) for part in (guide, draws)]
        print(*checks, sep="\n")
        report["predictive"] = [check.to_dict() for check in checks]
        figure, (ax,) = new_figure(0.9 * len(split) + 1.8, 4.7)
        plot_predictive(checks, ax)
        save_figure(figure, output.with_name(f"{output.stem}-predictive{output.suffix}"))
    replace_text(output.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
    print(f"{output}\n{output.with_suffix('.json')}")
    save_arviz(
        to_arviz(model, split, draws, guide=guide, likelihood=likelihood, images=options.images, seed=seed),
        output.with_suffix(".nc"),
    )
    print(output.with_suffix(".nc"))
