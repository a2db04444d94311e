"""Interpolate between images or classes in the latent spaces of one run or several, one row for each pair and run.

python scripts/interpolate.py runs/mnist-vae-2d --pairs [[3,7],[0,12]]
python scripts/interpolate.py runs/mnist-vae-2d --classes [[3,8],[4,9]]
python scripts/interpolate.py runs/mnist-vae-2d --more [runs/mnist-autoencoder-2d] --path spherical --steps 11
"""

from pyrovae.cli import run_command
from pyrovae.cli.interpolate import main

if __name__ == "__main__":
    run_command(main, __doc__)
