"""Draw the marginals of a few images: the posterior of each latent dimension with the prior and their KL.

pyrovae marginals runs/mnist-vae-10d
pyrovae marginals runs/mnist-cvae-2d --images [7,12] --output two.svg
"""

import numpy as np

from pyrovae.checks import Place
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.latent import marginals
from pyrovae.plots import new_figure, plot_marginals
from pyrovae.runs.loading import open_run

MOST = 10
"""Dimensions that are drawn unless others are asked for."""


def main(description: str | None = None) -> None:
    """Encode, compare, draw, print."""
    parser = run_parser(description)
    parser.add_option("--images", type=list[Place], default=list(range(6)), help="Numbers of images in the split.")
    parser.add_option(
        "--dims",
        type=list[Place] | None,
        default=None,
        help=f"Dimensions to draw; by default those {MOST} of the largest KL.",
    )
    add_shared(parser, "split", "data_dir")
    add_figure(parser)
    options = parser.parse_args()
    run = open_run(options.run, options.data_dir)

    few = run.split(options.split).take(options.images)
    found = marginals(run.model, few, dims=options.dims)
    print(found.table(options.images, run.data.class_names))
    drawn = found
    if options.dims is None and len(found.dims) > MOST:
        largest = sorted(np.argsort(-found.kl.mean(0), kind="stable")[:MOST])
        drawn = marginals(run.model, few, dims=[int(found.dims[j]) for j in largest])
    columns = 1 + len(drawn.dims)
    figure, axes = new_figure(1.3 * columns + 0.4, 0.95 * len(options.images) + 0.7, columns, len(options.images))
    plot_marginals(drawn, run.data.class_names, axes)
    which = (
        "each latent dimension" if drawn is found else f"the {MOST} of {len(found.dims)} dimensions of the largest KL"
    )
    figure.suptitle(
        f"posterior of {which} (colour), prior (grey)\nKL in nats; each curve has its own height", fontsize=10
    )
    output = figure_path(options, "marginals")
    save_picture(figure, output, options)
    print(output)
