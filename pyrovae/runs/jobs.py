"""Several trainings by any executor. Finished ones are skipped, and those that were cut off go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jsonargparse import Namespace

from pyrovae.engine.posterior.sampling import available_cores
from pyrovae.runs.executors import ExecutorSource, local_processes
from pyrovae.runs.job import Job, Standing, lengths
from pyrovae.runs.job_table import JobTable, Row
from pyrovae.runs.runner import Runner
from pyrovae.runtime import choose_device
from pyrovae.shapes import is_whole
from pyrovae.training.interrupts import InterruptFlag

POLL = 0.5
"""Seconds between two looks at the jobs."""
ON_A_GPU = 2
"""Default number of parallel trainings on one GPU."""


class UnfinishedError(ValueError):
    """Some of several trainings did not end; the others did."""


def train_runs(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    executor: ExecutorSource | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> None:
    """Train runs, each in a process of its own, with one table for all.

    A training whose process dies is begun again where it can be, from its checkpoint, and one that another process has
    in hand is waited for. Folders are known by their paths: on other machines they must be the same.

    Args:
        jobs: The runs; those that were trained to their end are skipped, and those that were cut off are resumed.
        workers: Trainings at a time on this machine; by default as many as there are cores, and two on a GPU.
        executor: Who chooses machine and moment instead: any `concurrent.futures.Executor`, such as Dask's
            `client.get_executor(pure=False)`; or a function that makes one, which is called again if it breaks.
        threads: Threads of torch in each training; by default its share of the cores, with an executor those of its
            environment.
        progress: Whether to show progress.

    Raises:
        ValueError: If two have the same folder, a folder holds a run of other settings, or workers and an executor are
            given.
        UnfinishedError: If some trainings failed; the others were trained to their ends.
        KeyboardInterrupt: When stopped by the user, after every training in hand has written its checkpoint.
    """
    check_folders(jobs)
    check_placing(workers, executor, threads)
    missing = [job for job in jobs if not job.finished]
    if not missing:
        return
    commands = [job.parse() for job in missing]
    known = dict(zip(missing, lengths(commands), strict=True))
    rows = [Row(job, known.get(job), "waiting" if job in known else "done", job.standing()) for job in jobs]
    table = JobTable(rows, enabled=progress)
    workers = min(workers or default_workers(commands), len(commands))
    with InterruptFlag() as flag, opened_runner(workers, executor, threads, table.say) as runner:
        failed = _follow({row.job: row for row in rows if row.job in known}, runner, table, flag)
    table.end()
    if failed:
        raise UnfinishedError(
            f"{len(failed)} of {len(missing)} trainings did not end ({'; '.join(failed)}): what was trained is kept, "
            f"and the same command goes on with those"
        )


def check_folders(jobs: Sequence[Job]) -> None:
    """Refuse two trainings in one folder.

    Raises:
        ValueError: If there are such.
    """
    folders = [job.folder.path.resolve() for job in jobs]
    twice = [folder for folder in folders if folders.count(folder) > 1]
    if twice:
        raise ValueError(f"{len(twice)} of the trainings have the same folder, {twice[0]}: give each another name")


def check_placing(workers: object, executor: object, threads: object) -> None:
    """Refuse what says nothing of where trainings run.

    Raises:
        ValueError: If workers and an executor are given, or one of them is none.
    """
    if workers is not None and executor is not None:
        raise ValueError("workers is for processes of this machine, and an executor has its own: give one of both")
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and not is_whole(value, 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if executor is not None and not (hasattr(executor, "submit") or callable(executor)):
        raise ValueError(
            f"executor must be a concurrent.futures.Executor, or a function that makes one, got "
            f"{type(executor).__name__}"
        )


@contextmanager
def opened_runner(
    workers: int, executor: ExecutorSource | None, threads: int | None, say: Callable[[str], object]
) -> Iterator[Runner]:
    """A runner on so many processes of this machine, or on an executor.

    When it is left by an error, also Ctrl-C, what runs writes its checkpoint first.
    """
    if executor is not None:
        with _ending(Runner(executor, threads, say)) as runner:
            yield runner
        return
    with local_processes(workers) as processes, _ending(Runner(processes, threads or share(workers), say)) as runner:
        yield runner


def default_workers(commands: Sequence[Namespace]) -> int:
    """Trainings at a time on this machine: as many as there are cores, and two on a GPU."""
    on_gpu = any(choose_device(command.device).type != "cpu" for command in commands)
    return ON_A_GPU if on_gpu else available_cores()


def share(workers: int) -> int:
    """Threads of each of so many trainings."""
    return max(1, available_cores() // workers)


@contextmanager
def _ending(runner: Runner) -> Iterator[Runner]:
    try:
        yield runner
    except BaseException:
        runner.stop_all()
        raise
    finally:
        runner.close()


def _follow(rows: dict[Job, Row], runner: Runner, table: JobTable, flag: InterruptFlag) -> list[str]:
    """Train all, and show how far they are until all have ended or the user stops them.

    Returns:
        Those that failed, and why.
    """
    failed: list[str] = []
    for job in rows:
        runner.start(job)
    while runner.count:
        for job, error in runner.step(POLL):
            rows[job].state = "done" if error is None else "failed"
            rows[job].look()
            if error is not None:
                failed.append(f"{job.name}: {' '.join(str(error).split())}")
                table.say(f"{failed[-1]}; the others go on")
        if flag.signal:
            raise KeyboardInterrupt
        for job, row in rows.items():
            if row.state not in ("done", "failed"):
                row.state = runner.state(job)
        table.show()
    return failed


__all__ = ["Job", "Standing", "UnfinishedError", "train_runs"]
