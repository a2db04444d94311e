"""Many trainings side by side: those that are finished are skipped, those that were cut off go on."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jsonargparse import Namespace

from pyrovae.config.parser import build_model, build_trainer, instantiate
from pyrovae.config.runs import create_run, load, parse_training
from pyrovae.data import ImageSet, fixed_split, load_images
from pyrovae.evaluation import estimate_elbo
from pyrovae.training import RunFolder
from pyrovae.training.files import replace_text
from pyrovae.training.interrupts import InterruptFlag
from pyrovae.training.progress import Progress

POLL = 0.5
"""Seconds between two looks at how far the trainings are."""


@dataclass(frozen=True)
class _Job:
    """One training that is asked for: its command line, and what that says."""

    argv: tuple[str, ...]
    settings: Namespace
    folder: RunFolder

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end; the bound of the test images is the last thing that is written."""
        return self.folder.test.exists()


def train_runs(commands: Sequence[Sequence[str]], *, workers: int | None = None, progress: bool = True) -> list[Path]:
    """Train runs in processes of their own, with one progress bar over all.

    Args:
        commands: Options of scripts/svi_train.py for each run, with its `--name` and the `--runs_dir`; runs that were
            trained to their end with the same settings are skipped, and those that were cut off are resumed.
        workers: Trainings at a time; by default as many as there are cores.
        progress: Whether to show progress.

    Returns:
        The runs' folders, in the order of the commands.

    Raises:
        ValueError: If a folder holds a run of other settings, or a training cannot be done.
        KeyboardInterrupt: When stopped by the user, after every training in hand has written its checkpoint.
    """
    jobs = [_job(command) for command in commands]
    missing = [job for job in jobs if not job.finished]
    if missing:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(workers or cores, len(missing))
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, torch.set_num_threads, (max(1, cores // workers),))
        with InterruptFlag() as flag, _stopping(pool):
            futures = [pool.submit(train_run, job.argv) for job in missing]
            _follow(missing, futures, flag, progress)
    return [job.folder.path for job in jobs]


def divide_words(words: Sequence[str], own: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into a script's own options, each with its value, and those of a training.

    Args:
        words: The command line.
        own: Names of the script's own options, such as "--betas".

    Returns:
        The words of its own options, and the others.
    """
    mine: list[str] = []
    others: list[str] = []
    value_follows = False
    for word in words:
        named = word.partition("=")[0] in own
        (mine if named or value_follows else others).append(word)
        value_follows = named and "=" not in word
    return mine, others


def train_run(argv: Sequence[str]) -> Path:
    """Train one run to its end without a word, or what is missing of it; see `train_runs`."""
    job = _job(argv)
    if job.finished:
        return job.folder.path
    data = _load(job.settings)
    settings = instantiate(job.settings)
    trainer = build_trainer(settings)
    model = build_model(settings.model, data.image_shape, data.num_classes, trainer.seed)
    trainer.check(model, data)
    resume = job.folder.checkpoint.exists()
    if not resume:
        fresh = job.settings.clone()
        fresh.overwrite = job.folder.config.exists()  # stopped before its first checkpoint
        create_run(fresh, data)
    trainer.fit(model, data, job.folder, resume=resume, progress=False)
    best = load(job.folder.path, device=str(trainer.device), allow_code=True)
    split = "test" if len(data.splits["test"]) else "train"
    test = estimate_elbo(best, fixed_split(data.split(split), trainer.pixels), seed=trainer.seed)
    replace_text(job.folder.test, json.dumps(test.to_dict(), indent=2) + "\n")
    return job.folder.path


def _job(argv: Sequence[str]) -> _Job:
    settings = parse_training(list(argv))
    if settings.name is None:
        raise ValueError("each of several trainings needs a --name")
    folder = RunFolder(Path(settings.runs_dir) / settings.name)
    if folder.config.exists():
        settings = parse_training([*argv, "--resume", str(folder.path)])
        settings.resume = None
    return _Job(tuple(argv), settings, folder)


def _load(settings: Namespace) -> ImageSet:
    return load_images(settings.data, settings.data_dir, validation=settings.validation, image_size=settings.image_size)


@contextmanager
def _stopping(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Leave no training behind: whatever happens, those in hand are told to write their checkpoint and end."""
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()  # SIGTERM, which a training takes as a wish
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _follow(jobs: Sequence[_Job], futures: Sequence["Future[Path]"], flag: InterruptFlag, progress: bool) -> None:
    """Show how far the trainings are until all are done, one fails or the user stops them."""
    steps = _steps_of()
    totals = [steps(job.settings) for job in jobs]
    done = [min(_steps_done(job.folder), total) for job, total in zip(jobs, totals, strict=True)]
    with Progress(sum(totals), sum(done), enabled=progress) as bar:
        left = set(futures)
        while left:
            finished, left = wait(left, timeout=POLL)
            for future in finished:
                future.result()
            if flag.signal:
                raise KeyboardInterrupt
            now = [
                total if future.done() else min(_steps_done(job.folder), total)
                for job, future, total in zip(jobs, futures, totals, strict=True)
            ]
            if now != done:
                names = [job.folder.path.name for job, future in zip(jobs, futures, strict=True) if future.running()]
                bar.advance(
                    sum(now) - sum(done), f"{len(futures) - len(left)}/{len(futures)} runs  {' '.join(names[:2])}"
                )
            done = now


def _steps_of() -> Callable[[Namespace], int]:
    """A function that says how many steps a training has; it looks at each image set once."""
    sizes: dict[tuple[object, ...], int] = {}

    def steps(settings: Namespace) -> int:
        key = (settings.data, settings.data_dir, settings.validation, settings.image_size)
        if key not in sizes:
            sizes[key] = len(_load(settings).splits["train"])
        trainer = build_trainer(instantiate(settings))
        return trainer.total_epochs(sizes[key]) * -(-sizes[key] // trainer.batch_size)

    return steps


def _steps_done(folder: RunFolder) -> int:
    """Steps that a run's metrics tell of."""
    rows = folder.rows()
    return int(rows[-1]["step"]) if rows else 0
