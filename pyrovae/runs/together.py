"""Several trainings as one program, each a run folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from jsonargparse import Namespace

from pyrovae.runs.job import DATA_OPTIONS
from pyrovae.runs.jobs import Job, check_folders
from pyrovae.runs.training import build_training, finish_run, load_training_data, open_training
from pyrovae.training.ensemble import BrokenMembersError, fit_ensemble


def train_together(
    jobs: Sequence[Job], *, workers: int | None = None, executor: object = None, progress: bool = True
) -> None:
    """Train runs as one program in this process; see `pyrovae.training.ensemble`.

    Each is a run like any other: it can be listed, and resumed alone or together.

    Args:
        jobs: The runs; those that were trained to their end are skipped, and those that were cut off are resumed.
        workers: Must be None: there is one process.
        executor: Must be None.
        progress: Whether to show progress.

    Raises:
        ValueError: If two have the same folder, a folder holds a run of other settings, the runs differ in their data,
            the shape of their models or their batches, there are workers or an executor, or losses are not finite.
        Interrupted: When stopped by the user, after every training has written its checkpoint.
    """
    if workers is not None or executor is not None:
        raise ValueError("--together trains all in one process, so it takes no --workers and no --cluster")
    check_folders(jobs)
    missing = [job for job in jobs if not job.finished]
    if not missing:
        return
    commands = [job.parse() for job in missing]
    _check_data(commands)
    data = load_training_data(commands[0])
    built = [build_training(command, data) for command in commands]
    trainers, models = [trainer for trainer, _ in built], [model for _, model in built]
    broken: dict[int, str] = {}
    with ExitStack() as stack:
        opened = [stack.enter_context(open_training(command, data)) for command in commands]
        places, resumed = [folder for folder, _ in opened], [resume for _, resume in opened]
        try:
            fit_ensemble(trainers, models, data, places, resume=resumed, progress=progress)
        except BrokenMembersError as error:
            broken = error.broken
        for number, (job, trainer, folder) in enumerate(zip(missing, trainers, places, strict=True)):
            if number not in broken:
                if job.tested:
                    finish_run(folder, trainer, data, job.which)
                job.mark_finished()
    if broken:
        words = "; ".join(f"{missing[number].folder.path.name}: {reason}" for number, reason in broken.items())
        raise ValueError(f"{len(broken)} of {len(missing)} trainings broke, and the others are trained: {words}")


def _check_data(commands: Sequence[Namespace]) -> None:
    """Refuse trainings on different images."""
    first = commands[0]
    for command in commands[1:]:
        for name in DATA_OPTIONS:
            if command.get(name) != first.get(name):
                raise ValueError(
                    f"runs that are trained together have the same --{name}, got {first.get(name)} and "
                    f"{command.get(name)}: train them one by one, without --together"
                )
        if first.get("data_labels") is not None and command.seed != first.seed:
            raise ValueError(
                f"--data_labels chooses by the seed which images keep their labels, got the seeds {first.seed} and "
                f"{command.seed}: train them one by one, without --together"
            )
