"""Several trainings in parallel. Finished ones are skipped."""

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from jsonargparse import Namespace

from pyrovae.factory.build import build_trainer, instantiate
from pyrovae.files import replace_text
from pyrovae.runs.stored import read_config
from pyrovae.runs.training import build_training, finish_run, load_training_data, open_training, parse_training
from pyrovae.runs.workers import KilledError, Workers
from pyrovae.runtime import choose_device
from pyrovae.training import RunFolder
from pyrovae.training.interrupts import Interrupted, InterruptFlag
from pyrovae.training.order import order_of
from pyrovae.training.progress import Progress

POLL = 0.5
"""Seconds between two updates of the progress."""
ON_A_GPU = 2
"""Default number of parallel trainings on one GPU."""


@dataclass(frozen=True)
class Job:
    """One of several trainings.

    Attributes:
        folder: Where it is kept.
        options: Its options of scripts/svi_train.py, but for where it goes.
        which: The weights that its test images are measured by; see `finish_run`.
        cost: What one of its steps costs beside those of the others, for the progress bar.
    """

    folder: RunFolder
    options: tuple[str, ...]
    which: str | None = None
    cost: int = 1

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end by these options, which are the last thing that is written."""
        try:
            return json.loads(self.folder.command.read_text(encoding="utf-8")) == self._made_by
        except (FileNotFoundError, ValueError, RecursionError):  # not there, or damaged and so written anew
            return False

    def parse(self) -> Namespace:
        """Its command line, with `resume` if there is a checkpoint.

        Raises:
            ValueError: If its folder holds a run of other settings.
        """
        if self.folder.can_resume:
            saved = read_config(self.folder)
            where = ("--name", saved["name"], "--runs_dir", saved["runs_dir"], "--resume", str(self.folder.path))
            try:
                return parse_training([*self.options, *where])
            except ValueError as error:
                raise ValueError(
                    f"{self.folder.path} holds another run than is asked for ({error}): remove that folder, or choose "
                    f"another place"
                ) from error
        self.folder.check_resumable()
        # A folder without a checkpoint was cut off in its first epoch: nothing is lost.
        path = self.folder.path
        where = ("--name", path.name, "--runs_dir", str(path.parent), "--overwrite", "true")
        return parse_training([*self.options, *where])

    def train(self) -> None:
        """Train or resume it silently to its end, and test it."""
        arguments = self.parse()
        data = load_training_data(arguments)
        trainer, model = build_training(arguments, data)
        with open_training(arguments, data) as (folder, resume):
            trainer.fit(model, data, folder, resume=resume, progress=False)
            finish_run(folder, trainer, data, self.which)
            replace_text(folder.command, json.dumps(self._made_by, indent=1) + "\n")

    def steps_done(self) -> int:
        """Steps that its metrics tell of."""
        try:
            rows = self.folder.rows() if self.folder.can_resume else []
            return int(rows[-1].get("step", 0)) if rows else 0
        except ValueError:  # damaged, and written anew when it goes on
            return 0

    @property
    def _made_by(self) -> dict[str, object]:
        return {"options": list(self.options), "weights": self.which}


def train_runs(jobs: Sequence[Job], *, workers: int | None = None, progress: bool = True) -> None:
    """Train runs in separate processes, with one progress bar for all.

    Args:
        jobs: The runs; those that were trained to their end are skipped, and those that were cut off are resumed.
        workers: Trainings at a time; by default as many as there are cores, and two on a GPU.
        progress: Whether to show progress.

    Raises:
        ValueError: If two have the same folder, a folder holds a run of other settings, or a training cannot be done.
        ChildProcessError: If the process of a training was killed; the others were trained to their ends.
        KeyboardInterrupt: When stopped by the user, after every training in hand has written its checkpoint.
    """
    folders = [job.folder.path.resolve() for job in jobs]
    twice = [folder for folder in folders if folders.count(folder) > 1]
    if twice:
        raise ValueError(f"{len(twice)} of the trainings have the same folder, {twice[0]}: give each another name")
    missing = [job for job in jobs if not job.finished]
    if missing:
        commands = [job.parse() for job in missing]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        on_gpu = any(choose_device(command.device).type != "cpu" for command in commands)
        workers = min(workers or (ON_A_GPU if on_gpu else cores), len(missing))
        tasks = [job.train for job in missing]
        with InterruptFlag() as flag, Workers(tasks, workers, max(1, cores // workers)) as pool:
            try:
                killed = _follow(missing, _steps(commands), pool, flag, progress)
            except BaseException:
                pool.stop()
                raise
        if killed:
            raise ChildProcessError(
                f"{len(killed)} of {len(missing)} trainings did not end ({'; '.join(killed)}): give the same command "
                f"again to go on with those, with fewer --workers if memory ran out"
            )


def _follow(
    jobs: Sequence[Job], totals: Sequence[int], pool: Workers, flag: InterruptFlag, progress: bool
) -> list[str]:
    """Show how far the trainings are until all are done, one fails or the user stops them.

    Returns:
        Those whose process was killed, and by what.
    """
    names = [job.folder.path.name for job in jobs]
    ended: set[int] = set()
    killed: list[str] = []

    def cost_done() -> int:
        steps = [
            total if i in ended else min(job.steps_done(), total)
            for i, (job, total) in enumerate(zip(jobs, totals, strict=True))
        ]
        return sum(job.cost * done for job, done in zip(jobs, steps, strict=True))

    done = cost_done()
    whole = sum(job.cost * total for job, total in zip(jobs, totals, strict=True))
    with Progress(whole, done, enabled=progress) as bar:
        while len(ended) < len(jobs):
            for number, error in pool.step(POLL):
                ended.add(number)
                if flag.signal or (isinstance(error, Interrupted) and error.args == (signal.SIGINT,)):
                    raise KeyboardInterrupt
                if isinstance(error, KilledError | Interrupted):
                    killed.append(f"{names[number]}: {error if isinstance(error, KilledError) else 'it was stopped'}")
                    bar.say(f"{killed[-1]}; the others go on")
                elif error is not None:
                    raise error
            if flag.signal:
                raise KeyboardInterrupt
            now = cost_done()
            if now != done:
                text = " ".join(names[i] for i in pool.running[:2])
                bar.advance(now - done, f"{len(ended)}/{len(jobs)} runs  {text}")
            done = now
    return killed


def _steps(commands: Sequence[Namespace]) -> list[int]:
    """Number of steps of each training; each image set is loaded once."""
    sizes: dict[tuple[object, ...], int] = {}
    found = []
    for command in commands:
        trainer = build_trainer(instantiate(command))
        key = (command.data, command.data_dir, command.validation, command.image_size, command.data_labels)
        if (*key, trainer.batch_size) not in sizes:
            sizes[(*key, trainer.batch_size)] = order_of(load_training_data(command), trainer.batch_size).per_epoch
        per_epoch = sizes[(*key, trainer.batch_size)]
        found.append(trainer.total_epochs(per_epoch) * per_epoch)
    return found
