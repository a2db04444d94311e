"""Notice that Python has changed behind a graph."""

from __future__ import annotations

import collections
import contextvars
import datetime
import decimal
import functools
import gc
import io
import itertools
import operator
import pickle
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn
from torch.distributions import Transform
from torch.distributions.constraints import Constraint

from pyrovae.engine.compat import stored_parameters
from pyrovae.engine.observation import (
    Observation,
    is_installed,
    is_library_class,
    is_library_module,
    is_ours,
    names_used,
)

LARGEST_CONTAINER = 100_000
"""Items of a list, dictionary or set that are watched; programs that use a larger one are refused."""
LARGEST_ARRAY = 16_000_000
"""Bytes of a NumPy array that are watched; programs that use a larger one are refused."""

_EXACT_ATOMS = frozenset({
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented), re.Pattern,
    datetime.date, datetime.datetime, datetime.timedelta, decimal.Decimal, types.CodeType, operator.itemgetter,
    operator.methodcaller,
})  # fmt: skip
_ATOMS = (torch.dtype, torch.device, torch.layout, torch.memory_format, Constraint, np.generic, np.dtype)
_RANDOM = ("random.Random", "numpy.random", "torch._C.Generator")
# What Pyro's and torch's own classes write at every run and never read at the next: (class, start of the name).
_REWRITTEN = ((AutoGuide, "plates"), (Transform, "_cached"), (Transform, "_inv"))
_CONTENTS = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_ASKS_THE_STORE = frozenset({"get_param_store", "_PYRO_PARAM_STORE", "ParamStoreDict"})
_OF_LIBRARIES = frozenset({"__init__", "forward", "log_prob", "rsample", "sample", "support"})
_TABLE_ENDS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
_MISSING = object()


@dataclass
class _Slots:
    """Places that hold an object, each with the object that it held."""

    holders: list[Any] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def add(self, holder: Any, key: Any, value: Any, path: str) -> None:
        self.holders.append(holder)
        self.keys.append(key)
        self.values.append(value)
        self.paths.append(path)

    def unchanged(self, read: Callable[[Any, Any], Any]) -> bool:
        """Whether every place holds the very same object; fast."""
        try:
            return all(map(operator.is_, map(read, self.holders, self.keys), self.values))
        except (KeyError, IndexError, AttributeError, ValueError):
            return False

    def changes(self, read: Callable[[Any, Any], Any]) -> Iterator[str]:
        """The places that hold something else; equal numbers and strings are taken over."""
        for index, (holder, key, value) in enumerate(zip(self.holders, self.keys, self.values, strict=True)):
            try:
                now = read(holder, key)
            except (KeyError, IndexError, AttributeError, ValueError):
                now = _MISSING
            if now is not value:
                if same(now, value):
                    self.values[index] = now
                else:
                    yield self.paths[index]


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
        return one.tobytes() == other.tobytes()
    if isinstance(one, types.MethodType):
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    return _is_atom(one) and not isinstance(one, Constraint) and bool(one == other)


def _proxied(proxy: Any) -> Any:
    """The object behind a weak proxy, or None."""
    try:
        return proxy.__repr__.__self__
    except ReferenceError:
        return None


def _is_atom(value: Any) -> bool:
    """Whether a value has no parts that could change."""
    return type(value) in _EXACT_ATOMS or isinstance(value, _ATOMS)


