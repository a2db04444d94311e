"""Draw images beside what a run's model makes of them.

python scripts/reconstruct.py runs/mnist-vae-2d --images [0,1,2,3]
python scripts/reconstruct.py runs/mnist-vae-2d --split train --output pairs.svg
"""

from pyrovae import config
from pyrovae.latent import reconstruct
from pyrovae.plots import new_figure, plot_reconstructions, save_figure


def main() -> None:
    """Encode, decode, save."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--images", type=list[int], default=list(range(16)), help="Numbers of images in the split.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir)

    pairs = reconstruct(run.model, run.split(options.split).take(options.images))
    figure, (ax,) = new_figure(0.65 * len(options.images) + 0.8, 1.6)
    plot_reconstructions(pairs, ax)
    output = config.picture(options.run, options.output, "reconstructed")
    save_figure(figure, output)
    print(output)


if __name__ == "__main__":
    config.run_command(main)
