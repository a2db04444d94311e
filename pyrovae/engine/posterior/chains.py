"""Markov chains beside each other: in threads where they need no Python, otherwise in forked processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch

from pyrovae.engine.posterior.graphs import one_thread

PATIENCE = 0.05
"""Seconds between two looks at what the chains have done."""


@dataclass(frozen=True, eq=False)
class Chain:
    """What a chain has drawn, its warm-up included.

    Attributes:
        u: Unconstrained vectors, float64 (transitions, size).
        stats: Numbers of each transition by ArviZ's names, (transitions,).
        warmup: How many of the transitions were warm-up.
        whole: Whether all that were asked for are there.
    """

    u: np.ndarray
    stats: dict[str, np.ndarray]
    warmup: int
    whole: bool = True

    @property
    def draws(self) -> int:
        """Transitions after the warm-up."""
        return len(self.u) - self.warmup


Stop = threading.Event
SampleChain = Callable[[int, Stop, Callable[[int], None]], Chain]
"""Takes the chain's number, an event that asks it to end early, and a function to call with transitions done."""


def can_fork() -> bool:
    """Whether chains may run in processes of their own: on Linux, where a fork of a process with threads is sound."""
    return sys.platform.startswith("linux")


def run_chains(
    sample: SampleChain, chains: int, cores: int, progress: Callable[[int], None], *, threads: bool = False
) -> tuple[list[Chain], bool]:
    """Run chains, `cores` at a time; Ctrl-C ends them early.

    Args:
        sample: Draws one of them.
        chains: How many.
        cores: How many at a time.
        progress: Called with transitions done.
        threads: Whether a chain works without Python's lock, so that threads suffice.

    Returns:
        The chains that began, in order, and whether somebody interrupted them.
    """
    with one_thread():
        if cores > 1 and chains > 1 and threads:
            return _in_threads(sample, chains, cores, progress)
        if cores > 1 and chains > 1 and can_fork():
            return _Processes(sample, progress).run(chains, cores)
        return _one_by_one(sample, chains, progress)


def _one_by_one(sample: SampleChain, chains: int, progress: Callable[[int], None]) -> tuple[list[Chain], bool]:
    found: list[Chain] = []
    stop = threading.Event()
    with _interrupts_set(stop):
        for number in range(chains):
            if stop.is_set():
                break
            found.append(sample(number, stop, progress))
    return found, stop.is_set()


def _in_threads(
    sample: SampleChain, chains: int, cores: int, progress: Callable[[int], None]
) -> tuple[list[Chain], bool]:
    stop, done, told = threading.Event(), [0] * chains, 0

    def one(number: int) -> Chain | None:
        def count(transitions: int) -> None:
            done[number] += transitions

        return None if stop.is_set() else sample(number, stop, count)

    with _interrupts_set(stop), ThreadPoolExecutor(cores) as pool:
        try:
            left = set(futures := [pool.submit(one, number) for number in range(chains)])
            while left:
                _, left = wait_for(left, PATIENCE)
                now = sum(done)
                progress(now - told)
                told = now
        except BaseException:  # a second Ctrl-C, or a bar that fails
            stop.set()
            raise
        found = [future.result() for future in futures]
    return [chain for chain in found if chain is not None], stop.is_set()


@contextlib.contextmanager
def _interrupts_set(stop: threading.Event) -> Iterator[None]:
    """Have Ctrl-C set an event instead of raising; a second one raises. Only the main thread hears of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Processes:
    """A process for each chain. It inherits the compiled density, and sends what it has drawn through a pipe."""

    def __init__(self, sample: SampleChain, progress: Callable[[int], None]) -> None:
        self._sample, self._progress = sample, progress
        self._running: dict[Connection, tuple[int, Any]] = {}
        self._found: dict[int, Chain] = {}
        self._asked_to_stop = False

    def run(self, chains: int, cores: int) -> tuple[list[Chain], bool]:
        waiting = list(range(chains))
        stop = threading.Event()
        try:
            with _interrupts_set(stop):
                while self._running or (waiting and not stop.is_set()):
                    while waiting and len(self._running) < cores and not stop.is_set():
                        self._start(waiting.pop(0))
                    self._stop_if(stop)
                    for connection in wait(list(self._running), PATIENCE):
                        self._hear(connection)  # type: ignore[arg-type]
        finally:
            for _, process in self._running.values():
                process.kill()
                process.join()
        return [self._found[number] for number in sorted(self._found)], stop.is_set()

    def _start(self, number: int) -> None:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=_work, args=(self._sample, number, there))
        process.daemon = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads: none of them computes
            process.start()
        there.close()
        self._running[here] = number, process

    def _stop_if(self, stop: threading.Event) -> None:
        if stop.is_set() and not self._asked_to_stop:
            self._asked_to_stop = True
            for connection in self._running:
                with contextlib.suppress(OSError):
                    connection.send(None)

    def _hear(self, connection: Connection) -> None:
        number, process = self._running[connection]
        try:
            kind, what = connection.recv()
        except EOFError:
            process.join()
            del self._running[connection]
            raise RuntimeError(
                f"the process of chain {number} ended without a word (exit code {process.exitcode}): perhaps for want "
                f"of memory; fewer draws, or cores=1, need less"
            ) from None
        if kind == "progress":
            self._progress(what)
            return
        process.join()
        del self._running[connection]
        if kind == "error":
            raise what
        self._found[number] = what


def _work(sample: SampleChain, number: int, parent: Connection) -> None:
    """What a chain's process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and passes it on
    torch.set_num_threads(1)
    stop = threading.Event()
    lock = threading.Lock()

    def send(kind: str, what: Any) -> None:
        with lock, contextlib.suppress(BrokenPipeError):
            parent.send((kind, what))

    def listen() -> None:
        try:
            parent.recv()
            stop.set()
        except (EOFError, OSError):
            os._exit(1)  # the parent is gone

    threading.Thread(target=listen, daemon=True).start()
    try:
        chain = sample(number, stop, lambda done: send("progress", done))
    except Exception as error:
        send("error", _portable(error))
        return
    send("chain", chain)


def _portable(error: Exception) -> Exception:
    """An exception that can be sent to another process."""
    if type(error).__module__.startswith(("builtins", "pyrovae")):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
