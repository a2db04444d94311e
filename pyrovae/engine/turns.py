"""Calls in several threads, one after the other: Pyro's handlers and torch's default type are the whole process's."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Turn:
    """A lock of the threads of a process, which the same thread may take again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._let_go)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()

    def _let_go(self) -> None:
        """Forget, in a process that was forked, a thread that was not."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


TURN = Turn()
"""Held by whoever runs a Pyro program for an engine."""


def in_turn(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, for one thread at a time among all functions made so."""

    @functools.wraps(function)
    def waiting(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with TURN:
            return function(*args, **kwargs)

    return waiting
