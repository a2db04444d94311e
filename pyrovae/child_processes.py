"""Work in a process of its own, wherever an executor places it: what dies there takes nothing else with it.

An executor says where and when: threads of this process, a pool, a cluster. The work itself is always done by a child
of the process that the executor chose, since random numbers, threads of torch and memory belong to a whole process:

    future = executor.submit(carry, Task.of(function))
    outcome = future.result()

A child ends with whoever started it. It is used again for the next task, and ends by itself when there is none.
"""

from __future__ import annotations

import atexit
import os
import pickle
import platform
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a program to stop. A child hears them during a training alone, which takes them as a wish."""
IDLE = 60.0
"""Seconds after which a child without a task ends."""
LOOK = 0.2
"""Seconds between two looks at whether a task is still wanted."""
UNSEEN = 15.0
"""Seconds until a file that another machine has written is seen on a shared file system, at the latest."""
_HEADER = struct.Struct(">Q")
_CHILD = "from pyrovae.child_processes import serve; serve()"


class KilledError(ChildProcessError):
    """A process died without a word."""


@dataclass(frozen=True)
class Task:
    """Work for a process of its own.

    Attributes:
        work: The function, pickled.
        threads: Threads of torch; by default those of the environment.
        folder: The current folder of the process.
        ticket: A file that exists as long as the work is wanted. When it is gone, the process gets SIGTERM, for a
            training the wish to write its checkpoint and end. Who has begun the work signs it.
        version: Of the pyrovae that asks for it.
    """

    work: bytes
    threads: int | None
    folder: str
    ticket: str | None
    version: str

    @classmethod
    def of(cls, function: Callable[[], Any], *, threads: int | None = None, ticket: Path | None = None) -> Task:
        """The task of a function and of the present folder.

        Raises:
            ValueError: If it cannot be sent to another process.
        """
        try:
            work = pickle.dumps(function)
        except Exception as error:  # of any kind, by the object
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"this cannot be sent to another process ({reason}): define its classes and functions in a module "
                f"that the other process can import, not in a notebook or inside of a function"
            ) from error
        place = None if ticket is None else str(ticket.absolute())
        return cls(work, threads, str(Path.cwd()), place, version("pyrovae"))


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        value: What the function returned.
        error: What it raised instead; a `KilledError` if its process died.
    """

    value: Any = None
    error: BaseException | None = None


def carry(task: Task) -> Outcome:
    """Have a child of this process do a task, and wait for it. This is what is submitted to an executor."""
    try:
        _check_place(task)
    except ValueError as error:
        return Outcome(error=error)
    if task.ticket is not None:
        _sign(task.ticket)
    child = _Child.take()
    try:
        outcome = child.do(task)
    except BaseException:
        child.kill()
        raise
    child.give_back()
    return outcome


def end_children() -> None:
    """Kill the children of this process that are at work, and let the others go."""
    with _guard:
        at_work, idle = list(_at_work), list(_idle)
        _idle.clear()
    for child in at_work:
        child.kill()
    for child in idle:
        child.close()


atexit.register(end_children)


def _check_place(task: Task) -> None:
    """Refuse a machine that cannot do a task.

    Raises:
        ValueError: If it does not see the folder, or has another version.
    """
    here, mine = platform.node(), version("pyrovae")
    if mine != task.version:
        raise ValueError(
            f"the worker on {here} has pyrovae {mine}, and {task.version} asks for the work: install the same there"
        )
    for place in filter(None, (task.folder, task.ticket)):
        until = time.monotonic() + UNSEEN
        while not _exists(place):
            if time.monotonic() > until:
                missing = Path(place) if place == task.folder else Path(place).parent
                raise ValueError(
                    f"the worker on {here} does not see the {'files in ' if missing.is_dir() else 'folder '}{missing}: "
                    f"runs are kept in a folder on a file system that all machines share, under the same name"
                )
            time.sleep(LOOK)


def _sign(ticket: str) -> None:
    """Write who does the work into its ticket, unless that is gone."""
    with suppress(OSError), Path(ticket).open("r+", encoding="utf-8") as file:
        file.write(f"process {os.getpid()} on {platform.node()}\n")


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False


