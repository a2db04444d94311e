"""Draw the codes of several runs side by side, in the same square: an autoencoder, the KL term alone, and a VAE.

python scripts/side_by_side.py [runs/autoencoder,runs/kl-only,runs/mnist-vae-2d]
python scripts/side_by_side.py [runs/a,runs/b] --titles [small,large] --limit 5 --images 2000 --output two.pdf

A run of the KL term alone: python scripts/svi_train.py --objective.reconstruction_weight 0 --name kl-only
"""

from pyrovae.cli import run_command
from pyrovae.cli.side_by_side import main

if __name__ == "__main__":
    run_command(main, __doc__)
