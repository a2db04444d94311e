"""Classify images by Bayes' rule with a run's CVAE, p(y | x) from p(x | y), and check the probabilities.

pyrovae classify runs/mnist-cvae-2d
pyrovae classify runs/mnist-cvae-10d --images 1000 --samples 500 --engine compiled
"""

import json

from tqdm import tqdm

from pyrovae.checks import Count
from pyrovae.cli.options import add_figure, add_shared, figure_path, save_picture
from pyrovae.factory.parser import Parser
from pyrovae.files import replace_text
from pyrovae.inference.classes import classify, predict_labels
from pyrovae.plots import new_figure, plot_reliability
from pyrovae.runs.loading import open_run


def main(description: str | None = None) -> None:
    """Classify, check, draw."""
    parser = Parser(description=description)
    parser.add_option("run", type=str, help="Run folder of a conditional model, such as runs/NAME.")
    parser.add_option("--images", type=Count, default=1000, help="Number of images, at most.")
    parser.add_option(
        "--samples", type=Count, default=100, help="Codes for each image and class; with 1 the bound is the ELBO."
    )
    add_shared(parser, "split", "engine", "seed", "data_dir", "device")
    add_figure(parser)
    options = parser.parse_args()
    run = open_run(options.run, options.data_dir, options.device)

    split = run.true_labels(options.split)
    few = split.take(range(min(options.images, len(split))))
    codes = options.samples * len(few) * max(1, run.model.shapes.num_classes)
    with tqdm(total=codes, unit="code", unit_scale=True, disable=None) as bar:
        settings = {"engine": options.engine, "seed": options.seed, "progress": bar.update}
        found = classify(run.model, few, options.samples, **settings)
    by_guide = predict_labels(run.model, few) if run.model.infers_labels else None
    figure, (ax,) = new_figure(4.8, 4.8)
    plot_reliability(found.reliability(), ax).set_title(f"{len(few):,} {options.split} images (counts at the points)")
    output = figure_path(options, "reliability")
    save_picture(figure, output, options)
    numbers = found.to_dict() | {"seed": options.seed}
    if by_guide is not None:
        numbers["guide"] = by_guide.to_dict()
        print(by_guide)
    replace_text(output.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    print(f"{found}\n{output}\n{output.with_suffix('.json')}")
