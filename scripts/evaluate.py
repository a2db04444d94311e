"""Evaluate a run: bound, log p(x), where the guide fails, parts of the KL, quality of samples, accuracy of codes.

python scripts/evaluate.py runs/mnist-vae-2d
python scripts/evaluate.py runs/mnist-vae-10d --images 10000 --samples 5000 --engine compiled
python scripts/evaluate.py runs/mnist-vae-10d --ais 500 --classifier true --against runs/mnist-vae-2d
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from pyrovae import config, evaluation
from pyrovae.data import PixelPolicy
from pyrovae.files import replace_text
from pyrovae.plots import new_figure, plot_density_ratio, save_figure
from pyrovae.runtime import device_of


def main() -> None:
    """Estimate, print, keep."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--pixels", type=PixelPolicy | None, default=None, help="Refused if not those of the run.")
    parser.add_argument("--images", type=int, default=200, help="Images for log p(x); the bound takes the whole split.")
    parser.add_argument("--samples", type=int, default=1000, help="Codes for each image, k.")
    parser.add_argument("--points", type=int, default=200, help="Quadrature points along each side, for a 2-D code.")
    parser.add_argument("--others", type=int, default=2000, help="Images for parts of the KL, samples and codes.")
    parser.add_argument("--ais", type=int, default=0, help="Temperatures of annealing; 0 for none.")
    parser.add_argument("--classifier", type=bool, default=False, help="Whether to train one that judges samples.")
    parser.add_argument("--engine", type=config.GraphEngine, default="graph", help="compiled pays for large jobs.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of all draws.")
    parser.add_argument("--against", type=str | None, default=None, help="Another run that was evaluated before.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir, options.device)
    split, file, judging = run.split(options.split), f"evaluation-{options.split}.json", None
    policy, other = evaluation.Policy.of(run.model, run.data.name, options.split, run.pixels, options.pixels), None
    if options.against:
        other = evaluation.Report.read(Path(options.against) / file)
        evaluation.check_comparable(policy, other.policy, (str(run.path), options.against))
    annealing = evaluation.Annealing(options.ais, engine=options.engine) if options.ais else None
    budget = evaluation.Budget(
        options.images, options.samples, options.points, options.engine, annealing, others=options.others
    )
    if options.classifier:
        judging = evaluation.trained_judge(run.data, run.pixels, seed=options.seed, device=device_of(run.model))
    with ExitStack() as bars:

        def progress(what: str, total: int) -> Callable[[int], object]:
            return bars.enter_context(tqdm(total=total, desc=what, unit_scale=True, disable=None)).update

        report = evaluation.evaluate(
            run.model,
            split,
            policy,
            budget,
            train=run.split("train"),
            judge=judging,
            seed=options.seed,
            progress=progress,
        )
    print(report)
    replace_text(run.path / file, json.dumps(report.to_dict(), indent=1) + "\n")
    print(run.path / file)
    if run.model.shapes.latent_dim == 2 and "parts of the KL" not in report.missing:
        figure, (ax,) = new_figure(6, 5)
        plot_density_ratio(evaluation.density_ratio(run.model, split.take(range(min(len(split), options.others)))), ax)
        save_figure(figure, config.picture(run.path, None, "aggregate_posterior"))
    if other is not None:
        print(evaluation.compare(report, other, (str(run.path), options.against)))


if __name__ == "__main__":
    config.run_command(main)
