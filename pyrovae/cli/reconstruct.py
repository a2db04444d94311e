"""Draw images and their reconstructions by a run's model."""

from pyrovae.checks import Place
from pyrovae.cli.options import add_shared, run_parser
from pyrovae.latent import reconstruct
from pyrovae.plots import new_figure, plot_reconstructions, save_figure
from pyrovae.runs.loading import open_run, picture


def main(description: str | None = None) -> None:
    """Encode, decode, save."""
    parser = run_parser(description)
    parser.add_option("--images", type=list[Place], default=list(range(16)), help="Numbers of images in the split.")
    add_shared(parser, "split", "data_dir", "output")
    options = parser.parse_args()
    run = open_run(options.run, options.data_dir)

    pairs = reconstruct(run.model, run.split(options.split).take(options.images))
    figure, (ax,) = new_figure(0.65 * len(options.images) + 0.8, 1.9)
    plot_reconstructions(pairs, ax).set_title(f"{options.split} images and their reconstructions")
    output = picture(options.run, options.output, "reconstructed")
    save_figure(figure, output)
    print(output)
