"""Interpolate between images or classes in the latent spaces of one run or several, one row for each pair and run.

python scripts/interpolate.py runs/mnist-vae-2d --pairs [[3,7],[0,12]]
python scripts/interpolate.py runs/mnist-vae-2d --classes [[3,8],[4,9]]
python scripts/interpolate.py runs/mnist-vae-2d --more [runs/mnist-autoencoder-2d] --path spherical --steps 11
"""

import numpy as np

from pyrovae import config
from pyrovae.latent import encode, line, walk
from pyrovae.latent.walks import Path as Interpolation
from pyrovae.plots import new_figure, plot_image_grid, save_figure


def main() -> None:
    """Encode the ends, walk between them, draw."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--more", type=list[str], default=[], help="Other run folders, to compare.")
    parser.add_argument(
        "--pairs", type=list[tuple[int, int]], default=[(0, 1), (2, 3), (4, 5)], help="Numbers of test images."
    )
    parser.add_argument(
        "--classes",
        type=list[tuple[int, int]] | None,
        default=None,
        help="Pairs of classes, from mean to mean, instead.",
    )
    parser.add_argument("--steps", type=int, default=9, help="Images in a row, both ends included.")
    parser.add_argument("--path", type=Interpolation, default="linear", help="How to go from one code to the other.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()

    rows, names = [], []
    for run in config.open_runs([options.run, *options.more], options.data_dir):
        test, pairs = run.split("test"), options.classes or options.pairs
        if options.classes:
            codes, labels = encode(run.model, test), np.array(pairs)
            ends = np.array([[codes.class_mean(label) for label in pair] for pair in pairs])
        else:
            codes = encode(run.model, test.take([i for pair in pairs for i in pair]))
            ends, labels = codes.means.reshape(len(pairs), 2, -1), codes.labels.reshape(-1, 2)
        lines = np.stack([line(a, b, options.steps, options.path) for a, b in ends])
        # A conditional model goes with the first end's class to the middle, and with the last one's from there.
        first, last = np.arange(options.steps) < options.steps / 2, labels[:, 1:]
        rows.append(walk(run.model, lines, np.where(first, labels[:, :1], last)).images)
        names += [f"{run.path.name} {a}, {b}" for a, b in pairs]
    images = np.concatenate(rows)
    figure, (ax,) = new_figure(0.65 * options.steps + 0.1 * max(map(len, names)) + 0.8, 0.65 * len(images) + 0.3)
    plot_image_grid(images, ax, row_labels=names).set_anchor("E")
    output = config.picture(options.run, options.output, "interpolation")
    save_figure(figure, output)
    print(output)


if __name__ == "__main__":
    config.run_command(main)
