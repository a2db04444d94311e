"""Evaluate a run: bound, log p(x), failures of the guide, parts of the KL, quality of samples, accuracy of codes.

Of a set with known factors (shapes) also disentanglement: MIG, SAP and DCI.

pyrovae evaluate runs/mnist-vae-2d
pyrovae evaluate runs/mnist-vae-10d --images 10000 --samples 5000 --engine compiled
pyrovae evaluate runs/mnist-vae-10d --ais 500 --classifier true --against runs/mnist-vae-2d
pyrovae evaluate runs/mnist-vae-10d --images 10000 --ais 500 --workers 8
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from jsonargparse import Namespace
from tqdm import tqdm

from pyrovae.checks import Count, Place
from pyrovae.cli.options import add_shared, check_place, figure_path, run_parser, save_picture
from pyrovae.data import PixelPolicy, fixed_split
from pyrovae.diagnostics.information import density_ratio
from pyrovae.files import replace_text
from pyrovae.inference.annealing import Annealing
from pyrovae.inference.blocks import GROUPS
from pyrovae.metrics.disentanglement import Factors
from pyrovae.metrics.report import EvaluationBudget, Policy, Report, check_comparable, compare_reports, evaluate
from pyrovae.metrics.samples import trained_classifier
from pyrovae.plots import new_figure, plot_density_ratio
from pyrovae.runs.executors import chosen_executor
from pyrovae.runs.loading import open_run
from pyrovae.runtime import device_of


def _options(description: str | None) -> Namespace:
    """Parse the command line."""
    parser = run_parser(description)
    parser.add_option("--pixels", type=PixelPolicy | None, default=None, help="Refused if not those of the run.")
    parser.add_option("--images", type=Count, default=200, help="Images for log p(x); the bound takes the whole split.")
    parser.add_option("--samples", type=Count, default=1000, help="Codes for each image, k.")
    parser.add_option("--points", type=Count, default=200, help="Quadrature points along each side, for a 2-D code.")
    parser.add_option("--others", type=Count, default=2000, help="Images for parts of the KL, samples and codes.")
    parser.add_option("--ais", type=Place, default=0, help="Temperatures of annealing; 0 for none.")
    parser.add_option("--classifier", type=bool, default=False, help="Whether to train one for the quality of samples.")
    parser.add_option("--against", type=str | None, default=None, help="Another run that was evaluated before.")
    add_shared(parser, "split", "engine", "seed", "data_dir", "device", "size", "format", "style", "dpi", "cluster")
    add_shared(parser, workers="Processes that share the images of log p(x); the results are the same to the bit.")
    return parser.parse_args()


def main(description: str | None = None) -> None:
    """Estimate, print, save."""
    options = _options(description)
    run = open_run(options.run, options.data_dir, options.device)
    check_place(run.path / "evaluation.json")
    split, file, predict = run.split(options.split), f"evaluation-{options.split}.json", None
    policy, other = Policy.of(run.model, run.rows, options.split, run.pixels, options.pixels), None
    if options.against:
        other = Report.read(Path(options.against) / file)
        check_comparable(policy, other.policy, (str(run.path), options.against))
    labelled = run.data.split(options.split).with_known_labels()
    labelled = fixed_split(labelled, run.pixels) if len(labelled) < len(split) else split
    factors = None
    if run.data.factors is not None:
        factors = Factors.of(run.data, "train"), Factors.of(run.data, options.split)
    annealing = Annealing(options.ais, engine=options.engine) if options.ais else None
    budget = EvaluationBudget(
        options.images, options.samples, options.points, options.engine, annealing, others=options.others
    )
    if options.classifier:
        predict = trained_classifier(run.data, run.pixels, seed=options.seed, device=device_of(run.model))
    with chosen_executor(options.workers, options.cluster, most=GROUPS) as executor, ExitStack() as bars:

        def progress(what: str, total: int) -> Callable[[int], object]:
            return bars.enter_context(tqdm(total=total, desc=what, unit_scale=True, disable=None)).update

        report = evaluate(
            run.model,
            split,
            policy,
            budget,
            train=run.split("train"),
            labelled=labelled,
            predict=predict,
            factors=factors,
            seed=options.seed,
            executor=executor,
            progress=progress,
        )
    print(report)
    replace_text(run.path / file, json.dumps(report.to_dict(), indent=1) + "\n")
    print(run.path / file)
    if run.model.shapes.latent_dim == 2 and "parts of the KL" not in report.missing:
        figure, (ax,) = new_figure(6, 5)
        plot_density_ratio(density_ratio(run.model, split.take(range(min(len(split), options.others)))), ax)
        picture = figure_path(options, "aggregate_posterior")
        save_picture(figure, picture, options)
        print(picture)
    if other is not None:
        print(compare_reports(report, other, (str(run.path), options.against)))