class Watch:
    """All that code which ran took for granted of Python objects.

    Watched is what the code can reach: its closures, the globals that it names, defaults and attributes of functions,
    attributes of objects and classes whose names it uses, items of lists, dictionaries and sets, modules with their
    parameters, buffers, hooks and mode. Values of tensors need no watch, because graphs read them on every call.

    Args:
        roots: Objects by name: the programs, the loss, arguments that are no tensors.
        observation: The run.
        slots: Further places: a dictionary or list, a key, and a name for messages.

    Attributes:
        refused: What cannot be watched, in words.
        tensors: All tensors that were reached.
        reached: The `id` of each of them.
        asks_for_identity: Whether the code asks whether objects are identical.
    """

    def __init__(
        self, roots: Mapping[str, Any], observation: Observation, slots: Iterable[tuple[Any, Any, str]] = ()
    ) -> None:
        self._observation = observation
        known = -1
        while known != len(observation.names):  # an `attrgetter` on the way brings names that no code shows
            known = len(observation.names)
            self._clear()
            self._walk(roots, slots)
        self.reached = frozenset(map(id, self.tensors))
        self.asks_for_identity = observation.identity

    def _clear(self) -> None:
        self.refused: list[str] = []
        self.tensors: list[Tensor] = []
        self._items, self._cells, self._slots = _Slots(), _Slots(), _Slots()
        self._sized: list[Any] = []
        self._sizes: list[int] = []
        self._size_paths: list[str] = []
        self._empty: list[Any] = []
        self._empty_paths: list[str] = []
        self._relevant: dict[int, frozenset[str]] = {}
        self._containers: list[tuple[Any, list[Any], str]] = []
        self._absent_holders: list[Any] = []
        self._absent_names: list[str] = []
        self._copies: list[tuple[Any, Any, str]] = []
        self._typed: list[Any] = []
        self._types: list[type] = []
        self._generators: list[tuple[Any, Any, str]] = []
        self._weak: list[tuple[Any, str]] = []
        self._seen: dict[int, Any] = {}
        self._functions: set[types.CodeType] = set()
        self._pending: collections.deque[tuple[Any, str]] = collections.deque()

    def _walk(self, roots: Mapping[str, Any], slots: Iterable[tuple[Any, Any, str]]) -> None:
        self._pending.extend((v, k) for k, v in roots.items())
        self._drain()
        self._add_unreached_functions()
        self._add_globals()
        store = stored_parameters()
        if not self._observation.names.isdisjoint(_ASKS_THE_STORE):
            self._reach(store, "Pyro's parameter store")
        for holder, key, path in slots:
            self._items.add(holder, key, holder[key], path)
        self._drain()
        self._refuse_what_only_weak_references_reach()

    # ---- what the caller asks

    def changed(self) -> bool:
        """Whether anything is no longer what it was; a few tens of microseconds."""
        try:
            return not self._unchanged() and bool(self.changes())
        except Exception:  # an object of the user's that does not let itself be compared
            return True

    def _unchanged(self) -> bool:
        return (
            self._items.unchanged(operator.getitem)
            and list(map(len, self._sized)) == self._sizes
            and not any(self._empty)
            and not any(map(operator.contains, self._absent_holders, self._absent_names))
            and all(_holds(container, items) for container, items, _ in self._containers)
            and self._cells.unchanged(_cell)
            and self._slots.unchanged(getattr)
            and (not self._copies or all(_as_copied(value, copy) for value, copy, _ in self._copies))
            and list(map(type, self._typed)) == self._types
        )

    def changes(self) -> list[str]:
        """What is no longer as it was, by name."""
        found = [
            *self._items.changes(operator.getitem),
            *self._cells.changes(_cell),
            *self._slots.changes(getattr),
            *(n for h, n in zip(self._absent_holders, self._absent_names, strict=True) if n in h),
            *(path for container, items, path in self._containers if not _holds_alike(container, items)),
            *(path for table, path in zip(self._empty, self._empty_paths, strict=True) if table),
            *(path for value, copy, path in self._copies if not _as_copied(value, copy)),
            *(
                f"the class of {type(o).__name__}"
                for o, t in zip(self._typed, self._types, strict=True)
                if type(o) is not t
            ),
        ]
        for index, (container, size) in enumerate(zip(self._sized, self._sizes, strict=True)):
            if len(container) != size:
                names = self._relevant.get(id(container))
                if names is not None and not any(
                    key in names for key in container if key not in self._known(container)
                ):
                    self._sizes[index] = len(container)  # a new attribute that the code does not name
                else:
                    found.append(self._size_paths[index])
        return list(dict.fromkeys(found))

    def moved_generators(self) -> list[str]:
        """Own random number generators that are no longer in the state in which they were."""
        return [path for generator, state, path in self._generators if not _as_copied(_state(generator), state)]

    def _known(self, container: Any) -> set[Any]:
        pairs = zip(self._items.holders, self._items.keys, strict=True)
        return {key for holder, key in pairs if holder is container}

    # ---- the walk

    def _drain(self) -> None:
        while self._pending:
            value, path = self._pending.popleft()
            if _is_atom(value) or value is _MISSING or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            self._visit(value, path)

    def _visit(self, value: Any, path: str) -> None:
        if is_ours(type(value).__module__):
            return
        for kinds, visit in _VISITS:
            if isinstance(value, kinds):
                visit(self, value, path)
                return
        if _qualified(type(value)).startswith(_RANDOM):
            self._generators.append((value, _state(value), path))
        elif hasattr(type(value), "__next__") and not isinstance(value, io.IOBase):
            self.refused.append(f"{path} is an iterator, which every run moves")
        elif _own_dict(value) is not None or _slot_names(type(value)):
            self._object(value, path)
        elif hasattr(type(value), "__self__"):  # a method of an object in C
            self._reach(value.__self__, path)
        elif not str(type(value).__module__).startswith("torch"):
            self._opaque(value, path)

    def _opaque(self, value: Any, path: str) -> None:
        """An object in C whose attributes are not to be seen."""
        try:
            self._copies.append((value, _Pickled(pickle.dumps(value)), path))
        except Exception:  # whatever its own code raises
            self.refused.append(f"{path} is a {type(value).__name__}, whose state cannot be seen")

    def _getter(self, value: operator.attrgetter, path: str) -> None:
        self._observation.add_names(name for path in value.__reduce__()[1] for name in path.split("."))

    def _reach(self, value: Any, path: str) -> None:
        self._pending.append((value, path))

    def _item(self, holder: Any, key: Any, value: Any, path: str) -> None:
        self._items.add(holder, key, value, path)
        self._reach(value, path)

    def _size(self, container: Any, path: str, relevant: Iterable[str] | None = None) -> None:
        self._sized.append(container)
        self._sizes.append(len(container))
        self._size_paths.append(path)
        if relevant is not None:
            self._relevant[id(container)] = frozenset(relevant)

    def _names_for(self, owner: type) -> set[str] | None:
        """The attribute names that matter of objects of a class; None for all."""
        foreign = str(owner.__module__).partition(".")[0] not in ("torch", "pyro")
        if self._observation.any_attribute and (foreign or issubclass(owner, nn.Module)):
            return None
        library = any(is_library_class(c) and c is not object for c in owner.__mro__)
        return self._observation.library_names if library else self._observation.names

    def _container(self, value: Any, path: str) -> None:
        if len(value) > LARGEST_CONTAINER:
            self.refused.append(f"{path} has {len(value):,} items, too many to be watched")
            return
        mapping = isinstance(value, (dict, types.MappingProxyType))
        items = [*value, *value.values()] if mapping else list(value)
        self._containers.append((value, items, path))
        if isinstance(value, collections.defaultdict):
            self._slots.add(value, "default_factory", value.default_factory, path)
            self._reach(value.default_factory, path)
        for key, item in value.items() if mapping else enumerate(value):
            if not _is_atom(item):
                self._reach(item, f"{path}[{key!r}]")
            if mapping and not _is_atom(key):
                self._reach(key, path)
        self._attributes(value, path)

    def _tuple(self, value: tuple, path: str) -> None:
        for index, item in enumerate(value):
            self._reach(item, f"{path}[{index}]")
        self._attributes(value, path)

    def _set(self, value: Any, path: str) -> None:
        if len(value) > LARGEST_CONTAINER:
            self.refused.append(f"{path} has {len(value):,} items, too many to be watched")
            return
        self._copies.append((value, frozenset(value), path))
        for item in value:
            self._reach(item, path)

    def _array(self, value: np.ndarray, path: str) -> None:
        if value.nbytes > LARGEST_ARRAY:
            self.refused.append(f"{path} is a NumPy array of {value.nbytes:,} bytes, too large to be watched")
        elif value.dtype.hasobject:
            self._copies.append((value, value.tolist(), path))
            self._reach(value.tolist(), path)
        else:
            self._copies.append((value, value.copy(), path))

    def _tensor(self, value: Tensor, path: str) -> None:
        self.tensors.append(value)
        for name in self._observation.names & vars(value).keys():
            self._item(vars(value), name, vars(value)[name], f"{path}.{name}")

    def _bytes(self, value: Any, path: str) -> None:
        self._copies.append((value, bytes(value), path))

    def _function(self, value: types.FunctionType, path: str) -> None:
        self._slots.add(value, "__code__", value.__code__, path)
        self._attributes(value, path)
        if value.__code__ not in self._observation.functions:
            return
        self._functions.add(value.__code__)
        for name in ("__defaults__", "__kwdefaults__"):
            self._slots.add(value, name, getattr(value, name), f"a default of {path}")
            self._reach(getattr(value, name), f"a default of {path}")
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            content = _cell_or_missing(cell)
            if content is not _MISSING:
                self._cells.add(cell, None, content, name)
                self._reach(content, name)

    def _method(self, value: types.MethodType, path: str) -> None:
        self._reach(value.__func__, path)
        self._reach(value.__self__, path.rpartition(".")[0] or path)

    def _partial(self, value: functools.partial, path: str) -> None:
        for part in (value.func, value.args, value.keywords):
            self._reach(part, path)

    def _cached(self, value: Any, path: str) -> None:
        self._slots.add(_CacheMisses(value), "value", value.cache_info().misses, f"the cache of {path}")
        self._reach(value.__wrapped__, path)

    def _property(self, value: Any, path: str) -> None:
        for name in ("fget", "__func__", "func"):
            self._reach(getattr(value, name, None), path)

    def _reference(self, value: Any, path: str) -> None:
        self._weak.append((value, path))

    def _refuse_what_only_weak_references_reach(self) -> None:
        """A watch would keep such an object alive."""
        for reference, path in self._weak:
            target = reference() if isinstance(reference, weakref.ref) else _proxied(reference)
            if not (target is None or _is_atom(target) or id(target) in self._seen or isinstance(target, type)):
                self.refused.append(f"{path} is a weak reference, whose object a watch would keep alive")

    def _variable(self, value: contextvars.ContextVar, path: str) -> None:
        now = value.get(None)
        self._slots.add(_ContextValue(value), "value", now, path)
        self._reach(now, path)

    def _class(self, value: type, path: str) -> None:
        names = self._names_for(value)
        if not is_library_class(value):
            self._slots.add(value, "__mro__", value.__mro__, value.__name__)
            if not is_library_class(type(value)):
                self._reach(type(value), type(value).__name__)
        for owner in value.__mro__:
            table = owner.__dict__
            if is_library_class(owner) and owner is not object:
                self._size(table, owner.__name__, _OF_LIBRARIES)
                for key in _OF_LIBRARIES & table.keys():  # somebody may mend a library's class
                    self._items.add(table, key, table[key], f"{owner.__name__}.{key}")
            if is_library_class(owner):
                continue
            self._size(table, f"{owner.__name__}", names)
            for key, held in table.items():
                if key == "_abc_impl":  # its changes have a token of their own, which is watched everywhere
                    continue
                implicit = key.startswith("__") and callable(held) and not isinstance(held, type)
                if names is None or key in names or implicit:
                    self._item(table, key, held, f"{owner.__name__}.{key}")

    def _module_object(self, value: types.ModuleType, path: str) -> None:
        table, library = vars(value), is_library_module(value.__name__)
        everything = self._observation.any_attribute and not library and not is_installed(value)
        if everything:
            self._size(table, path)
        for name in list(table) if everything else self._observation.names & table.keys():
            held = table[name]
            if library and (callable(held) or isinstance(held, types.ModuleType)):
                self._items.add(table, name, held, f"{path}.{name}")  # torch's own functions may be replaced
            else:
                self._item(table, name, held, f"{path}.{name}")
        for name in self._observation.asked_for - table.keys():
            self._absent_holders.append(table)
            self._absent_names.append(name)

    def _network(self, value: nn.Module, path: str) -> None:
        attributes = vars(value)
        for name in _CONTENTS:
            table = attributes[name]
            self._seen[id(table)] = table
            self._size(table, path)
            for key, held in table.items():
                self._item(table, key, held, f"{path}.{key}")
        for name in _HOOKS:
            if attributes[name]:
                self._reach(attributes[name], f"{path}.{name}")
            else:
                self._empty.append(attributes[name])
                self._empty_paths.append(f"{path}.{name}")
        self._object(value, path)

    def _object(self, value: Any, path: str) -> None:
        self._attributes(value, path)
        self._typed.append(value)
        self._types.append(type(value))
        self._reach(type(value), type(value).__name__)

    def _attributes(self, value: Any, path: str) -> None:
        table = _own_dict(value)
        names = self._names_for(type(value))
        if table is not None:
            self._size(table, path, None if names is None else names | {"forward"})
            for key in list(table):
                if (names is None or key in names) and not (key.endswith(_TABLE_ENDS) or _is_rewritten(value, key)):
                    self._item(table, key, table[key], f"{path}.{key}")
        for key in _slot_names(type(value)):
            held = getattr(value, key, _MISSING)
            if held is not _MISSING and (names is None or key in names):
                self._slots.add(value, key, held, f"{path}.{key}")
                self._reach(held, f"{path}.{key}")

    # ---- what the programs reach by other ways than their objects

    def _add_unreached_functions(self) -> None:
        """Functions that ran and that no object led to, such as those in a registry that is written in C."""
        codes = set(self._observation.functions)
        made_inside = {
            constant for code in codes for constant in code.co_consts if isinstance(constant, types.CodeType)
        }
        missing = {code for code in codes - self._functions - made_inside if code.co_freevars}
        if missing:
            for thing in gc.get_objects():
                if type(thing) is types.FunctionType and thing.__code__ in missing:
                    self._reach(thing, thing.__name__)
        self._drain()

    def _add_globals(self) -> None:
        for code, namespace in self._observation.functions.items():
            uses = names_used(code)
            for name in uses.imports & sys.modules.keys():
                self._item(sys.modules, name, sys.modules[name], name)
            by_name = uses.attributes if uses.any_attribute else frozenset()
            for name in sorted(uses.globals | by_name):
                if name in namespace:
                    self._item(namespace, name, namespace[name], name)
                else:  # one of Python's own, until somebody hides it
                    self._absent_holders.append(namespace)
                    self._absent_names.append(name)


