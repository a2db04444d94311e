"""Evaluate a run: bound, log p(x), failures of the guide, parts of the KL, quality of samples, accuracy of codes.

Of a set with known factors (shapes) also disentanglement: MIG, SAP and DCI.

python scripts/evaluate.py runs/mnist-vae-2d
python scripts/evaluate.py runs/mnist-vae-10d --images 10000 --samples 5000 --engine compiled
python scripts/evaluate.py runs/mnist-vae-10d --ais 500 --classifier true --against runs/mnist-vae-2d
python scripts/evaluate.py runs/mnist-vae-10d --images 10000 --ais 500 --workers 8
"""

from pyrovae.cli import run_command
from pyrovae.cli.evaluate import main

if __name__ == "__main__":
    run_command(main, __doc__)
