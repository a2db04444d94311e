"""Name the classes of images by Bayes' rule with a run's CVAE, p(y | x) from p(x | y), and judge its probabilities.

python scripts/classify.py runs/mnist-cvae-2d
python scripts/classify.py runs/mnist-cvae-10d --images 1000 --samples 500 --engine compiled
"""

import json

from tqdm import tqdm

from pyrovae import config
from pyrovae.files import replace_text
from pyrovae.inspection import classify
from pyrovae.plots import new_figure, plot_reliability, save_figure


def main() -> None:
    """Weigh, name, judge, draw."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder of a conditional model, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--images", type=int, default=1000, help="How many of them.")
    parser.add_argument("--samples", type=int, default=100, help="Codes for each image and class; 1 is the ELBO.")
    parser.add_argument("--engine", type=config.GraphEngine, default="graph", help="compiled pays for large jobs.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the codes.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir, options.device)

    split = run.split(options.split)
    few = split.take(range(min(options.images, len(split))))
    codes = options.samples * len(few) * max(1, run.model.shapes.num_classes)
    with tqdm(total=codes, unit="code", unit_scale=True, disable=None) as bar:
        settings = {"engine": options.engine, "seed": options.seed, "progress": bar.update}
        found = classify(run.model, few, options.samples, **settings)
    figure, (ax,) = new_figure(4.2, 4.2)
    plot_reliability(found.reliability(), ax).set_title(f"{len(few):,} {options.split} images, 95 % bars")
    output = config.picture(options.run, options.output, "reliability")
    save_figure(figure, output)
    replace_text(output.with_suffix(".json"), json.dumps(found.to_dict() | {"seed": options.seed}, indent=1) + "\n")
    print(f"{found}\n{output}\n{output.with_suffix('.json')}")


if __name__ == "__main__":
    config.run_command(main)