_VISITS: tuple[tuple[Any, Callable[[Watch, Any, str], None]], ...] = (
    ((weakref.ref, *weakref.ProxyTypes), Watch._reference),
    (Tensor, Watch._tensor),
    (type, Watch._class),
    (types.FunctionType, Watch._function),
    (types.MethodType, Watch._method),
    (types.ModuleType, Watch._module_object),
    (functools.partial, Watch._partial),
    (operator.attrgetter, Watch._getter),
    (type(functools.lru_cache(len)), Watch._cached),
    ((property, staticmethod, classmethod, functools.cached_property), Watch._property),
    (contextvars.ContextVar, Watch._variable),
    (nn.Module, Watch._network),
    (tuple, Watch._tuple),
    ((dict, types.MappingProxyType, list, collections.deque), Watch._container),
    ((set, frozenset), Watch._set),
    (np.ndarray, Watch._array),
    ((bytearray, memoryview), Watch._bytes),
    ((types.GetSetDescriptorType, types.MemberDescriptorType, types.CodeType), lambda watch, value, path: None),
)


class Layouts:
    """What a graph took for granted of tensors that it reads: shape, type, device, whether a gradient is wanted.

    Args:
        tensors: Kept alive.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        unique = {id(tensor): tensor for tensor in tensors if not tensor.is_sparse}
        self._tensors = list(unique.values())
        self._addresses = [t.data_ptr() for t in self._tensors]
        self._flags = list(map(_FLAGS, self._tensors))
        self._layouts = [(t.dtype, t.device, t.stride()) for t in self._tensors]

    def changed(self) -> bool:
        """Whether any is no longer as it was."""
        if list(map(_FLAGS, self._tensors)) != self._flags:
            return True
        addresses = [t.data_ptr() for t in self._tensors]
        if addresses == self._addresses:
            return False
        self._addresses = addresses  # `parameter.data = other` of the same layout is read like any new value
        return [(t.dtype, t.device, t.stride()) for t in self._tensors] != self._layouts


_FLAGS = operator.attrgetter("requires_grad", "shape", "_backward_hooks", "_post_accumulate_grad_hooks")


class Placement:
    """Where tensors lie in memory, which a CUDA graph takes for granted, and `module.cpu().cuda()` changes.

    Args:
        tensors: Kept alive.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = list(tensors)
        self._addresses = self._now()

    def _now(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors]

    def changed(self) -> bool:
        """Whether any tensor has new memory."""
        return self._now() != self._addresses


