"""Look closely at a few images: the posterior of each latent dimension beside the prior, with its KL."""

from pyrovae.checks import Place
from pyrovae.cli.options import add_shared, run_parser
from pyrovae.latent import marginals
from pyrovae.plots import new_figure, plot_marginals, save_figure
from pyrovae.runs.loading import open_run, picture


def main(description: str | None = None) -> None:
    """Encode, compare, draw, print."""
    parser = run_parser(description)
    parser.add_option("--images", type=list[Place], default=list(range(6)), help="Numbers of images in the split.")
    parser.add_option("--dims", type=list[Place] | None, default=None, help="Dimensions to draw; by default all.")
    add_shared(parser, "split", "data_dir", "output")
    options = parser.parse_args()
    run = open_run(options.run, options.data_dir)

    found = marginals(run.model, run.split(options.split).take(options.images), dims=options.dims)
    columns = 1 + len(found.dims)
    figure, axes = new_figure(1.3 * columns + 0.4, 0.95 * len(options.images) + 0.3, columns, len(options.images))
    plot_marginals(found, run.data.class_names, axes)
    output = picture(options.run, options.output, "marginals")
    save_figure(figure, output)
    print(f"{found}\n{output}")
