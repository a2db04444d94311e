"""Add an attribute vector to codes: a row of decoded images for each image, and the measured effect.

pyrovae arithmetic runs/mnist-vae-10d --attribute slant
pyrovae arithmetic runs/mnist-cvae-2d --attribute thickness --share 0.2 --alphas [-2,-1,0,1,2]
pyrovae arithmetic runs/mnist-vae-2d --attribute class:3-vs:5 --images [15,18]
pyrovae arithmetic runs/celeba-vae-32d --attribute Smiling
"""

import json
import math
from dataclasses import replace
from typing import Annotated

import torch
from jsonargparse import Namespace

from pyrovae.checks import Number, Place, Within
from pyrovae.cli.classes import attribute_of
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.data import ImageSet
from pyrovae.estimates import for_json
from pyrovae.files import replace_text
from pyrovae.latent import attribute_effect, attribute_vector, encode, find_attribute, move_along
from pyrovae.latent.arithmetic import Measure
from pyrovae.plots import new_figure, plot_effect, plot_moved
from pyrovae.runs.loading import open_run


def _options(description: str | None) -> Namespace:
    """Parse the command line."""
    parser = run_parser(description)
    parser.add_option(
        "--attribute",
        type=str,
        default="slant",
        help="thickness, slant, length, height or width; class:3, class:3-vs:5; or a name of the set's own (Smiling).",
    )
    parser.add_option("--share", type=float, default=0.5, help="Share of images on each side of a measured attribute.")
    parser.add_option(
        "--within_classes", type=bool, default=False, help="Whether to average the differences inside of each class."
    )
    parser.add_option("--alphas", type=list[Number], default=[-3, -2, -1, 0, 1, 2, 3], help="Multiples of the vector.")
    parser.add_option("--images", type=list[Place], default=list(range(6)), help="Numbers of test images to draw.")
    parser.add_option(
        "--measured", type=Annotated[int, Within(2, math.inf)], default=1000, help="Test images to measure, at most."
    )
    add_shared(parser, "data_dir")
    add_figure(parser)
    return parser.parse_args()


def _columns(data: ImageSet) -> Measure | None:
    """What is measured of a table: its columns, in their own units; None for images."""
    scaling = data.scaling
    if scaling is None or not scaling.columns:
        return None
    return lambda images: dict(
        zip(scaling.columns, scaling.undo(torch.from_numpy(images)).flatten(1).T.numpy(), strict=True)
    )


def main(description: str | None = None) -> None:
    """Find the vector on the training images, move test images along it, measure, draw."""
    options = _options(description)
    run = open_run(options.run, options.data_dir)

    attribute = attribute_of(options.attribute, run.data.class_names, run.data.attribute_names)
    images = run.split("train")
    grey = replace(run.data.split("train"), labels=images.labels)
    has, lacks = find_attribute(attribute, grey, run.data.attribute_names, share=options.share)
    train = encode(run.model, images)
    vector = attribute_vector(train, has, lacks, name=options.attribute, within_classes=options.within_classes)
    test = run.split("test")
    few = encode(run.model, test.take(options.images))
    moved = attribute_effect(
        run.model,
        encode(run.model, test.take(range(min(options.measured, len(test))))),
        vector,
        options.alphas,
        measures=_columns(run.data),
    )
    print(f"{vector}\n{moved}")

    name = options.attribute.replace(":", "-")
    output = figure_path(options, f"arithmetic-{name}")
    figure, (ax,) = new_figure(0.65 * len(options.alphas) + 0.6, 0.65 * len(options.images) + 1.0)
    names = [run.data.class_names[label] for label in few.labels]
    plot_moved(move_along(run.model, few, vector.vector, options.alphas), options.alphas, ax, names)
    ax.set_title(f"test images moved along the vector of {options.attribute}")
    save_picture(figure, output, options)
    figure, axes = new_figure(10, 4.4, columns=2)
    plot_effect(moved, axes)
    figure.suptitle(f"z + α × the vector of {options.attribute}, {moved.images:,} test images, ± one standard error")
    save_picture(figure, output.with_stem(f"{output.stem}-effect"), options)
    numbers = {"vector": for_json(vector), "effect": for_json(moved)}
    replace_text(output.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    print(f"{output}\n{output.with_stem(f'{output.stem}-effect')}\n{output.with_suffix('.json')}")
