"""Estimate a Gaussian for each class in a run's latent space, and draw ellipses of equal probability.

python scripts/latent_space.py runs/mnist-vae-2d
python scripts/latent_space.py runs/mnist-vae-2d --split train --masses [0.5,0.9] --classes [3,5,8] --output 358.pdf
python scripts/latent_space.py runs/mnist-cvae-10d --plane lda
"""

import json
from dataclasses import asdict
from typing import Literal

import numpy as np

from pyrovae import config
from pyrovae.latent import MASSES, class_ellipses, class_gaussians, compare_classes, encode
from pyrovae.latent.gaussians import ellipse
from pyrovae.latent.planes import find_plane
from pyrovae.plots import new_figure, plot_ellipses, save_figure
from pyrovae.training.files import replace_text


def main() -> None:
    """Encode, estimate, draw, print."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--masses", type=list[float], default=list(MASSES), help="Probabilities inside the ellipses.")
    parser.add_argument("--classes", type=list[int] | None, default=None, help="Labels to draw; by default all.")
    parser.add_argument("--estimate", type=Literal["aggregate", "averaged"], default="aggregate", help="Which moments.")
    parser.add_argument("--plane", type=Literal["pair", "pca", "lda"], default="pair", help="Which plane, above 2-D.")
    parser.add_argument("--dims", type=tuple[int, int], default=(0, 1), help="The two dimensions of --plane pair.")
    parser.add_argument("--shrink", type=float, default=0.0, help="Share by which covariances are made round.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir)

    codes = encode(run.model, run.split(options.split))
    whole = class_gaussians(codes, options.classes, estimate=options.estimate, shrink=options.shrink)
    comparison = compare_classes(codes, whole)
    plane = find_plane(codes, options.plane, options.dims)
    seen = codes.project(plane.axes)
    gaussians = class_gaussians(seen, options.classes, estimate=options.estimate, shrink=options.shrink, bootstrap=0)
    ellipses = class_ellipses(seen, gaussians, options.masses)
    prior = [ellipse(np.zeros(2), plane.axes @ plane.axes.T, mass) for mass in options.masses]

    figure, (ax,) = new_figure(7.5, 6)
    plot_ellipses(ellipses, run.data.class_names, ax, prior=prior, names=plane.names)
    ax.set_title(f"{options.estimate} posterior of each class, {len(codes):,} {options.split} images")
    output = config.picture(options.run, options.output, "class_ellipses")
    save_figure(figure, output)

    print("class   images  " + "  ".join(f"inside {mass:g}" for mass in options.masses))
    for label, count in zip(gaussians.classes, gaussians.counts, strict=True):
        inside = "  ".join(f"{e.coverage:{len(f'inside {e.mass:g}')}.3f}" for e in ellipses[int(label)])
        print(f"{run.data.class_names[label]:7} {count:6}  {inside}")
    print(comparison)
    numbers = {name: np.asarray(value).tolist() for name, value in asdict(comparison).items()}
    replace_text(output.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    print(f"{output}\n{output.with_suffix('.json')}")


if __name__ == "__main__":
    config.run_command(main)
