"""Inpaint: give a run's model half of each image, and draw completions of the other half.

pyrovae inpaint runs/mnist-vae-2d --images [3,7,12]
pyrovae inpaint runs/mnist-vae-10d --seen top --method svi --completions 10
"""

from tqdm import tqdm

from pyrovae.checks import Count, Place
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.inference.inpainting import Half, Method, half, inpaint
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.runs.loading import open_run


def main(description: str | None = None) -> None:
    """Draw codes given the observed half, decode, save."""
    parser = run_parser(description)
    parser.add_option("--images", type=list[Place], default=[3, 7, 12, 15], help="Numbers of images in the split.")
    parser.add_option("--seen", type=Half, default="left", help="The half that is seen.")
    parser.add_option(
        "--method", type=Method, default="auto", help="How p(z | x_seen) is found: auto is quadrature up to 2-D."
    )
    parser.add_option("--completions", type=Count, default=8, help="Completed images shown for each.")
    add_shared(parser, "split", "seed", "data_dir", "device")
    add_figure(parser)
    options = parser.parse_args()
    run = open_run(options.run, options.data_dir, options.device)

    split = run.split(options.split).take(options.images)
    settings = {"method": options.method, "completions": options.completions, "seed": options.seed}
    with tqdm(unit_scale=True, disable=None) as bar:
        found = inpaint(run.model, split, half(run.data.image_shape, options.seen), **settings, progress=bar.update)
    columns = ["image", "seen", *(f"draw {n}" for n in range(1, options.completions + 1)), "mean"]
    figure, (ax,) = new_figure(0.75 * len(columns) + 1.2, 0.75 * len(split) + 0.8)
    names = [f"{n} ({run.data.class_names[y]})" for n, y in zip(options.images, split.labels, strict=True)]
    plot_image_grid(found.grid(), ax, row_labels=names, column_labels=columns)
    ax.set_title(f"{options.split} images of which the {options.seen} half is seen, completed by p(z | seen)")
    output = figure_path(options, "inpainted")
    save_picture(figure, output, options)
    print(f"{found.posterior.diagnosis()}\n{output}")
