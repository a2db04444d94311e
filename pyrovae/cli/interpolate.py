"""Interpolate between images or classes in the latent spaces of one run or several, one row for each pair and run.

pyrovae interpolate runs/mnist-vae-2d --pairs [[3,7],[0,12]]
pyrovae interpolate runs/mnist-vae-2d --classes [[3,8],[4,9]]
pyrovae interpolate runs/mnist-vae-2d --more [runs/mnist-autoencoder-2d] --path spherical --steps 11
"""

from typing import Annotated

import numpy as np
from jsonargparse import Namespace

from pyrovae.checks import Place, Within
from pyrovae.cli.classes import ClassName, class_number
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.data import to_unit
from pyrovae.latent import encode, interpolate, traverse
from pyrovae.latent.traversals import Path as Interpolation
from pyrovae.plots import new_figure, plot_interpolation
from pyrovae.runs.loading import Run, open_runs


def _options(description: str | None) -> Namespace:
    """What the command line says."""
    parser = run_parser(description)
    parser.add_option("--more", type=list[str], default=[], help="Other run folders, to compare.")
    parser.add_option(
        "--pairs", type=list[tuple[Place, Place]], default=[(0, 1), (2, 3), (4, 5)], help="Numbers of test images."
    )
    parser.add_option(
        "--classes",
        type=list[tuple[ClassName, ClassName]] | None,
        default=None,
        help="Pairs of classes instead, from mean to mean.",
    )
    parser.add_option(
        "--steps", type=Annotated[int, Within(2, 10**6)], default=9, help="Images in a row, both ends included."
    )
    parser.add_option("--path", type=Interpolation, default="linear", help="How to go from one code to the other.")
    add_shared(parser, "data_dir")
    add_figure(parser)
    return parser.parse_args()


def _ways(run: Run, options: Namespace) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """What one run decodes between each pair, the images at the ends if there are any, and a name for each row."""
    test, pairs, word = run.split("test"), options.classes or options.pairs, ""
    if options.classes:
        pairs = [[class_number(said, run.data.class_names) for said in pair] for pair in options.classes]
        codes, labels, inputs = encode(run.model, test), np.array(pairs), None
        ends, word = np.array([[codes.class_mean(label) for label in pair] for pair in pairs]), "mean "
    else:
        few = test.take([i for pair in pairs for i in pair])
        codes = encode(run.model, few)
        ends, labels = codes.means.reshape(len(pairs), 2, -1), codes.labels.reshape(-1, 2)
        inputs = to_unit(few.images).unflatten(0, (-1, 2)).numpy()
    lines = np.stack([interpolate(a, b, options.steps, options.path) for a, b in ends])
    # A conditional model goes with the first end's class to the middle, and with the last one's from there.
    first = np.arange(options.steps) < options.steps / 2
    decoded = traverse(run.model, lines, np.where(first, labels[:, :1], labels[:, 1:])).images
    classes = run.data.class_names
    return decoded, inputs, [f"{run.path.name}: {word}{classes[a]} → {word}{classes[b]}" for a, b in labels]


def main(description: str | None = None) -> None:
    """Encode the ends, interpolate, draw."""
    options = _options(description)
    runs = open_runs([options.run, *options.more], options.data_dir)
    decoded, inputs, labels = zip(*(_ways(run, options) for run in runs), strict=True)
    images, names = np.concatenate(decoded), [name for some in labels for name in some]
    ends = None if options.classes else np.concatenate(inputs)
    columns = options.steps + (0 if ends is None else 2)
    figure, (ax,) = new_figure(0.65 * columns + 0.1 * max(map(len, names)) + 0.8, 0.65 * len(images) + 0.6)
    plot_interpolation(images, ax, ends=ends, row_labels=names)
    output = figure_path(options, "interpolation")
    save_picture(figure, output, options)
    print(output)
