"""Traverse a run's latent space: a grid around a code, single dimensions, or every class at one code.

python scripts/traverse.py runs/mnist-vae-2d --around class:9 --rows 9 --columns 9 --step 0.5
python scripts/traverse.py runs/mnist-vae-10d --around image:12 --axes true
python scripts/traverse.py runs/mnist-cvae-2d --label 9
python scripts/traverse.py runs/mnist-cvae-2d --every_class true
"""

from pyrovae.cli import run_command
from pyrovae.cli.traverse import main

if __name__ == "__main__":
    run_command(main, __doc__)
