"""Draw the marginals of a few images: the posterior of each latent dimension with the prior and their KL.

python scripts/marginals.py runs/mnist-vae-10d
python scripts/marginals.py runs/mnist-cvae-2d --images [7,12] --output two.svg
"""

from pyrovae.cli import run_command
from pyrovae.cli.marginals import main

if __name__ == "__main__":
    run_command(main, __doc__)
