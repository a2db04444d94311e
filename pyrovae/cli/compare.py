"""Rank runs by the bound of the same images, with the errors of the differences image by image.

pyrovae compare runs/mnist-vae-2d runs/mnist-vae-10d runs/conv
pyrovae compare runs/mnist-vae-2d runs/flow --samples 100 --images 1000 --output ranking.json

Runs of other data, pixels or scores are refused: their figures are of different things.
"""

import json
from pathlib import Path

from tqdm import tqdm

from pyrovae.checks import Count
from pyrovae.cli.options import add_shared, check_place
from pyrovae.factory.parser import Parser
from pyrovae.files import replace_text
from pyrovae.metrics.ranking import rank
from pyrovae.metrics.report import Policy
from pyrovae.runs.loading import open_runs


def main(description: str | None = None) -> None:
    """Measure each run on the same images, rank."""
    parser = Parser(description=description)
    parser.add_option("runs", type=str, nargs="+", help="Run folders, at least two.")
    parser.add_option(
        "--images", type=Count | None, default=None, help="Number of images; by default all of the split."
    )
    parser.add_option("--samples", type=Count, default=1, help="Codes for each image; 1 is the ELBO.")
    add_shared(parser, "split", "engine", "seed", "data_dir", "device", output="File for the numbers, as JSON.")
    options = parser.parse_args()
    folders = [str(Path(run)) for run in options.runs]
    places = [Path(run).resolve() for run in folders]
    twice = {run for run, place in zip(folders, places, strict=True) if places.count(place) > 1}
    if len(folders) < 2 or twice:
        what = f"got {min(twice)} twice" if twice else f"got {folders[0]} alone"
        raise ValueError(f"a comparison needs at least two different runs, {what}")
    if options.output is not None:
        if not Path(options.output).name:
            raise ValueError(f"output must be a file, got {options.output!r}")
        check_place(Path(options.output), "output")
    runs = dict(zip(folders, open_runs(folders, options.data_dir, options.device), strict=True))
    policies = {name: Policy.of(run.model, run.rows, options.split, run.pixels) for name, run in runs.items()}
    split = runs[folders[0]].split(options.split)
    few = split.take(range(min(options.images or len(split), len(split))))
    total = len(runs) * len(few) * max(2, options.samples)
    with tqdm(total=total, unit="code", unit_scale=True, disable=None) as bar:
        found = rank(
            {name: run.model for name, run in runs.items()},
            few,
            policies,
            samples=options.samples,
            engine=options.engine,
            seed=options.seed,
            progress=bar.update,
        )
    print(found)
    if options.output is not None:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
        replace_text(Path(options.output), json.dumps(found.to_dict(), indent=1) + "\n")
        print(options.output)
