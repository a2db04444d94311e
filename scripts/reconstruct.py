"""Draw images and their reconstructions by a run's model.

python scripts/reconstruct.py runs/mnist-vae-2d --images [0,1,2,3]
python scripts/reconstruct.py runs/mnist-vae-2d --split train --output pairs.svg
"""

from pyrovae.cli import run_command
from pyrovae.cli.reconstruct import main

if __name__ == "__main__":
    run_command(main, __doc__)
