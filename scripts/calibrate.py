"""Calibrate a run's guide by simulation: do true codes lie in q(z | x) as one draw among others?

python scripts/calibrate.py runs/mnist-vae-2d
python scripts/calibrate.py runs/mnist-vae-10d --images 5000 --output calibration.pdf
"""

import json

from pyrovae import config
from pyrovae.files import replace_text
from pyrovae.inspection import calibrate
from pyrovae.plots import new_figure, plot_calibration, save_figure


def main() -> None:
    """Simulate, rank, judge, draw."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("run", type=str, help="Run folder, such as runs/NAME.")
    parser.add_argument("--images", type=int, default=1000, help="Images drawn from the model.")
    parser.add_argument("--draws", type=int, default=99, help="Draws of the guide for each.")
    parser.add_argument("--mass", type=float, default=0.95, help="Probability that a calibrated guide passes.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of everything drawn.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda.")
    parser.add_argument("--output", type=str | None, default=None, help="Picture; by default in the run's figures.")
    options = parser.parse_args()
    model = config.load(options.run, device=config.analysis_device(options.device), allow_code=True)

    found = calibrate(model, options.images, options.draws, mass=options.mass, seed=options.seed)
    columns = min(len(found.quantities), 5)
    figure, axes = new_figure(2.6 * columns + 0.6, 2.9, columns=columns)
    plot_calibration(found, axes)
    output = config.picture(options.run, options.output, "calibration")
    save_figure(figure, output)
    replace_text(output.with_suffix(".json"), json.dumps(found.to_dict() | {"seed": options.seed}, indent=1) + "\n")
    print(f"{found}\n{output}\n{output.with_suffix('.json')}")


if __name__ == "__main__":
    config.run_command(main)
