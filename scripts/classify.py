"""Classify images by Bayes' rule with a run's CVAE, p(y | x) from p(x | y), and check the probabilities.

python scripts/classify.py runs/mnist-cvae-2d
python scripts/classify.py runs/mnist-cvae-10d --images 1000 --samples 500 --engine compiled
"""

from pyrovae.cli import run_command
from pyrovae.cli.classify import main

if __name__ == "__main__":
    run_command(main, __doc__)
