"""Add an attribute vector to codes: a row of decoded images for each image, and the measured effect.

python scripts/arithmetic.py runs/mnist-vae-10d --attribute slant
python scripts/arithmetic.py runs/mnist-cvae-2d --attribute thickness --share 0.2 --alphas [-2,-1,0,1,2]
python scripts/arithmetic.py runs/mnist-vae-2d --attribute class:3-vs:5 --images [15,18]
python scripts/arithmetic.py runs/celeba-vae-32d --attribute Smiling
"""

from pyrovae.cli import run_command
from pyrovae.cli.arithmetic import main

if __name__ == "__main__":
    run_command(main, __doc__)
