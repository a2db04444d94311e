"""Calls in several threads, one after the other: Pyro's handlers and torch's default type are the whole process's."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

_TURN = threading.RLock()


def in_turn(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, for one thread at a time among all functions made so."""

    @functools.wraps(function)
    def waiting(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with _TURN:
            return function(*args, **kwargs)

    return waiting
