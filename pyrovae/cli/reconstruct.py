"""Draw images and their reconstructions by a run's model.

pyrovae reconstruct runs/mnist-vae-2d --images [0,1,2,3]
pyrovae reconstruct runs/mnist-vae-2d --split train --output pairs.svg
"""

from pyrovae.checks import Place
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.latent import reconstruct
from pyrovae.plots import new_figure, plot_reconstructions
from pyrovae.runs.loading import open_run


def main(description: str | None = None) -> None:
    """Encode, decode, save."""
    parser = run_parser(description)
    parser.add_option("--images", type=list[Place], default=list(range(16)), help="Numbers of images in the split.")
    add_shared(parser, "split", "data_dir")
    add_figure(parser)
    options = parser.parse_args()
    run = open_run(options.run, options.data_dir)

    pairs = reconstruct(run.model, run.split(options.split).take(options.images))
    figure, (ax,) = new_figure(0.65 * len(options.images) + 0.8, 1.9)
    plot_reconstructions(pairs, ax).set_title(f"{options.split} images and their reconstructions")
    output = figure_path(options, "reconstructed")
    save_picture(figure, output, options)
    print(output)
