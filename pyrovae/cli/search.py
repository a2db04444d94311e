"""Search for the options of a training with the best bound of the validation images, by Optuna, with many workers.

pyrovae search --data digits --space "model.latent_dim=int(2,50)" --space "optimizer.lr=log(1e-4,1e-2)"
pyrovae search --data mnist --epochs 20 --space "model.prior=choice(StandardNormal,VampPrior)" --trials 40
pyrovae search --space "model.latent_dim=int(2,50)" --runs_dir /shared/runs --cluster tcp://10.0.0.1:8786

A range is int(2,50), int(2,50,4) in steps of 4, logint(8,512), float(0,1), log(1e-4,1e-2) or choice(a,b,c).
All other options are those of pyrovae train and hold for every trial. The same command goes on with a search
that was stopped, and may run several times at once on machines that share the folder. No test image is looked at.
"""

import sys
from pathlib import Path

from pyrovae.checks import Count, Seed
from pyrovae.cli.command import repeatable
from pyrovae.cli.options import add_shared, divide_words
from pyrovae.factory.parser import Parser, underscored
from pyrovae.program import command_line
from pyrovae.runs.executors import training_executor
from pyrovae.runs.search import Pruner, Sampler, search_runs
from pyrovae.runs.training import parse_training


def main(description: str | None = None) -> None:
    """Search, print the trials and how to train the best one again."""
    parser = Parser(description=description)
    parser.add_argument("--space", type=str, action="append", default=[], help="OPTION=RANGE; give it several times.")
    parser.add_option("--trials", type=Count, default=20, help="Trials in all.")
    parser.add_option(
        "--sampler", type=Sampler, default="tpe", help="How trials are chosen: tpe learns from earlier ones."
    )
    parser.add_option("--pruner", type=Pruner, default="median", help="Rule that stops bad trials early.")
    parser.add_option("--sampler_seed", type=Seed, default=0, help="Seed of the sampler.")
    add_shared(parser, "cluster", workers="Trials at a time on this machine; by default one a core.")
    names = [name for action in parser._actions for name in action.option_strings]
    own, training = divide_words([underscored(word) for word in sys.argv[1:]], names)
    options, settings = parser.parse_args(own), parse_training(training)
    _, shared = divide_words(training, ["--name", "--runs_dir", "--progress", "--overwrite"])
    name = settings.name or "search"
    with repeatable(), training_executor(options.workers, options.cluster) as executor:
        found = search_runs(
            shared,
            options.space,
            Path(settings.runs_dir) / name,
            trials=options.trials,
            sampler=options.sampler,
            pruner=options.pruner,
            seed=options.sampler_seed,
            workers=options.workers,
            executor=executor,
            progress=settings.progress,
        )
    print(found)
    again = command_line("train", *found.best_options, "--runs_dir", settings.runs_dir, "--name", f"{name}-best")
    print(f"train the best again: {again}")
