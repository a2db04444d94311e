"""Train the same model with several weights of the KL term, side by side, and draw rate against distortion.

python scripts/beta_sweep.py --data digits --name sweep
python scripts/beta_sweep.py --low 0.01 --high 100 --points 9 --data mnist --model.latent_dim 10 --epochs 10 --name ten
python scripts/beta_sweep.py --betas [0,0.5,1,4] --config my.yaml --workers 2

All other options are those of scripts/svi_train.py. Runs that are there are not trained again, and those that were cut
off go on.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pyrovae import config
from pyrovae.evaluation.rate_distortion import rate_distortion
from pyrovae.files import replace_text
from pyrovae.plots import new_figure, plot_rate_distortion, save_figure
from pyrovae.training import RunFolder


def main() -> None:
    """Train what is missing, measure, draw."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("--low", type=float, default=0.1, help="Smallest weight.")
    parser.add_argument("--high", type=float, default=10.0, help="Largest weight.")
    parser.add_argument("--points", type=int, default=7, help="Number of weights, evenly spaced in their logarithms.")
    parser.add_argument("--betas", type=list[float] | None, default=None, help="The weights themselves, instead.")
    parser.add_argument("--workers", type=int | None, default=None, help="Trainings at a time; by default one a core.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Images to measure.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default beside the runs.")
    names = [name for action in parser._actions for name in action.option_strings]
    own, training = config.divide_words(sys.argv[1:], names)
    options, settings = parser.parse_args(own), config.parse_training(training)
    if options.betas is None and not (0 < options.low < options.high and options.points > 1):
        raise ValueError(f"a log grid needs 0 < low < high and 2 points, got {options.low:g} to {options.high:g}")
    if settings.model.class_path.endswith(".Autoencoder"):
        raise ValueError("an autoencoder has no KL term to weight, and so no rate: use --model VAE or CVAE")
    betas = options.betas or np.geomspace(options.low, options.high, options.points).tolist()

    name = settings.name or "sweep"
    folders = [RunFolder(Path(settings.runs_dir) / f"{name}-beta{beta:.4g}") for beta in betas]
    jobs = [
        config.Job(folder, (*training, "--objective.beta", f"{beta:.4g}"))
        for folder, beta in zip(folders, betas, strict=True)
    ]
    config.train_runs(jobs, workers=options.workers, progress=settings.progress)
    runs = [config.open_run(folder.path, settings.data_dir) for folder in folders]
    weight = settings.objective.init_args.get("reconstruction_weight", 1.0)
    split = runs[0].split(options.split)
    found = rate_distortion([run.model for run in runs], [beta / weight for beta in betas], split)

    output = Path(options.output or Path(settings.runs_dir) / f"{name}-rate-distortion.png")
    figure, (ax,) = new_figure(7, 5)
    plot_rate_distortion(found, ax).set_title(f"{runs[0].data.name}, {len(split):,} {options.split} images")
    save_figure(figure, output)
    replace_text(output.with_suffix(".json"), json.dumps(asdict(found), indent=1, default=np.ndarray.tolist) + "\n")
    print(f"{found}\n{output}\n{output.with_suffix('.json')}")


if __name__ == "__main__":
    config.run_command(main)
