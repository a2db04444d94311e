"""Estimate a Gaussian for each class in a run's latent space, and draw ellipses of equal probability.

python scripts/latent_space.py runs/mnist-vae-2d
python scripts/latent_space.py runs/mnist-vae-2d --split train --masses [0.5,0.9] --classes [3,5,8] --output 358.pdf
python scripts/latent_space.py runs/mnist-vae-2d --against train
python scripts/latent_space.py runs/mnist-cvae-10d --plane lda --images 5000 --colours viridis
"""

from pyrovae.cli import run_command
from pyrovae.cli.latent_space import main

if __name__ == "__main__":
    run_command(main, __doc__)
