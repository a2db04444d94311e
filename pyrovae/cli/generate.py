"""Draw samples from a run's prior: a grid of any size, or a row for each class of a CVAE.

pyrovae generate runs/mnist-vae-2d --rows 5 --columns 12
pyrovae generate runs/mnist-cvae-2d --classes [9,9,9] --output nines.pdf
"""

import torch

from pyrovae.checks import Count
from pyrovae.cli.classes import ClassName, class_number
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.latent import sample_per_class, sample_prior
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.runs.config_file import run_info
from pyrovae.runs.loading import load


def main(description: str | None = None) -> None:
    """Draw, decode, save."""
    parser = run_parser(description)
    parser.add_option("--rows", type=Count, default=10, help="Rows of images; a CVAE draws one for each class.")
    parser.add_option("--columns", type=Count, default=10, help="Images in a row.")
    parser.add_option("--classes", type=list[ClassName] | None, default=None, help="The class of each row, of a CVAE.")
    add_shared(parser, "seed")
    add_figure(parser)
    options = parser.parse_args()
    model, info = load(options.run, allow_code=True), run_info(options.run)

    if model.shapes.num_classes or options.classes is not None:
        chosen = [class_number(said, info.class_names) for said in options.classes or ()]
        classes = None if options.classes is None else torch.tensor(chosen, dtype=torch.int64)
        samples = sample_per_class(model, options.columns, classes=classes, seed=options.seed)
    else:
        samples = sample_prior(model, options.rows, options.columns, seed=options.seed)
    names = None if samples.labels is None else [info.class_names[k] for k in samples.labels]
    rows, columns = samples.images.shape[:2]
    figure, (ax,) = new_figure(0.6 * columns + 0.4, 0.6 * rows + 0.5)
    plot_image_grid(samples.images, ax, row_labels=names).set_title("samples")
    output = figure_path(options, "generated")
    save_picture(figure, output, options)
    print(output)
