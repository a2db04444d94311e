"""Estimate a Gaussian for each class in a run's latent space, and draw ellipses of equal probability.

pyrovae latent-space runs/mnist-vae-2d
pyrovae latent-space runs/mnist-vae-2d --split train --masses [0.5,0.9] --classes [3,5,8] --output 358.pdf
pyrovae latent-space runs/mnist-vae-2d --against train
pyrovae latent-space runs/mnist-cvae-10d --plane lda --images 5000 --colours viridis
"""

import json
from typing import Literal

from jsonargparse import Namespace

from pyrovae.checks import Count, Place, Probability, Share
from pyrovae.cli.classes import ClassName, class_number
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.estimates import for_json
from pyrovae.files import replace_text
from pyrovae.latent import MASSES, agreement, class_ellipses, class_gaussians, compare_classes, ellipse, encode
from pyrovae.latent.codes import prior_moments
from pyrovae.latent.gaussians import coverage_table
from pyrovae.latent.planes import find_plane
from pyrovae.plots import new_figure, plot_ellipses
from pyrovae.runs.loading import open_run


def _options(description: str | None) -> Namespace:
    """Parse the command line."""
    parser = run_parser(description)
    parser.add_option(
        "--images", type=Count | None, default=None, help="Number of images; by default all of the split."
    )
    parser.add_option(
        "--masses", type=list[Probability], default=list(MASSES), help="Probabilities inside the ellipses."
    )
    parser.add_option("--classes", type=list[ClassName] | None, default=None, help="Labels to draw; by default all.")
    parser.add_option(
        "--estimate",
        type=Literal["aggregate", "averaged"],
        default="aggregate",
        help="Covariance of a class: aggregate is right, averaged leaves out the scatter of the means.",
    )
    parser.add_option(
        "--plane",
        type=Literal["pair", "pca", "lda"],
        default="pair",
        help="Plane above 2-D: pair (--dims), pca, or lda, which separates the classes best.",
    )
    parser.add_option("--dims", type=tuple[Place, Place], default=(0, 1), help="The two dimensions of --plane pair.")
    parser.add_option(
        "--shrink", type=Share, default=0.0, help="Share by which covariances are shrunk to a multiple of the identity."
    )
    parser.add_option(
        "--against",
        type=Literal["halves", "train", "validation", "test"] | None,
        default=None,
        help="Test whether another split, or the other half of this one, gives the same Gaussians.",
    )
    parser.add_option("--colours", type=list[str] | str | None, default=None, help="Colours, or a colour map's name.")
    add_shared(parser, "split", "data_dir")
    add_figure(parser)
    return parser.parse_args()


def main(description: str | None = None) -> None:
    """Encode, estimate, draw, print."""
    options = _options(description)
    run = open_run(options.run, options.data_dir)

    names = run.data.class_names
    classes = None if options.classes is None else [class_number(said, names) for said in options.classes]
    settings = {"classes": classes, "estimate": options.estimate, "shrink": options.shrink}
    codes = encode(run.model, run.split(options.split)).first(options.images)
    comparison = compare_classes(codes, class_gaussians(codes, bootstrap=0, **settings))
    plane = find_plane(codes, options.plane, options.dims)
    seen = codes.project(plane.axes)
    gaussians = class_gaussians(seen, bootstrap=0, **settings)
    ellipses = class_ellipses(seen, gaussians, options.masses)
    mean, covariance = prior_moments(run.model)
    prior = [ellipse(plane.axes @ mean, plane.axes @ covariance @ plane.axes.T, mass) for mass in options.masses]

    figure, (ax,) = new_figure(7.5, 7)
    plot_ellipses(ellipses, names, ax, prior=prior, names=plane.names, colours=options.colours)
    shares = " and ".join(", ".join(f"{100 * mass:g}" for mass in options.masses).rsplit(", ", 1))
    title = f"{options.estimate} posterior of {len(codes):,} {options.split} images"
    ax.set_title(f"{title}\nellipses that hold {shares} % of each class; dashed: prior")
    output = figure_path(options, "class_ellipses")
    save_picture(figure, output, options)

    print(coverage_table(ellipses, seen, names))
    print(comparison)
    numbers = for_json(comparison)
    if options.against:
        pair = codes.halves() if options.against == "halves" else (codes, encode(run.model, run.split(options.against)))
        found = agreement(*(class_gaussians(part, **settings) for part in pair))
        print(f"{options.split} against {options.against}: {found}")
        numbers["agreement"] = for_json(found)
    replace_text(output.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    print(f"{output}\n{output.with_suffix('.json')}")
