"""Draw images from a run's own prior: any number, or a row for each class of a CVAE.

python scripts/generate.py runs/mnist-vae-2d --rows 5 --columns 12
python scripts/generate.py runs/mnist-cvae-2d --classes [9,9,9] --output nines.pdf
"""

import torch

from pyrovae import config
from pyrovae.latent import sample_per_class, sample_prior
from pyrovae.plots import new_figure, plot_image_grid, save_figure


def main() -> None:
    """Draw, decode, save."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--rows", type=int, default=10, help="Rows of images; a CVAE draws one for each class.")
    parser.add_argument("--columns", type=int, default=10, help="Images in a row.")
    parser.add_argument("--classes", type=list[int] | None, default=None, help="The class of each row, of a CVAE.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    model, info = config.load(options.run, allow_code=True), config.run_info(options.run)

    if model.shapes.num_classes or options.classes:
        classes = None if options.classes is None else torch.tensor(options.classes)
        samples = sample_per_class(model, options.columns, classes=classes, seed=options.seed)
    else:
        samples = sample_prior(model, options.rows, options.columns, seed=options.seed)
    names = None if samples.labels is None else [info.class_names[k] for k in samples.labels]
    rows, columns = samples.images.shape[:2]
    figure, (ax,) = new_figure(0.6 * columns + 0.4, 0.6 * rows + 0.3)
    plot_image_grid(samples.images, ax, row_labels=names)
    output = config.picture(options.run, options.output, "generated")
    save_figure(figure, output)
    print(output)


if __name__ == "__main__":
    config.run_command(main)
