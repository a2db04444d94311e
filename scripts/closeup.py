"""Look closely at a few images: the posterior of each latent dimension beside the prior, with its KL.

python scripts/closeup.py runs/mnist-vae-10d
python scripts/closeup.py runs/mnist-cvae-2d --images [7,12] --output two.svg
"""

from pyrovae import config
from pyrovae.latent import closeup
from pyrovae.plots import new_figure, plot_closeup, save_figure


def main() -> None:
    """Encode, compare, draw, print."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--images", type=list[int], default=list(range(6)), help="Numbers of images in the split.")
    parser.add_argument("--dims", type=list[int] | None, default=None, help="Dimensions to draw; by default all.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir)

    found = closeup(run.model, run.split(options.split).take(options.images), dims=options.dims)
    columns = 1 + len(found.dims)
    figure, axes = new_figure(1.3 * columns + 0.4, 0.95 * len(options.images) + 0.3, columns, len(options.images))
    plot_closeup(found, run.data.class_names, axes)
    output = config.picture(options.run, options.output, "closeup")
    save_figure(figure, output)
    print(f"{found}\n{output}")


if __name__ == "__main__":
    config.run_command(main)
