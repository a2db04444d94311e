"""Calls in several threads, one after the other: Pyro's handlers and torch's default type are the whole process's."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

TURN = threading.RLock()
"""Held by whoever runs a Pyro program for an engine."""


def in_turn(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, for one thread at a time among all functions made so."""

    @functools.wraps(function)
    def waiting(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with TURN:
            return function(*args, **kwargs)

    return waiting
