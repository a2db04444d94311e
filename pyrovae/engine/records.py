"""What Python objects held at one time, in forms that are quick to compare with what they hold now."""

from __future__ import annotations

import collections
import contextvars
import datetime
import decimal
import itertools
import operator
import pickle
import re
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MISSING = object()
"""Stands for an attribute, item or cell that does not exist."""

MAPPINGS = (dict, types.MappingProxyType)
_CONTAINERS = frozenset({
    collections.OrderedDict, dict, types.MappingProxyType, list, tuple, collections.deque, set, frozenset,
})  # fmt: skip
_EXACT_ATOMS = frozenset({
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented), re.Pattern,
    datetime.date, datetime.datetime, datetime.timedelta, decimal.Decimal, types.CodeType, operator.itemgetter,
})  # fmt: skip
_LOOSELY_EQUAL = frozenset({complex, range, slice, datetime.datetime, decimal.Decimal})  # as 1.0 and 1.00
_ATOMS = (torch.dtype, torch.device, torch.layout, torch.memory_format, np.generic, np.dtype)


def is_atom(value: Any) -> bool:
    """Whether a value has no parts that could change."""
    return type(value) in _EXACT_ATOMS or (isinstance(value, _ATOMS) and not isinstance(value, np.void))


def same(one: Any, other: Any) -> bool:
    """Whether two objects are the same, or equal and of a kind that cannot change."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one.hex() == other.hex()  # NaN equals NaN, and -0.0 is not 0.0
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, types.MethodType):
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    if type(one) in _LOOSELY_EQUAL and repr(one) != repr(other):
        return False
    return is_atom(one) and bool(one == other)


def held_by(container: Any) -> Any:
    """The items as Python's own container holds them, whatever methods a subclass has put over its own."""
    if type(container) in _CONTAINERS:
        return container
    kind: Any = next(kind for kind in type(container).__mro__ if kind in _CONTAINERS)
    return dict(kind.items(container)) if issubclass(kind, dict) else list(kind.__iter__(container))


