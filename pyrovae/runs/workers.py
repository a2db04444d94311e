"""Processes that run functions side by side; one that is killed takes its own work with it and no other's."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from pyrovae.training.interrupts import STOPPING

Task = Callable[[], None]


class KilledError(ChildProcessError):
    """A worker died without a word."""


@dataclass
class _Worker:
    """A process, and the number of the task that it is at."""

    process: SpawnProcess
    pipe: Connection
    task: int | None = None


class Workers:
    """Runs functions, each in one of several processes.

    Used as a context: what still runs at its end is killed.

    Args:
        tasks: The functions; they and what they raise must be picklable.
        count: Processes at a time.
        threads: Threads of torch in each.

    Attributes:
        waiting: Numbers of the tasks that have not begun.
    """

    def __init__(self, tasks: Sequence[Task], count: int, threads: int) -> None:
        self._tasks, self._count, self._threads = tasks, count, threads
        self.waiting = list(range(len(tasks)))
        self._workers: list[_Worker] = []

    @property
    def running(self) -> list[int]:
        """Numbers of the tasks that are being run."""
        return [worker.task for worker in self._workers if worker.task is not None]

    def step(self, timeout: float) -> list[tuple[int, BaseException | None]]:
        """Begin what can begin, and wait for something to end, at most so many seconds.

        Returns:
            Numbers of tasks that have ended, with what they raised; a `KilledError` if the process died.
        """
        while self.waiting and (idle := self._idle()):
            idle.task = self.waiting.pop(0)
            with suppress(OSError):  # it has died: that is found below
                idle.pipe.send(self._tasks[idle.task])
        busy = [worker for worker in self._workers if worker.task is not None]
        ready = connection.wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout)
        return [self._end(w) for w in busy if w.pipe in ready or w.process.sentinel in ready]

    def stop(self) -> None:
        """Begin nothing more, and have what runs write its checkpoint and end."""
        self.waiting.clear()
        while self.running:
            for worker in self._workers:
                worker.process.terminate()  # again and again: it may have been about to begin
            self.step(0.5)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            if worker.task is not None:
                worker.process.kill()
            worker.pipe.close()  # an idle one ends by that
        for worker in self._workers:
            worker.process.join()

    def _idle(self) -> _Worker | None:
        """A process without a task, a new one if there may be one more."""
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) == self._count:
            return None
        context = multiprocessing.get_context("spawn")
        pipe, other = context.Pipe()
        process = context.Process(target=_work, args=(other, self._threads), daemon=False)
        with _signals_held():
            process.start()
        other.close()
        self._workers.append(_Worker(process, pipe))
        return self._workers[-1]

    def _end(self, worker: _Worker) -> tuple[int, BaseException | None]:
        task, worker.task = worker.task, None
        assert task is not None
        try:
            return task, worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            self._workers.remove(worker)
            return task, KilledError(_cause(worker.process.exitcode or 0))


def _cause(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    name = signal.Signals(-status).name if -status in {*signal.Signals} else str(-status)
    memory = ", as Linux does where memory runs out" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{memory}"


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let no signal through, here and in a process that is started, until that one says what it does with them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, threads: int) -> None:
    """What a process does: task after task, until there is none or the process that asks for them is gone."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # but for the time of a training, which takes them as a wish
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    torch.set_num_threads(threads)
    threading.Thread(target=_follow_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            pipe.send(_outcome(pipe.recv()))


def _follow_parent() -> None:
    """Ask the training in hand to stop when nobody waits for it any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _outcome(task: Task) -> BaseException | None:
    """Run a task, and return what it raised in a form that can be sent."""
    try:
        task()
    except BaseException as error:
        error.add_note(traceback.format_exc())
        try:
            sent: Any = pickle.loads(pickle.dumps(error))
        except Exception:  # one of those that cannot be made anew from their arguments
            sent = ValueError(f"{type(error).__name__}: {error}")
        return sent
    return None
