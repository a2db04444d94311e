"""Train the same model with several weights of the KL term in parallel, and draw rate against distortion.

pyrovae sweep --data digits --name sweep
pyrovae sweep --low 0.01 --high 100 --points 9 --data mnist --model.latent_dim 10 --epochs 10 --name ten
pyrovae sweep --betas [0,0.5,1,4] --config my.yaml --workers 2
pyrovae sweep --data mnist --runs_dir /shared/runs --cluster tcp://10.0.0.1:8786
pyrovae sweep --data digits --together true --name one-program

All other options are those of pyrovae train. Finished runs are not trained again, and interrupted ones continue.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np

from pyrovae.checks import NotNegative, Positive, Within
from pyrovae.cli.command import repeatable
from pyrovae.cli.options import TRAININGS, add_figure, add_shared, divide_words, figure_path, save_picture
from pyrovae.estimates import for_json
from pyrovae.factory.parser import Parser
from pyrovae.files import replace_text
from pyrovae.metrics.rate_distortion import rate_distortion
from pyrovae.plots import new_figure, plot_rate_distortion
from pyrovae.runs.executors import training_executor
from pyrovae.runs.jobs import Job, train_runs
from pyrovae.runs.loading import open_run
from pyrovae.runs.together import train_together
from pyrovae.runs.training import parse_training
from pyrovae.training import RunFolder


def main(description: str | None = None) -> None:
    """Train the missing runs, measure, draw."""
    parser = Parser(description=description)
    parser.add_option("--low", type=Positive, default=0.1, help="Smallest weight.")
    parser.add_option("--high", type=Positive, default=10.0, help="Largest weight.")
    parser.add_option(
        "--points",
        type=Annotated[int, Within(2, 1000)],
        default=7,
        help="Number of weights, evenly spaced in their logarithms.",
    )
    parser.add_option("--betas", type=list[NotNegative] | None, default=None, help="The weights themselves, instead.")
    parser.add_option("--together", type=bool, default=False, help="Train all as one program, in this process.")
    add_shared(parser, "cluster", split="Images to measure.", workers=TRAININGS)
    add_figure(parser, "Picture; by default beside the runs.")
    names = [name for action in parser._actions for name in action.option_strings]
    own, training = divide_words(sys.argv[1:], names)
    options, settings = parser.parse_args(own), parse_training(training)
    if options.betas is None and not (0 < options.low < options.high and options.points > 1):
        raise ValueError(f"a log grid needs 0 < low < high and 2 points, got {options.low:g} to {options.high:g}")
    if settings.model.class_path.endswith(".Autoencoder"):
        raise ValueError("an autoencoder has no KL term to weight, and so no rate: use --model VAE or CVAE")
    betas = options.betas or np.geomspace(options.low, options.high, options.points).tolist()

    name = settings.name or "sweep"
    folders = [RunFolder(Path(settings.runs_dir) / f"{name}-beta{beta:.4g}") for beta in betas]
    jobs = [
        Job(folder, (*training, "--objective.beta", f"{beta:.4g}")) for folder, beta in zip(folders, betas, strict=True)
    ]
    with repeatable(), training_executor(options.workers, options.cluster) as executor:
        train = train_together if options.together else train_runs
        train(jobs, workers=options.workers, executor=executor, progress=settings.progress)
    runs = [open_run(folder.path, settings.data_dir) for folder in folders]
    weight = settings.objective.init_args.get("reconstruction_weight", 1.0)
    split = runs[0].split(options.split)
    found = rate_distortion([run.model for run in runs], [beta / weight for beta in betas], split)

    output = figure_path(options, f"{name}-rate-distortion", folder=Path(settings.runs_dir))
    figure, (ax,) = new_figure(7, 5)
    plot_rate_distortion(found, ax).set_title(f"{runs[0].data.name}, {len(split):,} {options.split} images")
    save_picture(figure, output, options)
    replace_text(output.with_suffix(".json"), json.dumps(for_json(found), indent=1) + "\n")
    print(f"{found}\n{output}\n{output.with_suffix('.json')}")
