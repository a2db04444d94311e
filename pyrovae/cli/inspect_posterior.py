"""Compare a run's guide with the true posterior of chosen images, and split their gap into its parts.

pyrovae inspect runs/mnist-vae-2d --images [3,7,12]
pyrovae inspect runs/mnist-vae-10d --draws 1000 --target_accept 0.95 --ais 500
pyrovae inspect runs/mnist-vae-2d --method nuts --output posteriors.pdf
"""

import json
from concurrent.futures import Executor
from pathlib import Path
from typing import Annotated, Any, Literal

from jsonargparse import Namespace
from tqdm import tqdm

from pyrovae.checks import Count, Place, Probability, Within
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, to_unit
from pyrovae.diagnostics.export import save_arviz, to_arviz
from pyrovae.diagnostics.gap import Comparison, compare
from pyrovae.diagnostics.predictive import predictive_check
from pyrovae.files import replace_text
from pyrovae.inference.annealing import Annealing, annealed
from pyrovae.inference.blocks import GROUPS
from pyrovae.inference.draws import PosteriorDraws, guide_draws
from pyrovae.inference.grid import GridPosterior, quadrature_posterior
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.plots import Figure, new_figure, plot_posterior, plot_predictive, posterior_legend
from pyrovae.runs.executors import chosen_executor
from pyrovae.runs.loading import Run, open_run


def _options(description: str | None) -> Namespace:
    """Parse the command line."""
    parser = run_parser(description)
    parser.add_option("--images", type=list[Place], default=[3, 7, 12], help="Numbers of images in the split.")
    parser.add_option(
        "--method",
        type=Literal["auto", "quadrature", "nuts"],
        default="auto",
        help="How the true posterior is found: auto is quadrature up to 2-D, else nuts.",
    )
    parser.add_option(
        "--draws", type=Annotated[int, Within(4, 10**8)], default=300, help="Draws of each of four chains of NUTS."
    )
    parser.add_option("--warmup", type=Count, default=300, help="Warm-up transitions of each chain.")
    parser.add_option("--target_accept", type=Probability, default=0.8, help="Higher: slower, with fewer divergences.")
    parser.add_option("--ais", type=Place, default=0, help="Temperatures of annealing, for log p(x); 0 for none.")
    add_shared(parser, "split", "seed", "data_dir", "device", "cluster")
    add_shared(
        parser, workers="Processes that share the images of NUTS and --ais; the results are the same to the bit."
    )
    add_figure(parser)
    return parser.parse_args()


def _truth(
    run: Run, split: Split, options: Namespace, executor: Executor | None
) -> tuple[GridPosterior | PosteriorDraws, PosteriorDraws]:
    """The true posterior as it was found, and draws from it."""
    if options.method == "quadrature" or (options.method == "auto" and run.model.shapes.latent_dim <= 2):
        grid = quadrature_posterior(run.model, split)
        return grid, grid.draws(4 * options.draws, seed=options.seed)
    settings = {"warmup": options.warmup, "draws": options.draws, "target_accept": options.target_accept}
    with tqdm(unit="transition", disable=None) as bar:
        draws = nuts_posterior(run.model, split, **settings, seed=options.seed, executor=executor, progress=bar.update)
    return draws, draws


def _draw_posteriors(
    run: Run, split: Split, comparison: Comparison, truth: GridPosterior | PosteriorDraws, numbers: list[int]
) -> Figure:
    """Guide and truth of each image, side by side."""
    figure, axes = new_figure(3.4 * len(split), 3.9, columns=len(split))
    for i, ax in enumerate(axes):
        plot_posterior(comparison, truth, i, ax, picture=to_unit(split.images[i]).numpy())
        ax.set_title(f"image {numbers[i]} ({run.data.class_names[split.labels[i]]})")
    posterior_legend(axes[0])
    return figure


def _check_predictions(
    run: Run, split: Split, codes: list[PosteriorDraws], output: Path, options: Namespace
) -> list[dict[str, Any]]:
    """Print and draw the predictive checks by the guide's codes and the true ones; none where values are missing."""
    try:
        checks = [predictive_check(run.model, split, part, seed=options.seed) for part in codes]
    except NotApplicable as error:
        print(f"no predictive check: {error}")
        return []
    print(*checks, sep="\n")
    figure, (ax,) = new_figure(0.9 * len(split) + 1.8, 4.7)
    plot_predictive(checks, ax)
    picture = output.with_name(f"{output.stem}-predictive{output.suffix}")
    save_picture(figure, picture, options)
    print(picture)
    return [check.to_dict() for check in checks]


def main(description: str | None = None) -> None:
    """Compute the true posterior, compare, check, save."""
    options = _options(description)
    run = open_run(options.run, options.data_dir, options.device)
    model, seed = run.model, options.seed
    split = run.split(options.split).take(options.images)
    output = figure_path(options, "posteriors")
    print(f"{run.data.name}, split {options.split}, pixels {run.pixels}, seed {seed}")
    with chosen_executor(options.workers, options.cluster, most=GROUPS) as executor:
        evidence = annealed(model, split, Annealing(options.ais), seed=seed, executor=executor) if options.ais else None
        truth, draws = _truth(run, split, options, executor)
    guide = guide_draws(model, split, 4 * options.draws, seed=seed)
    comparison = compare(model, split, truth, evidence=evidence, seed=seed)
    print(f"{draws.diagnosis()}\n{comparison.table(options.images)}\n{comparison.remark}")
    report: dict[str, Any] = {"images": options.images, "seed": seed, "truth": draws.to_dict()}
    report["comparison"] = comparison.to_dict()
    save_picture(_draw_posteriors(run, split, comparison, truth, options.images), output, options)
    likelihood = importance_weighted(model, split, 1000, seed=seed) if comparison.score == "NLL" else None
    if likelihood is not None:
        report["predictive"] = _check_predictions(run, split, [guide, draws], output, options)
    replace_text(output.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
    print(f"{output}\n{output.with_suffix('.json')}")
    known = {"guide": guide, "likelihood": likelihood, "images": options.images}
    save_arviz(to_arviz(model, split, draws, **known, seed=seed), output.with_suffix(".nc"))
    print(output.with_suffix(".nc"))
