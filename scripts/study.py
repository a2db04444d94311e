"""Run the whole study of the seed documents: train, measure, draw, decide each claim, and write one report.

python scripts/study.py --budget quick
python scripts/study.py --budget standard --output_dir runs/study
python scripts/study.py --budget standard --only [4,5]

Give the same command again to go on after an interruption: what is there is not trained again.
"""

from pyrovae.cli import run_command
from pyrovae.cli.study import main

if __name__ == "__main__":
    run_command(main, __doc__)
