"""Show a run's model half of each image, and draw what the other half may be.

python scripts/inpaint.py runs/mnist-vae-2d --images [3,7,12]
python scripts/inpaint.py runs/mnist-vae-10d --seen top --method svi --completions 10
"""

from tqdm import tqdm

from pyrovae import config
from pyrovae.inspection import Half, Method, half, inpaint
from pyrovae.plots import new_figure, plot_image_grid, save_figure


def main() -> None:
    """Draw codes of the seen half, decode, save."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--split", type=config.SplitName, default="test", help="Which images.")
    parser.add_argument("--images", type=list[int], default=[3, 7, 12, 15], help="Numbers of images in the split.")
    parser.add_argument("--seen", type=Half, default="left", help="The half that is seen.")
    parser.add_argument("--method", type=Method, default="auto", help="Of p(z | x_seen).")
    parser.add_argument("--completions", type=int, default=8, help="Completed images shown for each.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the images.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    run = config.open_run(options.run, options.data_dir, options.device)

    split = run.split(options.split).take(options.images)
    settings = {"method": options.method, "completions": options.completions, "seed": options.seed}
    with tqdm(unit_scale=True, disable=None) as bar:
        found = inpaint(run.model, split, half(run.data.image_shape, options.seen), **settings, progress=bar.update)
    columns = ["image", "seen", *[""] * options.completions, "mean"]
    figure, (ax,) = new_figure(0.75 * len(columns) + 0.6, 0.75 * len(split) + 0.5)
    plot_image_grid(found.grid(), ax, row_labels=[str(number) for number in options.images], column_labels=columns)
    output = config.picture(options.run, options.output, "inpainted")
    save_figure(figure, output)
    print(f"{found.posterior.diagnosis()}\n{output}")


if __name__ == "__main__":
    config.run_command(main)
