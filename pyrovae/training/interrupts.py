"""Stopping a run cleanly: Ctrl-C, termination and a closed terminal wait for the step in hand."""

import os
import signal
import threading
from types import FrameType, TracebackType

from pyrovae.child_processes import STOPPING


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user, after its checkpoint was written."""


class InterruptFlag:
    """Notes SIGINT (Ctrl-C), SIGTERM and SIGHUP instead of dying inside of an update.

    Only Ctrl-C after that stops at once. Under nohup, SIGHUP goes on to mean nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "InterruptFlag":
        # Python delivers signals to the main thread only; elsewhere they are somebody else's business.
        if threading.current_thread() is threading.main_thread():
            hangs_up = getattr(signal, "SIGHUP", None)
            for number in STOPPING:
                if number != hangs_up or signal.getsignal(number) != signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._note)
            _set.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self in _set:
            _set.remove(self)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def forget(self) -> None:
        """Let a process that was forked inside end when it is told to; Ctrl-C stays the parent's business."""
        for number, handler in self._handlers.items():
            if number != signal.SIGINT:
                signal.signal(number, handler)  # type: ignore[arg-type]


_set: list[InterruptFlag] = []
"""Flags whose handlers are set, the innermost last."""


def _after_fork() -> None:
    """A pool that breaks tells its other processes to end, and waits for them."""
    while _set:
        _set.pop().forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
