"""Commands in forked children of a warm parent: imports are paid once, and a child cannot harm its parent."""

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        status: Its exit status; minus the signal's number if one killed it.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
        hung: Whether it was killed because its time was up.
        seconds: How long it ran.
    """

    status: int
    out: str
    err: str
    hung: bool
    seconds: float


def in_a_child(function: Callable[[], object], *, seconds: int = 60, gib: float | None = 8.0) -> Ended:
    """Call a function in a child, whose output is caught.

    Args:
        function: What the child does; SystemExit and exceptions end it as they end an interpreter.
        seconds: Time of the processor after which it is killed; on a busy machine twenty times that may pass.
        gib: Its address space at most, so that a child that allocates without a look fails by itself.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = os.fork()
        if not child:
            _run(function, out.fileno(), err.fileno(), gib, seconds)
        status, hung = _wait(child, started + 20 * seconds)
        took = time.monotonic() - started
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Ended(status, texts[0], texts[1], hung, took)


def _run(function: Callable[[], object], out: int, err: int, gib: float | None, seconds: int) -> None:
    """The child's whole life."""
    status = 0
    try:
        os.setpgid(0, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", encoding="utf-8", errors="replace") for n in (1, 2))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds + round(time.process_time()), seconds + 3600))
        if gib is not None:
            resource.setrlimit(resource.RLIMIT_AS, (int(gib * 2**30),) * 2)
        if "torch" in sys.modules:
            # After a fork torch makes its pool of threads anew, at first use: by two threads at once it may abort.
            torch = sys.modules["torch"]
            torch.set_num_threads(torch.get_num_threads())
        function()
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else (0 if stopped.code is None else 1)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, AttributeError):  # where it is full, or closed
                stream.flush()
        os._exit(status & 0xFF)


def _wait(child: int, until: float) -> tuple[int, bool]:
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code, code == -signal.SIGXCPU
        if time.monotonic() > until:
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError):
                    kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            return os.waitstatus_to_exitcode(status), True
        time.sleep(0.005)