class _Child:
    """A process that does one task after another, and its two pipes."""

    def __init__(self) -> None:
        places = [str(Path(place).absolute()) for place in sys.path]
        with _signals_held():
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            )
        self.free_since = time.monotonic()

    @classmethod
    def take(cls) -> _Child:
        """One that has nothing to do, or a new one."""
        child = None
        while child is None:
            with _guard:
                child = _idle.pop() if _idle else None
            if child is None:
                child = cls()
            elif child._process.poll() is not None or time.monotonic() - child.free_since > IDLE / 2:
                child.close()
                child = None
        with _guard:
            _at_work.add(child)
        return child

    def give_back(self) -> None:
        """Be there for the next task."""
        self.free_since = time.monotonic()
        with _guard:
            _at_work.discard(self)
            alive = self._process.poll() is None
            if alive:
                _idle.append(self)
        if not alive:
            self.close()

    def do(self, task: Task) -> Outcome:
        """Send a task and wait for its outcome, or for its death."""
        sent, received = self._process.stdin, self._process.stdout
        assert sent is not None
        assert received is not None
        found: list[Outcome] = []
        listener = threading.Thread(target=_listen, args=(received, found), daemon=True)
        with suppress(OSError):  # it has died: that is found below
            _write(sent, pickle.dumps(task))
        listener.start()
        wanted = True
        while listener.is_alive():
            listener.join(LOOK)
            if wanted and task.ticket is not None and listener.is_alive() and not _exists(task.ticket):
                wanted = False
                with suppress(OSError):
                    _write(sent, b"")
        return found[0] if found else Outcome(error=KilledError(_cause(self._process.wait())))

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        with _guard:
            _at_work.discard(self)
        self._process.wait()

    def close(self) -> None:
        """Let it end, if it has nothing to do."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()

    def forget(self) -> None:
        """Close the pipes that a fork has copied, so that the child sees when its own parent ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError, ValueError):
                    os.close(pipe.fileno())


_guard = threading.Lock()
_idle: list[_Child] = []
_at_work: set[_Child] = set()


def _after_fork() -> None:
    """The children are those of the parent, not of its fork."""
    global _guard
    _guard = threading.Lock()
    for child in (*_idle, *_at_work):
        child.forget()
    _idle.clear()
    _at_work.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _listen(pipe: IO[bytes], found: list[Outcome]) -> None:
    with suppress(EOFError, OSError, ValueError):
        found.append(pickle.loads(_read(pipe)))


def _write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_HEADER.pack(len(message)) + message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    """A message.

    Raises:
        EOFError: If the other side is gone.
    """
    (size,) = _HEADER.unpack(_exactly(pipe, _HEADER.size))
    return _exactly(pipe, size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    parts = []
    while size:
        part = pipe.read(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


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


def serve() -> None:
    """What a child does: task after task, until there is none or the process that asks for them is gone."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    tasks: queue.Queue[Task | None] = queue.Queue()
    in_hand: list[Task] = []
    threading.Thread(target=_hear, args=(sys.stdin.buffer, tasks, in_hand), daemon=True).start()
    with suppress(OSError, queue.Empty):
        while (task := tasks.get(timeout=IDLE)) is not None:
            answer = pickle.dumps(_outcome(task))
            in_hand.clear()
            _write(answers, answer)
    os._exit(0)  # the listening thread holds stdin


def _hear(pipe: IO[bytes], tasks: queue.Queue[Task | None], in_hand: list[Task]) -> None:
    """Take tasks; end the one in hand when that is wished for, or nobody waits for it any more."""
    with suppress(EOFError, OSError):
        while True:
            message = _read(pipe)
            if message:
                in_hand.append(pickle.loads(message))
                tasks.put(in_hand[0])
            else:
                _stop(in_hand)
    _stop(in_hand)
    tasks.put(None)


def _stop(in_hand: list[Task]) -> None:
    """Have a training write its checkpoint; ask again and again, since it may have been about to begin."""
    while (task := next(iter(in_hand), None)) is not None:  # it may end at any moment
        if task.ticket is None:  # nothing to be kept
            os._exit(0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LOOK)


def _outcome(task: Task) -> Outcome:
    """Do a task, and return what it gave or raised in a form that can be sent."""
    try:
        os.chdir(task.folder)
        if task.folder not in sys.path:
            sys.path.append(task.folder)  # the user's own parts are there
        _set_threads(task.threads)
        return Outcome(pickle.loads(task.work)())
    except BaseException as error:
        error.add_note(traceback.format_exc())
        try:
            sent: Any = pickle.loads(pickle.dumps(error))
        except Exception:  # one of those that cannot be made anew from their arguments
            sent = ValueError(f"{type(error).__name__}: {error}")
        return Outcome(error=sent)


_usual_threads: list[int] = []


def _set_threads(threads: int | None) -> None:
    import torch

    _usual_threads[:] = _usual_threads or [torch.get_num_threads()]
    torch.set_num_threads(threads or _usual_threads[0])
