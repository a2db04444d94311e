"""Inpaint: give a run's model half of each image, and draw completions of the other half.

python scripts/inpaint.py runs/mnist-vae-2d --images [3,7,12]
python scripts/inpaint.py runs/mnist-vae-10d --seen top --method svi --completions 10
"""

from pyrovae.cli import run_command
from pyrovae.cli.inpaint import main

if __name__ == "__main__":
    run_command(main, __doc__)
