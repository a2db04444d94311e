"""Traverse a run's latent space: a grid around a code, single dimensions, or every class at one code.

pyrovae traverse runs/mnist-vae-2d --around class:9 --rows 9 --columns 9 --step 0.5
pyrovae traverse runs/mnist-vae-10d --around image:12 --axes true
pyrovae traverse runs/mnist-cvae-2d --label 9
pyrovae traverse runs/mnist-cvae-2d --every_class true
"""

import numpy as np
from jsonargparse import Namespace

from pyrovae.checks import Count, Place, Positive
from pyrovae.cli.classes import ClassName, class_number
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.latent import axes_through, encode, every_class, grid_around, traverse
from pyrovae.plots import new_figure, plot_traversal
from pyrovae.runs.loading import Run, open_run


def centre_of(run: Run, around: str) -> np.ndarray:
    """The code in the middle: the origin, a class's mean or an image's posterior mean, (latent_dim,)."""
    kind, _, number = around.partition(":")
    if around == "origin":
        return np.zeros(run.model.shapes.latent_dim)
    if kind not in ("class", "image") or not number or (kind == "image" and not number.isdigit()):
        raise ValueError(f"around must be origin, class:LABEL or image:NUMBER, got {around!r}")
    test = run.split("test")
    if kind == "image":
        return encode(run.model, test.take([int(number)])).means[0]
    return encode(run.model, test).class_mean(class_number(number, run.data.class_names))


def title_of(run: Run, options: Namespace) -> str:
    """What a traversal shows, in words."""
    kind, _, number = options.around.partition(":")
    names = {
        "class": lambda: f"the mean code of class {run.data.class_names[class_number(number, run.data.class_names)]}",
        "image": lambda: f"test image {number}",
    }
    around = names.get(kind, lambda: "the origin")()
    if options.every_class:
        return f"codes around {around}, decoded as each class"
    what = "single dimensions through" if options.axes else "decoded codes around"
    return f"{what} {around}" + ("" if options.label is None else f", as class {run.data.class_names[options.label]}")


def main(description: str | None = None) -> None:
    """Choose codes, decode, draw."""
    parser = run_parser(description)
    parser.add_option("--around", type=str, default="origin", help="Code in the middle: origin, class:9 or image:12.")
    parser.add_option("--rows", type=Count, default=9, help="Codes from top to bottom.")
    parser.add_option("--columns", type=Count, default=9, help="Codes from left to right.")
    parser.add_option("--step", type=Positive, default=0.5, help="Distance of neighbours, in units of the code.")
    parser.add_option("--dims", type=tuple[Place, Place], default=(0, 1), help="The dimensions of the grid.")
    parser.add_option("--label", type=ClassName | None, default=None, help="The class to decode with, of a CVAE.")
    parser.add_option("--axes", type=bool, default=False, help="Whether to traverse each dimension instead.")
    parser.add_option(
        "--every_class",
        type=bool,
        default=False,
        help="Whether to decode one code with every class, a column each (CVAE).",
    )
    add_shared(parser, "data_dir")
    add_figure(parser)
    options = parser.parse_args()
    if options.axes and options.every_class:
        raise ValueError("axes and every_class are two traversals: choose one")
    run = open_run(options.run, options.data_dir)
    if options.label is not None and not run.model.shapes.num_classes:
        raise ValueError(f"this model does not look at labels, so label {options.label} would change nothing: leave it")
    if options.label is not None:
        options.label = class_number(options.label, run.data.class_names)
    centre, dims, rows, columns = centre_of(run, options.around), options.dims, None, None
    if options.axes:
        values = options.step * (np.arange(options.columns) - (options.columns - 1) / 2)
        found, dims = traverse(run.model, axes_through(centre, list(values), None), options.label), ()
        rows = [f"z[{d}]" for d in range(len(centre))]
        columns = [f"{value:.3g}".replace("-", "−") for value in values]
    elif options.every_class:
        codes = grid_around(centre, rows=1, columns=options.rows, step=options.step, dims=dims)[0]
        found, columns, dims = every_class(run.model, codes), list(run.data.class_names), ()
        rows = [f"z[{options.dims[0]}] = {code[options.dims[0]]:.2f}".replace("-", "−") for code in codes]
    else:
        codes = grid_around(centre, rows=options.rows, columns=options.columns, step=options.step, dims=dims)
        found = traverse(run.model, codes, options.label)
    figure, (ax,) = new_figure(0.75 * found.images.shape[1] + 0.6, 0.75 * found.images.shape[0] + 0.8)
    plot_traversal(found, ax, dims=dims, row_labels=rows, column_labels=columns)
    ax.set_title(title_of(run, options))
    output = figure_path(options, "traversal")
    save_picture(figure, output, options)
    print(output)
