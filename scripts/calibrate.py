"""Calibrate a run's guide by simulation: do true codes lie in q(z | x) as one draw among others?

python scripts/calibrate.py runs/mnist-vae-2d
python scripts/calibrate.py runs/mnist-vae-10d --images 5000 --output calibration.pdf
"""

from pyrovae.cli import run_command
from pyrovae.cli.calibrate import main

if __name__ == "__main__":
    run_command(main, __doc__)