@dataclass(frozen=True)
class _Pickled:
    """The state of an object as its own code writes it down."""

    state: bytes


class _ContextValue:
    """The value of a context variable, as an attribute."""

    def __init__(self, variable: contextvars.ContextVar) -> None:
        self._variable = variable

    @property
    def value(self) -> Any:
        return self._variable.get(None)


class _CacheMisses:
    """How often a function with a cache had to compute, as an attribute."""

    def __init__(self, function: Any) -> None:
        self._function = function

    @property
    def value(self) -> int:
        return self._function.cache_info().misses


def _cell(cell: types.CellType, _: None) -> Any:
    return cell.cell_contents


def _cell_or_missing(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty until the enclosing function has assigned to it
        return _MISSING


def _holds(container: Any, items: list[Any]) -> bool:
    """Whether a container has these very items in this order; of a mapping, its keys and then its values."""
    if isinstance(container, (dict, types.MappingProxyType)):
        return 2 * len(container) == len(items) and all(
            map(operator.is_, itertools.chain(container, container.values()), items)
        )
    return len(container) == len(items) and all(map(operator.is_, container, items))


def _holds_alike(container: Any, items: list[Any]) -> bool:
    """The same, with equal numbers and strings taken for the same."""
    if isinstance(container, (dict, types.MappingProxyType)):
        now = [*container, *container.values()]
    else:
        now = list(container)
    return len(now) == len(items) and all(map(same, now, items))


def _as_copied(value: Any, copy: Any) -> bool:
    if isinstance(copy, np.ndarray):
        return value.dtype == copy.dtype and value.shape == copy.shape and value.tobytes() == copy.tobytes()
    if isinstance(value, np.ndarray):
        return same(_nested_tuple(value.tolist()), _nested_tuple(copy))
    if isinstance(copy, Tensor):
        return torch.equal(value, copy)
    if isinstance(copy, _Pickled):
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


def _own_dict(value: Any) -> dict[str, Any] | None:
    try:
        table = vars(value)
    except TypeError:
        return None
    return table if isinstance(table, dict) else None


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _slot_names(kind: type) -> tuple[str, ...]:
    found: list[str] = []
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else list(slots)
    return tuple(name for name in found if not name.startswith("__"))


def _is_rewritten(owner: Any, name: str) -> bool:
    return any(isinstance(owner, kind) and name.startswith(start) for kind, start in _REWRITTEN)


def named_parameters(*functions: Callable[..., Any] | None) -> dict[int, str]:
    """Names of the parameters of every module that the functions reach, by the tensor's `id`."""
    modules = [owner for owner in _objects(functions) if isinstance(owner, nn.Module)]
    largest_first = sorted(modules, key=lambda module: -sum(1 for _ in module.modules()))
    names: dict[int, str] = {}
    for module in largest_first:
        for name, parameter in module.named_parameters():
            names.setdefault(id(parameter), name)
    return names


def _objects(functions: tuple[Callable[..., Any] | None, ...]) -> list[Any]:
    """Modules that functions reach through closures, bound methods, partials and their attributes."""
    seen: dict[int, Any] = {}
    pending: list[Any] = list(functions)
    while pending:
        thing = pending.pop()
        if _is_atom(thing) or isinstance(thing, (Tensor, type)) or id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, (list, tuple)):
            pending += thing
        elif isinstance(thing, dict):
            pending += thing.values()
        elif isinstance(thing, nn.Module):
            pending += [v for k, v in vars(thing).items() if not k.startswith("_")] + list(thing.children())
        elif isinstance(thing, functools.partial):
            pending += [thing.func, thing.args, thing.keywords]
        elif callable(thing):
            pending += _reached_by(thing)
    return list(seen.values())


def _reached_by(function: Any) -> Iterator[Any]:
    owner = getattr(function, "__self__", None)
    if owner is not None:
        yield owner
        if not isinstance(owner, (nn.Module, types.ModuleType)) and hasattr(owner, "__dict__"):
            yield from list(vars(owner).values())
    function = getattr(function, "__func__", function)
    yield getattr(function, "__wrapped__", None)
    for cell in getattr(function, "__closure__", None) or ():
        content = _cell_or_missing(cell)
        if content is not _MISSING:
            yield content
    code = getattr(function, "__code__", None)
    if code is not None:
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, nn.Module):
                yield value