def cell_contents(cell: types.CellType, _: None = None) -> Any:
    """What a closure's cell holds; `MISSING` until the enclosing function has assigned to it."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


class Record(ABC):
    """What many places or objects held."""

    @abstractmethod
    def unchanged(self) -> bool:
        """Whether all hold the very same; quick, and False where equal values would have to be compared."""

    @abstractmethod
    def changes(self) -> Iterator[str]:
        """What holds something else, by name; equal numbers and strings are taken for the same."""


class Places(Record):
    """Places that hold an object.

    Args:
        read: What a place holds, given its holder and key.
    """

    def __init__(self, read: Callable[[Any, Any], Any]) -> None:
        self._read = read
        self._holders: list[Any] = []
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._names: list[str] = []

    def add(self, holder: Any, key: Any, value: Any, name: str) -> None:
        """Note that `holder` has `value` at `key`."""
        self._holders.append(holder)
        self._keys.append(key)
        self._values.append(value)
        self._names.append(name)

    def keys_of(self, holder: Any) -> set[Any]:
        """The keys noted of one holder."""
        return {key for other, key in zip(self._holders, self._keys, strict=True) if other is holder}

    def unchanged(self) -> bool:
        """Whether every place holds the very same object."""
        try:
            return all(map(operator.is_, map(self._read, self._holders, self._keys), self._values))
        except (KeyError, IndexError, AttributeError, ValueError):
            return False

    def changes(self) -> Iterator[str]:
        """The places that hold something else; what is equal is noted in its new form."""
        for index, (holder, key, value) in enumerate(zip(self._holders, self._keys, self._values, strict=True)):
            try:
                now = self._read(holder, key)
            except (KeyError, IndexError, AttributeError, ValueError):
                now = MISSING
            if now is not value:
                if same(now, value):
                    self._values[index] = now
                else:
                    yield self._names[index]


class Orders(Record):
    """Keys of tables in their order."""

    def __init__(self) -> None:
        self._tables: list[Any] = []
        self._keys: list[tuple[Any, ...]] = []
        self._names: list[str] = []

    def add(self, table: Any, name: str) -> None:
        """Note the keys of a table."""
        self._tables.append(table)
        self._keys.append(tuple(table))
        self._names.append(name)

    def unchanged(self) -> bool:
        """Whether all tables have the same keys."""
        return list(map(tuple, self._tables)) == self._keys

    def changes(self) -> Iterator[str]:
        """Tables with other keys, or in another order."""
        triples = zip(self._tables, self._keys, self._names, strict=True)
        return (name for table, keys, name in triples if tuple(table) != keys)


class Sizes(Record):
    """Lengths and last keys of tables, where a new entry, which is always the last, may hide another.

    Args:
        known: The entries that are noted by themselves.
    """

    def __init__(self, known: Places) -> None:
        self._known = known
        self._tables: list[Any] = []
        self._sizes: list[int] = []
        self._relevant: list[frozenset[str] | None] = []
        self._names: list[str] = []
        self._whole: list[Any] = []
        self._last: list[Any] = []

    def add(self, table: Any, relevant: Iterable[str] | None, name: str, *, length_alone: bool = False) -> None:
        """Note a table; a new entry matters if it is among `relevant`, or always for None."""
        self._tables.append(table)
        self._sizes.append(len(table))
        self._relevant.append(None if relevant is None else frozenset(relevant))
        self._names.append(name)
        if not length_alone:
            self._whole.append(table)
            self._last.append(_last_key(table))

    def unchanged(self) -> bool:
        """Whether all lengths and last keys are the same."""
        return list(map(len, self._tables)) == self._sizes and self._last_keys() == self._last

    def _last_keys(self) -> list[Any]:
        return list(map(next, map(reversed, self._whole), itertools.repeat(None)))

    def changes(self) -> Iterator[str]:
        """Tables with an entry that is new and matters, or one less."""
        last, found = self._last_keys(), False
        moved = {id(table) for table, *two in zip(self._whole, last, self._last, strict=True) if two[0] != two[1]}
        for index, (table, size) in enumerate(zip(self._tables, self._sizes, strict=True)):
            if len(table) == size and id(table) not in moved:
                continue
            relevant = self._relevant[index]
            if relevant is None or not relevant.isdisjoint(table.keys() - self._known.keys_of(table)):
                found = True
                yield self._names[index]
            else:
                self._sizes[index] = len(table)
        if not found:
            self._last = last


def _last_key(table: Any) -> Any:
    return next(reversed(table), None)


class _Names(Record):
    """Names, each with the table that it is about."""

    def __init__(self) -> None:
        self._tables: list[Any] = []
        self._names: list[str] = []

    def add(self, table: Any, name: str) -> None:
        """Note a table and a name."""
        self._tables.append(table)
        self._names.append(name)


class Empty(_Names):
    """Tables that had no entry."""

    def unchanged(self) -> bool:
        """Whether all are empty."""
        return not any(self._tables)

    def changes(self) -> Iterator[str]:
        """Those that have an entry."""
        return itertools.compress(self._names, self._tables)


class Absent(_Names):
    """Names that a table did not have."""

    def unchanged(self) -> bool:
        """Whether all are still absent."""
        return not any(map(operator.contains, self._tables, self._names))

    def changes(self) -> Iterator[str]:
        """Those that have appeared."""
        return itertools.compress(self._names, map(operator.contains, self._tables, self._names))


class Contents(Record):
    """Items of lists and dictionaries, in their order."""

    def __init__(self) -> None:
        self._containers: list[tuple[Any, list[Any], str]] = []

    def add(self, container: Any, name: str) -> None:
        """Note all items of a container; of a mapping, its keys and then its values."""
        self._containers.append((container, list(itertools.chain(*_parts(container))), name))

    def unchanged(self) -> bool:
        """Whether all containers have the very same items."""
        return all(
            sum(map(len, parts := _parts(container))) == len(items)
            and all(map(operator.is_, itertools.chain(*parts), items))
            for container, items, _ in self._containers
        )

    def changes(self) -> Iterator[str]:
        """Containers with other items."""
        for container, items, name in self._containers:
            now = list(itertools.chain(*_parts(container)))
            if len(now) != len(items) or not all(map(same, now, items)):
                yield name


def _parts(container: Any) -> tuple[Any, ...]:
    held = held_by(container)
    return (held, held.values()) if isinstance(held, MAPPINGS) else (held,)


class Copies(Record):
    """Objects that are compared with a copy of their contents."""

    def __init__(self) -> None:
        self._copies: list[tuple[Any, Any, str]] = []

    def add(self, value: Any, copy: Any, name: str) -> None:
        """Note what an object contains."""
        self._copies.append((value, copy, name))

    def unchanged(self) -> bool:
        """Whether all contain the same."""
        return all(_as_copied(value, copy) for value, copy, _ in self._copies)

    def changes(self) -> Iterator[str]:
        """Those that contain something else."""
        return (name for value, copy, name in self._copies if not _as_copied(value, copy))


class Types(Record):
    """Classes of objects, which Python lets a program replace."""

    def __init__(self) -> None:
        self._objects: list[Any] = []
        self._types: list[type] = []

    def add(self, value: Any) -> None:
        """Note the class of an object."""
        self._objects.append(value)
        self._types.append(type(value))

    def unchanged(self) -> bool:
        """Whether all objects have the same class."""
        return list(map(type, self._objects)) == self._types

    def changes(self) -> Iterator[str]:
        """Objects of another class."""
        pairs = zip(self._objects, self._types, strict=True)
        return (f"the class of {type(value).__name__}" for value, kind in pairs if type(value) is not kind)


class Generators:
    """States of random number generators that belong to the program."""

    def __init__(self) -> None:
        self._states: list[tuple[Any, Any, str]] = []

    def add(self, generator: Any, name: str) -> None:
        """Note a state."""
        self._states.append((generator, _state(generator), name))

    def moved(self) -> list[str]:
        """Generators in another state."""
        return [name for generator, state, name in self._states if not _as_copied(_state(generator), state)]


@dataclass(frozen=True)
class Pickled:
    """The state of an object as its own code writes it down."""

    state: bytes


class ContextValue:
    """The value of a context variable, as an attribute."""

    def __init__(self, variable: contextvars.ContextVar) -> None:
        self._variable = variable

    @property
    def value(self) -> Any:
        """What the variable holds now, or None."""
        return self._variable.get(None)


class CacheMisses:
    """How often a function with a cache had to compute, as an attribute."""

    def __init__(self, function: Any) -> None:
        self._function = function

    @property
    def value(self) -> int:
        """The number of misses so far."""
        return self._function.cache_info().misses


def _as_copied(value: Any, copy: Any) -> bool:
    if isinstance(copy, (np.ndarray, np.void)):
        return value.dtype == copy.dtype and value.shape == copy.shape and value.tobytes() == copy.tobytes()
    if isinstance(value, (np.ndarray, np.void)):
        return same(_nested_tuple(value.tolist()), _nested_tuple(copy))
    if isinstance(copy, Tensor):
        return torch.equal(value, copy)
    if isinstance(copy, Pickled):
        return pickle.dumps(value) == copy.state
    if isinstance(copy, bytes):
        return bytes(value) == copy
    if isinstance(copy, str):
        return repr(value) == copy
    return bool(value == copy)


def _nested_tuple(value: Any) -> Any:
    return tuple(map(_nested_tuple, value)) if isinstance(value, list) else value


def _state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if hasattr(generator, "getstate"):
        return generator.getstate()
    if hasattr(generator, "get_state"):
        return repr(generator.get_state())
    return repr(getattr(generator, "bit_generator", generator).state)
