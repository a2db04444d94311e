"""Test the calibration of a run's guide by simulation: are true codes distributed like draws from q(z | x)?

pyrovae calibrate runs/mnist-vae-2d
pyrovae calibrate runs/mnist-vae-10d --images 5000 --output calibration.pdf
"""

import json

from pyrovae.checks import Count, Probability
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.diagnostics.calibration import calibrate
from pyrovae.files import replace_text
from pyrovae.plots import new_figure, plot_calibration
from pyrovae.runs.loading import analysis_device, load

MOST = 24
"""Quantities that are drawn."""


def main(description: str | None = None) -> None:
    """Simulate, rank, test, draw."""
    parser = run_parser(description)
    parser.add_option("--images", type=Count, default=1000, help="Images drawn from the model.")
    parser.add_option("--draws", type=Count, default=99, help="Draws from the guide for each image.")
    parser.add_option("--mass", type=Probability, default=0.95, help="Probability that a calibrated guide passes.")
    add_shared(parser, "seed", "device")
    add_figure(parser)
    options = parser.parse_args()
    model = load(options.run, device=analysis_device(options.device), allow_code=True)

    found = calibrate(model, options.images, options.draws, mass=options.mass, seed=options.seed)
    shown = min(len(found.quantities), MOST)
    columns = min(shown, 6)
    rows = -(-shown // columns)
    figure, axes = new_figure(2.6 * columns + 0.6, 2.7 * rows + 0.6, columns, rows)
    plot_calibration(found, axes[:shown])
    for ax in axes[shown:]:
        ax.remove()
    left_out = "" if shown == len(found.quantities) else f"; {shown} of {len(found.quantities)} quantities"
    title = f"ranks of true codes among {found.draws} draws of q, {options.images:,} images"
    figure.suptitle(f"{title}; grey: {100 * options.mass:g} % band{left_out}")
    output = figure_path(options, "calibration")
    save_picture(figure, output, options)
    replace_text(output.with_suffix(".json"), json.dumps(found.to_dict() | {"seed": options.seed}, indent=1) + "\n")
    print(f"{found}\n{output}\n{output.with_suffix('.json')}")
