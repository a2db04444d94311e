"""Fill in the values that are missing in a run's data: means, intervals and draws, in the units of the data.

python scripts/impute.py runs/mine-vae-2d
python scripts/impute.py runs/mine-vae-2d --samples 10000 --draws 100 --mass 0.5
python scripts/impute.py runs/mine-vae-2d --table other.csv
"""

from pyrovae.cli import run_command
from pyrovae.cli.impute import main

if __name__ == "__main__":
    run_command(main, __doc__)
