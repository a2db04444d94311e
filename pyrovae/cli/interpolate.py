"""Interpolate between images or classes in the latent spaces of one run or several, one row for each pair and run."""

from typing import Annotated

import numpy as np

from pyrovae.checks import Place, Within
from pyrovae.cli.options import add_shared, run_parser
from pyrovae.latent import encode, interpolate, traverse
from pyrovae.latent.traversals import Path as Interpolation
from pyrovae.plots import new_figure, plot_image_grid, save_figure
from pyrovae.runs.loading import open_runs, picture


def main(description: str | None = None) -> None:
    """Encode the ends, interpolate, draw."""
    parser = run_parser(description)
    parser.add_option("--more", type=list[str], default=[], help="Other run folders, to compare.")
    parser.add_option(
        "--pairs", type=list[tuple[Place, Place]], default=[(0, 1), (2, 3), (4, 5)], help="Numbers of test images."
    )
    parser.add_option(
        "--classes",
        type=list[tuple[Place, Place]] | None,
        default=None,
        help="Pairs of classes, from mean to mean, instead.",
    )
    parser.add_option(
        "--steps", type=Annotated[int, Within(2, 10**6)], default=9, help="Images in a row, both ends included."
    )
    parser.add_option("--path", type=Interpolation, default="linear", help="How to go from one code to the other.")
    add_shared(parser, "data_dir", "output")
    options = parser.parse_args()

    rows, names = [], []
    for run in open_runs([options.run, *options.more], options.data_dir):
        test, pairs = run.split("test"), options.classes or options.pairs
        if options.classes:
            codes, labels = encode(run.model, test), np.array(pairs)
            ends = np.array([[codes.class_mean(label) for label in pair] for pair in pairs])
        else:
            codes = encode(run.model, test.take([i for pair in pairs for i in pair]))
            ends, labels = codes.means.reshape(len(pairs), 2, -1), codes.labels.reshape(-1, 2)
        lines = np.stack([interpolate(a, b, options.steps, options.path) for a, b in ends])
        # A conditional model goes with the first end's class to the middle, and with the last one's from there.
        first, last = np.arange(options.steps) < options.steps / 2, labels[:, 1:]
        rows.append(traverse(run.model, lines, np.where(first, labels[:, :1], last)).images)
        names += [f"{run.path.name} {a}, {b}" for a, b in pairs]
    images = np.concatenate(rows)
    figure, (ax,) = new_figure(0.65 * options.steps + 0.1 * max(map(len, names)) + 0.8, 0.65 * len(images) + 0.3)
    plot_image_grid(images, ax, row_labels=names).set_anchor("E")
    output = picture(options.run, options.output, "interpolation")
    save_figure(figure, output)
    print(output)
