"""Test the calibration of a run's guide by simulation: are true codes distributed like draws from q(z | x)?

python scripts/calibrate.py runs/mnist-vae-2d
python scripts/calibrate.py runs/mnist-vae-10d --images 5000 --output calibration.pdf
"""

from pyrovae.cli import run_command
from pyrovae.cli.calibrate import main

if __name__ == "__main__":
    run_command(main, __doc__)
