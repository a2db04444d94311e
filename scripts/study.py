"""Run the study of the seed documents: train, measure, draw, decide each claim, and write one report.

python scripts/study.py --budget quick
python scripts/study.py --budget standard --output_dir runs/study
python scripts/study.py --budget standard --only [4,5]
python scripts/study.py --budget standard --only [11,12] --seeds [0]
python scripts/study.py --budget standard --data fashion-mnist --output_dir runs/study-fashion

The same command continues after an interruption. Finished runs are not trained again.
"""

from pyrovae.cli import run_command
from pyrovae.cli.study import main

if __name__ == "__main__":
    run_command(main, __doc__)
