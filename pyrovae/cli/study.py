"""Run the study of the seed documents: train, measure, draw, decide each claim, and write one report.

pyrovae study --budget quick
pyrovae study --budget standard --output_dir runs/study
pyrovae study --budget standard --only [4,5]
pyrovae study --budget standard --only [11,12] --seeds [0]
pyrovae study --budget standard --data fashion-mnist --output_dir runs/study-fashion

The same command continues after an interruption. Finished runs are not trained again.
"""

from pathlib import Path

from pyrovae.checks import Place, Seed
from pyrovae.cli.command import repeatable
from pyrovae.cli.options import TRAININGS, add_shared
from pyrovae.factory.parser import Parser
from pyrovae.runs.executors import training_executor
from pyrovae.studies.seeds import BUDGETS, BudgetName, run_study
from pyrovae.studies.seeds.report import claims_markdown


def main(description: str | None = None) -> None:
    """Parse, run the study, print."""
    parser = Parser(description=description)
    parser.add_option("--budget", type=BudgetName, default="quick", help="quick: digits; standard, full: MNIST.")
    parser.add_option(
        "--data", type=str | None, default=None, help="Another set of grey images, in 10 classes or more."
    )
    parser.add_option("--only", type=list[Place] | None, default=None, help="Numbers of the claims; by default all.")
    parser.add_option(
        "--seeds",
        type=list[Seed] | None,
        default=None,
        help="Seeds of the runs that are repeated; by default the budget's.",
    )
    parser.add_option("--output_dir", type=str | None, default=None, help="Folder; by default runs/study-BUDGET.")
    parser.add_option("--progress", type=bool, default=True, help="Whether to show progress.")
    add_shared(
        parser, "cluster", data_dir="Folder of the image sets.", device="auto, cpu, cuda or mps.", workers=TRAININGS
    )
    options = parser.parse_args()
    folder = Path(options.output_dir or f"runs/study-{options.budget}")
    with repeatable(), training_executor(options.workers, options.cluster) as executor:
        claims = run_study(
            BUDGETS[options.budget],
            folder,
            data=options.data,
            data_dir=options.data_dir,
            device=options.device,
            only=options.only,
            seeds=options.seeds,
            workers=options.workers,
            executor=executor,
            progress=options.progress,
        )
    print(claims_markdown(claims))
    print(f"{folder / 'report.html'}\n{folder / 'claims.json'}")
