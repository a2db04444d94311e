"""Run the whole study of the seed documents: train, measure, draw, decide each claim, and write one report.

python scripts/study.py --budget quick
python scripts/study.py --budget standard --output_dir runs/study
python scripts/study.py --budget standard --only [4,5]

Give the same command again to go on after an interruption: what is there is not trained again.
"""

from pathlib import Path

from pyrovae import config
from pyrovae.study import BUDGETS, BudgetName, conduct
from pyrovae.study.report import claims_markdown


def main() -> None:
    """Parse, conduct, print."""
    parser = config.Parser(description=__doc__)
    parser.add_argument("--budget", type=BudgetName, default="quick", help="quick: digits; standard, full: MNIST.")
    parser.add_argument("--only", type=list[int] | None, default=None, help="Numbers of the claims; by default all.")
    parser.add_argument("--output_dir", type=str | None, default=None, help="Folder; by default runs/study-BUDGET.")
    parser.add_argument("--data_dir", type=str | None, default=None, help="Folder of the image sets.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps.")
    parser.add_argument("--workers", type=int | None, default=None, help="Trainings at a time; by default one a core.")
    parser.add_argument("--progress", type=bool, default=True, help="Whether to show progress.")
    options = parser.parse_args()
    folder = Path(options.output_dir or f"runs/study-{options.budget}")
    claims = conduct(
        BUDGETS[options.budget],
        folder,
        data_dir=options.data_dir,
        device=options.device,
        only=options.only,
        workers=options.workers,
        progress=options.progress,
    )
    print(claims_markdown(claims))
    print(f"{folder / 'report.html'}\n{folder / 'claims.json'}")


if __name__ == "__main__":
    config.run_command(main)
