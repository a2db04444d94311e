"""Jobs on an executor: begun, begun again where a process died, waited for where another has them, stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from pathlib import Path

from pyrovae import lock
from pyrovae.child_processes import KilledError, Outcome, Task, carry
from pyrovae.files import replace_text
from pyrovae.lock import InUseError
from pyrovae.runs.executors import ExecutorSource
from pyrovae.runs.job import Job
from pyrovae.training.interrupts import Interrupted

DEATHS = 3
"""A job whose process dies so often, without a step more than before, is given up."""
RENEWALS = 20
"""An executor that has broken so often is not made again."""
EVICTED = ("KilledWorker", "FutureCancelledError", "CancelledError")
"""Errors of clusters that have lost a worker, by name: their libraries need not be here."""


class BrokenError(ValueError):
    """An executor has broken, and nobody can make another one."""


Ended = tuple[Job, BaseException | None]


class Runner:
    """Runs jobs by an executor.

    Args:
        source: The executor.
        threads: Threads of torch in each training; by default those of the environment.
        say: Called with a line for the user.
    """

    def __init__(self, source: ExecutorSource, threads: int | None, say: Callable[[str], object]) -> None:
        self._make = source if not isinstance(source, Executor) else None
        self._executor = source if isinstance(source, Executor) else source()
        self._threads, self._say, self._renewed = threads, say, 0
        self._in_flight: dict[Future[Outcome], Job] = {}
        self._elsewhere: set[Job] = set()
        self._deaths: dict[Job, tuple[int, int]] = {}
        self._begun: set[Job] = set()
        self._unwanted: set[Job] = set()

    @property
    def count(self) -> int:
        """Jobs that have not ended."""
        return len(self._in_flight) + len(self._elsewhere)

    def state(self, job: Job) -> str:
        """waiting, running, or elsewhere: another process has its folder."""
        if job in self._elsewhere:
            return "elsewhere"
        return "running" if self._has_begun(job) else "waiting"

    def start(self, job: Job) -> None:
        """Give a job to the executor.

        Raises:
            ValueError: If that takes no more.
            OSError: If its folder cannot be written to.
        """
        ticket = ticket_of(job)
        ticket.parent.mkdir(parents=True, exist_ok=True)
        replace_text(ticket, "")
        task = Task.of(job.train, threads=self._threads, ticket=ticket)
        self._begun.discard(job)
        try:
            self._in_flight[self._submitted(task)] = job
        except BrokenError:
            ticket.unlink(missing_ok=True)
            raise
        except Exception as error:  # of any kind, by the executor
            ticket.unlink(missing_ok=True)
            raise ValueError(f"the executor takes no more work ({_words(error)}): give one that works") from error

    def _submitted(self, task: Task) -> Future[Outcome]:
        try:
            return self._executor.submit(carry, task)
        except BrokenExecutor as error:
            self._renew(error)
            return self._executor.submit(carry, task)

    def stop(self, job: Job) -> None:
        """Have a job write its checkpoint and end; `step` then returns it with `Interrupted`."""
        self._unwanted.add(job)
        begun = self._has_begun(job)
        ticket_of(job).unlink(missing_ok=True)
        for future, other in self._in_flight.items():
            if other == job and not begun:
                future.cancel()

    def stop_all(self) -> None:
        """Begin nothing more, and wait until all that runs has written its checkpoint."""
        self._elsewhere.clear()
        for job in list(self._in_flight.values()):
            self.stop(job)
        wait(self._in_flight)
        self._in_flight.clear()

    def close(self) -> None:
        """Forget what was not done, and end an executor that was made here."""
        for future, job in self._in_flight.items():
            future.cancel()
            ticket_of(job).unlink(missing_ok=True)
        if self._make is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def step(self, timeout: float) -> list[Ended]:
        """Wait for something to end, at most so many seconds.

        Returns:
            Jobs that have ended, with their error; None if they were trained to their end.

        Raises:
            KeyboardInterrupt: If the user stopped one.
            ValueError: If the executor has broken and cannot be replaced.
        """
        ended = self._look_elsewhere()
        if not self._in_flight:
            time.sleep(0 if ended else timeout)
            return ended
        for future in wait(self._in_flight, 0 if ended else timeout, FIRST_COMPLETED).done:
            job = self._in_flight.pop(future, None)
            if job is not None:  # else it was lost with its executor, and is begun again
                ended += self._judge(job, future)
        return ended

    def _look_elsewhere(self) -> list[Ended]:
        """Jobs that another process has had: ended by it, or left by it and begun here."""
        ended: list[Ended] = []
        for job in list(self._elsewhere):
            if job.finished:
                self._elsewhere.discard(job)
                ended.append((job, None))
            elif not lock.is_held(job.folder.path):
                self._elsewhere.discard(job)
                self.start(job)
        return ended

    def _judge(self, job: Job, future: Future[Outcome]) -> list[Ended]:
        """What the end of a future means for its job: its end, or nothing where it is begun again."""
        try:
            error = future.result().error
        except BrokenExecutor as broken:
            ticket_of(job).unlink(missing_ok=True)
            self._renew(broken)
            return self._again(job, f"its process died with the executor ({_words(broken)})")
        except Exception as lost:
            if type(lost).__name__ not in EVICTED:
                return self._end(job, ValueError(f"the executor could not run it ({_words(lost)})"))
            error = KilledError(f"its worker was lost ({type(lost).__name__})")
        if job in self._unwanted:
            return self._end(job, error and Interrupted(signal.SIGTERM))
        if isinstance(error, InUseError):
            self._say(f"{str(error).partition(':')[0]}: that is waited for")
            self._elsewhere.add(job)
            return []
        if isinstance(error, KeyboardInterrupt) and error.args != (signal.SIGTERM,):
            raise KeyboardInterrupt
        if isinstance(error, KilledError | Interrupted):
            return self._again(job, str(error) if isinstance(error, KilledError) else "its process was told to end")
        return self._end(job, error)

    def _again(self, job: Job, why: str) -> list[Ended]:
        """Begin a job once more whose process died, unless that has not helped before."""
        count, steps = self._deaths.get(job, (0, -1))
        now = job.standing().step
        count = count + 1 if now <= steps else 1
        self._deaths[job] = count, now
        if count >= DEATHS:
            return self._end(job, KilledError(f"{why}, {count} times without a step more"))
        self._say(f"{job.name}: {why}; it goes on in another one, from step {now:,}")
        self.start(job)
        return []

    def _renew(self, broken: BrokenExecutor) -> None:
        """Make a new executor, and begin everything on it that was lost with the old one.

        Raises:
            ValueError: If nobody said how, or it breaks all the time.
        """
        self._renewed += 1
        if self._make is None or self._renewed > RENEWALS:
            raise BrokenError(
                f"the executor has broken ({_words(broken)}), and all that it ran has ended with it: give the same "
                f"again to go on; a function that makes one, executor=lambda: ProcessPoolExecutor(4), has it replaced"
            ) from broken
        lost = list(self._in_flight.values())
        self._in_flight.clear()
        self._executor.shutdown(wait=False)
        self._executor = self._make()
        for job in lost:
            self.start(job)

    def _end(self, job: Job, error: BaseException | None) -> list[Ended]:
        ticket_of(job).unlink(missing_ok=True)
        return [(job, error)]

    def _has_begun(self, job: Job) -> bool:
        if job not in self._begun:
            with suppress(OSError):
                if ticket_of(job).stat().st_size:
                    self._begun.add(job)
        return job in self._begun


def ticket_of(job: Job) -> Path:
    """The file beside a job's folder that is there as long as it is wanted, signed by the process that has begun it."""
    return job.folder.path.with_name(f".{job.folder.path.name}.job")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
