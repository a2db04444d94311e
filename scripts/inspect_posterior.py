"""Compare a run's guide with the true posterior of chosen images, and split their gap into its parts.

python scripts/inspect_posterior.py runs/mnist-vae-2d --images [3,7,12]
python scripts/inspect_posterior.py runs/mnist-vae-10d --draws 1000 --target_accept 0.95 --ais 500
python scripts/inspect_posterior.py runs/mnist-vae-2d --method nuts --output posteriors.pdf
"""

from pyrovae.cli import run_command
from pyrovae.cli.inspect_posterior import main

if __name__ == "__main__":
    run_command(main, __doc__)
