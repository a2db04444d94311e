"""What a checkpoint holds, by name and kind, so that a wrong one is refused before anything is changed by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pyrovae.shapes import is_whole
from pyrovae.training.early_stopping import EarlyStopping, watched


def _count(value: object) -> bool:
    return is_whole(value, 0)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: object) -> bool:
    return _number(value) and 0 <= value < math.inf  # type: ignore[operator]


def _mapping(keys: Callable[[object], bool], values: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, Mapping) and all(keys(k) and values(v) for k, v in value.items())


def _name(value: object) -> bool:
    return isinstance(value, str)


def _tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _or_none(kind: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or kind(value)


def _rows(value: object) -> bool:
    return isinstance(value, list) and all(_mapping(_name, _number)(row) for row in value)


def _counts(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_count, value))


def _optimizer(value: object) -> bool:
    if not (isinstance(value, Mapping) and isinstance(value.get("state"), Mapping)):
        return False
    groups = value.get("param_groups")
    return isinstance(groups, list) and all(_mapping(_name, lambda _: True)(group) for group in groups)


def _engine(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("engine"), str)
        and isinstance(value.get("reason"), str)
        and isinstance(value.get("settled"), bool)
        and _mapping(_name, _count)(value.get("steps_taken"))
        and _or_none(_mapping(_name, _number))(value.get("work"))
        and _mapping(_name, _mapping(_name, _mapping(_name, _counts)))(value.get("graphs"))
    )


KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "model": (_mapping(_name, _tensor), "tensors by name"),
    "best_weights": (_or_none(_mapping(_name, _tensor)), "tensors by name, or None"),
    "optimizer": (_optimizer, "the state of an optimiser"),
    "scheduler": (_or_none(_mapping(_name, lambda _: True)), "the state of a schedule, or None"),
    "rng": (_mapping(_name, _tensor), "states of generators"),
    "engine": (_engine, "the state of an engine"),
    "machine": (_mapping(_name, lambda _: True), "words by name"),
    "rows": (_rows, "rows of numbers"),
    "sums": (_mapping(_name, _number), "numbers by name"),
    "step_seconds": (_seconds, "a number of at least 0"),
    "seconds": (_seconds, "a number of at least 0"),
    "best": (_number, "a number"),
    "epochs_without_better": (_count, "a whole number of at least 0"),
    "epoch": (_count, "a whole number of at least 0"),
    "batch": (_count, "a whole number of at least 0"),
}
"""What each entry must be."""


def check_state(state: Mapping[str, Any]) -> None:
    """Refuse a checkpoint with an entry of the wrong kind.

    Raises:
        ValueError: Naming the first one.
    """
    for name, (is_right, kind) in KINDS.items():
        if name in state and not is_right(state[name]):
            given = (
                f"{type(state[name]).__name__} {state[name]!r}" if not isinstance(state[name], Mapping) else "a mapping"
            )
            raise ValueError(f"{name!r} must be {kind}, got {' '.join(given.split())[:80]}")
    if "epoch" in state and "rows" in state and len(state["rows"]) != state["epoch"]:
        raise ValueError(f"it is of epoch {state['epoch']} and has {len(state['rows'])} rows")
    if "rows" in state:
        _check_best(state)


def _check_best(state: Mapping[str, Any]) -> None:
    """Compare what early stopping has recorded with the rows that it saw."""
    replayed = EarlyStopping(None)
    for row in state["rows"]:
        replayed.is_better(watched(row))
    for name, value in replayed.state_dict().items():
        if state.get(name, value) != value:
            raise ValueError(f"{name!r} is {state[name]} where its rows say {value}")


def check_like(given: Mapping[str, Any], fresh: Mapping[str, Any], what: str) -> None:
    """Refuse settings of another kind than those that an optimiser or a schedule begins with.

    Raises:
        ValueError: Naming the first one.
    """
    for name, value in fresh.items():
        if name not in given:
            raise ValueError(f"{what} lacks {name!r}")
        if value is not None and _kind(value) != _kind(given[name]):
            raise ValueError(f"{name!r} of {what} must be like {value!r:.40}, got {given[name]!r:.40}")


def _kind(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_kind, value))}]" if len(value) < 4 else "list"
    return "number" if _number(value) or isinstance(value, Tensor) else type(value).__name__
