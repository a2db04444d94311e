"""Several trainings in parallel. Finished ones are skipped."""

import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import torch
from jsonargparse import Namespace

from pyrovae.factory.build import build_trainer, instantiate
from pyrovae.files import replace_text
from pyrovae.runs.config_file import continue_run, create_run, read_config
from pyrovae.runs.training import build_training, finish_run, load_training_data, parse_training
from pyrovae.runtime import choose_device
from pyrovae.training import RunFolder
from pyrovae.training.interrupts import InterruptFlag
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
        """Whether it was trained to its end with these options, which are written last."""
        made = self.folder.command
        return made.exists() and json.loads(made.read_text(encoding="utf-8")) == self._made_by

    def parse(self) -> Namespace:
        """Its command line, with `resume` if there is a checkpoint.

        Raises:
            ValueError: If its folder holds a run of other settings.
        """
        if self.folder.checkpoint.exists():
            saved = read_config(self.folder)
            where = ("--name", saved["name"], "--runs_dir", saved["runs_dir"], "--resume", str(self.folder.path))
            try:
                return parse_training([*self.options, *where])
            except ValueError as error:
                raise ValueError(
                    f"{self.folder.path} holds another run than is asked for ({error}): remove that folder, or choose "
                    f"another place"
                ) from error
        # A folder without a checkpoint was cut off in its first epoch: nothing is lost.
        path = self.folder.path
        where = ("--name", path.name, "--runs_dir", str(path.parent), "--overwrite", "true")
        return parse_training([*self.options, *where])

    def train(self) -> None:
        """Train or resume it silently to its end, and test it."""
        arguments = self.parse()
        data = load_training_data(arguments)
        trainer, model = build_training(arguments, data)
        resume = arguments.resume is not None
        if resume:
            continue_run(arguments)
        else:
            create_run(arguments, data)
        trainer.fit(model, data, self.folder, resume=resume, progress=False)
        finish_run(self.folder, trainer, data, self.which)
        replace_text(self.folder.command, json.dumps(self._made_by, indent=1) + "\n")

    def steps_done(self) -> int:
        """Number of steps in its metrics."""
        rows = self.folder.rows() if self.folder.checkpoint.exists() else []
        return int(rows[-1]["step"]) if rows else 0

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
        context = multiprocessing.get_context("spawn")
        others, threads = multiprocessing.active_children(), max(1, cores // workers)
        with InterruptFlag() as flag, ProcessPoolExecutor(workers, context, _begin, (threads,)) as pool:
            futures = [pool.submit(job.train) for job in missing]
            try:
                _follow(missing, _steps(commands), futures, flag, progress)
            except BaseException:
                _stop(futures, [child for child in multiprocessing.active_children() if child not in others])
                raise


def _begin(threads: int) -> None:
    """Initialise a worker. An idle worker killed by a signal would not release the pool's lock."""
    torch.set_num_threads(threads)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # but for the time of a training, which takes them as a wish


def _stop(futures: Sequence["Future[None]"], workers: Sequence[BaseProcess]) -> None:
    """End all trainings: the running ones write their checkpoint first."""
    for future in futures:
        future.cancel()
    while not all(future.done() for future in futures):
        for worker in workers:
            worker.terminate()  # again and again: a worker may have been about to begin the next training
        wait(futures, timeout=POLL)


def _follow(
    jobs: Sequence[Job], totals: Sequence[int], futures: Sequence["Future[None]"], flag: InterruptFlag, progress: bool
) -> None:
    """Show progress until all trainings are done, one fails or the user stops them."""

    def cost_done() -> int:
        steps = [
            total if future.done() else min(job.steps_done(), total)
            for job, future, total in zip(jobs, futures, totals, strict=True)
        ]
        return sum(job.cost * done for job, done in zip(jobs, steps, strict=True))

    done = cost_done()
    whole = sum(job.cost * total for job, total in zip(jobs, totals, strict=True))
    with Progress(whole, done, enabled=progress) as bar:
        left = set(futures)
        while left:
            finished, left = wait(left, timeout=POLL)
            for future in finished:
                future.result()
            if flag.signal:
                raise KeyboardInterrupt
            now = cost_done()
            if now != done:
                names = [job.folder.path.name for job, future in zip(jobs, futures, strict=True) if future.running()]
                bar.advance(now - done, f"{len(futures) - len(left)}/{len(futures)} runs  {' '.join(names[:2])}")
            done = now


def _steps(commands: Sequence[Namespace]) -> list[int]:
    """Number of steps of each training; each image set is loaded once."""
    sizes: dict[tuple[object, ...], int] = {}
    found = []
    for command in commands:
        key = (command.data, command.data_dir, command.validation, command.image_size)
        if key not in sizes:
            sizes[key] = len(load_training_data(command).splits["train"])
        trainer = build_trainer(instantiate(command))
        found.append(trainer.total_epochs(sizes[key]) * -(-sizes[key] // trainer.batch_size))
    return found
