"""Train a VAE, a CVAE or an autoencoder by SVI, and write the run to runs/NAME.

python scripts/svi_train.py
python scripts/svi_train.py --data mnist --model CVAE --model.latent_dim 5
python scripts/svi_train.py --optimizer RMSprop --optimizer.lr 1e-3 --objective.warmup 0.2
python scripts/svi_train.py --model.encoder ConvEncoder --model.decoder ConvDecoder --name conv
python scripts/svi_train.py --resume runs/conv
torchrun --nproc_per_node 2 scripts/svi_train.py
"""

from pyrovae.cli import run_command
from pyrovae.cli.train import main

if __name__ == "__main__":
    run_command(main, __doc__)
