"""Draw samples from a run's prior: a grid of any size, or a row for each class of a CVAE.

python scripts/generate.py runs/mnist-vae-2d --rows 5 --columns 12
python scripts/generate.py runs/mnist-cvae-2d --classes [9,9,9] --output nines.pdf
"""

from pyrovae.cli import run_command
from pyrovae.cli.generate import main

if __name__ == "__main__":
    run_command(main, __doc__)
