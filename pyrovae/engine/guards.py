"""Notice that Python has changed behind a graph."""

from __future__ import annotations

import array
import builtins
import collections
import contextvars
import ctypes
import functools
import gc
import io
import operator
import os
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from pyro.infer.autoguide import AutoGuide
from pyro.poutine.guide import GuideMessenger
from torch import Tensor, nn
from torch.distributions import Transform

from pyrovae.engine.compat import stored_parameters, whole_store_slot
from pyrovae.engine.observation import (
    ANY_ATTRIBUTE,
    BY_NAME,
    Observation,
    is_installed,
    is_library_class,
    is_library_module,
    is_ours,
    names_used,
)
from pyrovae.engine.records import (
    MAPPINGS,
    MISSING,
    Absent,
    CacheMisses,
    Contents,
    ContextValue,
    Copies,
    Empty,
    Generators,
    Orders,
    Pickled,
    Places,
    Record,
    Sizes,
    Types,
    cell_contents,
    held_by,
    is_atom,
)

LARGEST_CONTAINER = 100_000
"""Items of a list, dictionary or set that are watched; programs that use a larger one are refused."""
LARGEST_ARRAY = 16_000_000
"""Bytes of a NumPy array that are watched; programs that use a larger one are refused."""
LARGEST_REACH = 200_000
"""Objects that are looked at; programs that reach more are refused."""

_RANDOM = ("random.Random", "numpy.random", "torch._C.Generator")
# What Pyro's and torch's own classes write at every run and never read at the next: (class, start of the name).
_REWRITTEN = ((AutoGuide, "plates"), (GuideMessenger, "trace"), (Transform, "_cached"), (Transform, "_inv"))
_CONTENTS = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_DEFINITION = frozenset({"__name__", "__qualname__", "__doc__", "__annotations__"})
_ASKS_THE_STORE = frozenset({"get_param_store", "_PYRO_PARAM_STORE", "ParamStoreDict"})
_OF_LIBRARIES = frozenset({"__init__", "forward", "log_prob", "rsample", "sample", "support"})
_FILLED = frozenset({"__defaults__", "__kwdefaults__", "__closure__"})
_CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.WrapperDescriptorType, type)
_BY_ANY_NAME = ANY_ATTRIBUTE | BY_NAME
_TABLE_ENDS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")


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
        known = None
        while known != (now := (len(observation.names), observation.any_attribute)):
            known = now  # an `attrgetter` on the way brings names that no code shows, another name of `getattr` all
            self._clear()
            self._walk(roots, slots)
        self.reached = frozenset(map(id, self.tensors))
        self.asks_for_identity = observation.identity

    def _clear(self) -> None:
        self.refused: list[str] = []
        self.tensors: list[Tensor] = []
        self._items, self._cells, self._fields = Places(operator.getitem), Places(cell_contents), Places(getattr)
        self._unset = Places(lambda holder, key: getattr(holder, key, MISSING))  # slots without a value
        self._sizes, self._orders, self._empty, self._absent = Sizes(self._items), Orders(), Empty(), Absent()
        self._contents, self._copies, self._types = Contents(), Copies(), Types()
        self._records: tuple[Record, ...] = (
            self._items, self._sizes, self._orders, self._empty, self._absent, self._contents, self._cells,
            self._fields, self._unset, self._copies, self._types,
        )  # fmt: skip
        self._generators = Generators()
        self._weak: list[tuple[Any, str]] = []
        self._seen: dict[int, Any] = {}
        self._functions: set[types.CodeType] = set()
        self._pending: collections.deque[tuple[Any, str]] = collections.deque()

    def _walk(self, roots: Mapping[str, Any], slots: Iterable[tuple[Any, Any, str]]) -> None:
        self._pending.extend((v, k) for k, v in roots.items())
        self._drain()
        self._add_globals()
        self._drain()
        self._add_unreached_functions()
        if not self._observation.names.isdisjoint(_ASKS_THE_STORE):
            self._reach(stored_parameters(), "Pyro's parameter store")
            slots = [whole_store_slot(), *slots]
        if "environ" in self._observation.names:
            self._reach(os.environ, "the environment")
        for value in self._observation.returned:
            self._reach(value, getattr(value, "name", type(value).__name__))
        for holder, key, path in slots:
            self._items.add(holder, key, holder[key], path)
            if not isinstance(holder[key], Tensor):  # a constraint
                self._reach(holder[key], path)
        self._drain()
        self._refuse_what_only_weak_references_reach()

    # ---- what the caller asks

    def changed(self) -> bool:
        """Whether anything is no longer what it was; a few tens of microseconds."""
        try:
            return not all(record.unchanged() for record in self._records) and bool(self.changes())
        except Exception:  # an object of the user's that does not let itself be compared
            return True

    def changes(self) -> list[str]:
        """What is no longer as it was, by name."""
        return list(dict.fromkeys(name for record in self._records for name in record.changes()))

    def moved_generators(self) -> list[str]:
        """Own random number generators that are no longer in the state in which they were."""
        return self._generators.moved()

    # ---- the walk

    def _drain(self) -> None:
        while self._pending:
            value, path = self._pending.popleft()
            if is_atom(value) or value is MISSING or id(value) in self._seen:
                continue
            if len(self._seen) == LARGEST_REACH:
                self.refused.append(f"the programs reach more than {LARGEST_REACH:,} objects, too many to be watched")
                self._pending.clear()
                return
            self._seen[id(value)] = value
            self._visit(value, path)

    def _visit(self, value: Any, path: str) -> None:
        if is_ours(type(value).__module__):
            return
        if isinstance(value, _CALLABLES) and value.__name__ in _BY_ANY_NAME:
            self._observation.any_attribute = True
        for kinds, visit in _VISITS:
            if isinstance(value, kinds):
                visit(self, value, path)
                if isinstance(value, _WITH_SUBCLASSES) and not is_library_class(type(value)):
                    self._class_of(value)
                return
        if any(_qualified(kind).startswith(_RANDOM) for kind in type(value).__mro__):
            self._generators.add(value, path)
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
            self._copies.add(value, Pickled(pickle.dumps(value)), path)
        except Exception:  # whatever its own code raises
            self.refused.append(f"{path} is a {type(value).__name__}, whose state cannot be seen")

    def _getter(self, value: operator.attrgetter, path: str) -> None:
        self._observation.add_names(name for path in value.__reduce__()[1] for name in path.split("."))

    def _caller(self, value: operator.methodcaller, path: str) -> None:
        reduced: Any = value.__reduce__()
        maker, given = reduced
        if isinstance(maker, functools.partial):  # there are keywords
            self._reach(maker.keywords, path)
            given = (*maker.args, *given)
        self._observation.add_names(given[:1])
        self._reach(given[1:], path)

    def _reach(self, value: Any, path: str) -> None:
        self._pending.append((value, path))

    def _item(self, holder: Any, key: Any, value: Any, path: str) -> None:
        self._items.add(holder, key, value, path)
        self._reach(value, path)

    def _names_for(self, owner: type) -> set[str] | None:
        """The attribute names that matter of objects of a class; None for all."""
        foreign = str(owner.__module__).partition(".")[0] not in ("torch", "pyro")
        if self._observation.any_attribute and (foreign or issubclass(owner, nn.Module)):
            return None
        if self._observation.compares and issubclass(owner, types.SimpleNamespace):  # by all of its attributes
            return None
        library = any(is_library_class(c) and c is not object for c in owner.__mro__)
        return self._observation.library_names if library else self._observation.names

    def _container(self, value: Any, path: str) -> None:
        held = held_by(value)
        if len(held) > LARGEST_CONTAINER:
            self.refused.append(f"{path} has {len(held):,} items, too many to be watched")
            return
        mapping = isinstance(value, MAPPINGS)
        self._contents.add(value, path)
        if isinstance(value, collections.defaultdict):
            self._fields.add(value, "default_factory", value.default_factory, path)
            self._reach(value.default_factory, path)
        for key, item in held.items() if mapping else enumerate(held):
            if not is_atom(item):
                self._reach(item, f"{path}[{key!r}]")
            if mapping and not is_atom(key):
                self._reach(key, path)
        self._attributes(value, path)

    def _tuple(self, value: tuple, path: str) -> None:
        for index, item in enumerate(held_by(value)):
            self._reach(item, f"{path}[{index}]")
        self._attributes(value, path)

    def _set(self, value: Any, path: str) -> None:
        held = held_by(value)
        if len(held) > LARGEST_CONTAINER:
            self.refused.append(f"{path} has {len(held):,} items, too many to be watched")
            return
        self._contents.add(value, path)
        for item in held:
            self._reach(item, path)
        self._attributes(value, path)

    def _array(self, value: np.ndarray | np.void, path: str) -> None:
        self._attributes(value, path)
        if value.nbytes > LARGEST_ARRAY:
            self.refused.append(f"{path} is a NumPy array of {value.nbytes:,} bytes, too large to be watched")
        elif value.dtype.hasobject:
            self._copies.add(value, value.tolist(), path)
            self._reach(value.tolist(), path)
        else:
            self._copies.add(value, value.copy(), path)

    def _tensor(self, value: Tensor, path: str) -> None:
        self.tensors.append(value)
        for name in self._observation.names & vars(value).keys():
            self._item(vars(value), name, vars(value)[name], f"{path}.{name}")

    def _bytes(self, value: Any, path: str) -> None:
        self._copies.add(value, bytes(value), path)
        self._attributes(value, path)

    def _error(self, value: BaseException, path: str) -> None:
        self._fields.add(value, "args", value.args, f"{path}.args")
        self._reach(value.args, f"{path}.args")
        self._object(value, path)

    def _function(self, value: types.FunctionType, path: str) -> None:
        self._fields.add(value, "__code__", value.__code__, path)
        self._of_definition(value, path)
        self._attributes(value, path)
        ran = value.__code__ in self._observation.functions or value.__code__ in self._observation.closures
        if not (ran or self._observation.any_attribute or _FILLED & self._observation.names):
            return
        self._functions.add(value.__code__)
        for name in ("__defaults__", "__kwdefaults__"):
            self._fields.add(value, name, getattr(value, name), f"a default of {path}")
            self._reach(getattr(value, name), f"a default of {path}")
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            content = cell_contents(cell)
            if content is not MISSING:
                self._cells.add(cell, None, content, name)
                self._reach(content, name)

    def _of_definition(self, value: Any, path: str) -> None:
        """What the definition of a function or class says of it, which is not among its attributes."""
        for name in _DEFINITION & self._observation.names:
            self._fields.add(value, name, getattr(value, name, None), f"{path}.{name}")
            self._reach(getattr(value, name, None), f"{path}.{name}")

    def _method(self, value: types.MethodType, path: str) -> None:
        self._reach(value.__func__, path)
        self._reach(value.__self__, path.rpartition(".")[0] or path)

    def _partial(self, value: functools.partial, path: str) -> None:
        for part in (value.func, value.args, value.keywords):
            self._reach(part, path)

    def _cached(self, value: Any, path: str) -> None:
        self._fields.add(CacheMisses(value), "value", value.cache_info().misses, f"the cache of {path}")
        self._reach(value.__wrapped__, path)
        for held in gc.get_referents(value):  # what it has returned may be changed, and is returned again
            links = type(held) is dict and any(type(v).__name__ == "_lru_list_elem" for v in held.values())
            if not links:
                self._reach(held, f"the cache of {path}")

    def _view(self, value: Any, path: str) -> None:
        self._reach(value.mapping, path)

    def _descriptor(self, value: Any, path: str) -> None:
        self._observation.add_names([value.__name__])

    def _property(self, value: Any, path: str) -> None:
        for name in ("fget", "__func__", "func"):
            self._reach(getattr(value, name, None), path)

    def _reference(self, value: Any, path: str) -> None:
        self._weak.append((value, path))

    def _refuse_what_only_weak_references_reach(self) -> None:
        """A watch would keep such an object alive."""
        for reference, path in self._weak:
            target = _referent(reference)
            if not (target is None or is_atom(target) or id(target) in self._seen or isinstance(target, type)):
                self.refused.append(f"{path} is a weak reference, whose object a watch would keep alive")

    def _variable(self, value: contextvars.ContextVar, path: str) -> None:
        now = value.get(None)
        self._fields.add(ContextValue(value), "value", now, path)
        self._reach(now, path)

    def _class(self, value: type, path: str) -> None:
        names = self._names_for(value)
        if not is_library_class(value):
            self._of_definition(value, value.__name__)
            self._fields.add(value, "__mro__", value.__mro__, value.__name__)
            if not is_library_class(type(value)):
                self._reach(type(value), type(value).__name__)
        for owner in value.__mro__:
            table = owner.__dict__
            if is_library_class(owner) and owner is not object:
                self._sizes.add(table, _OF_LIBRARIES, owner.__name__, length_alone=True)
                for key in _OF_LIBRARIES & table.keys():  # somebody may mend a library's class
                    self._items.add(table, key, table[key], f"{owner.__name__}.{key}")
            if is_library_class(owner):
                continue
            self._sizes.add(table, names, owner.__name__)
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
            self._sizes.add(table, None, path)
        for name in list(table) if everything else self._observation.names & table.keys():
            held = table[name]
            if library and (callable(held) or isinstance(held, types.ModuleType)):
                self._items.add(table, name, held, f"{path}.{name}")  # torch's own functions may be replaced
            else:
                self._item(table, name, held, f"{path}.{name}")
        for name in self._observation.asked_for - table.keys():
            self._absent.add(table, name)

    def _network(self, value: nn.Module, path: str) -> None:
        attributes = vars(value)
        for name in _CONTENTS:
            table = attributes[name]
            self._seen[id(table)] = table
            if table:
                self._orders.add(table, path)
            else:
                self._empty.add(table, path)
            for key, held in table.items():
                self._item(table, key, held, f"{path}.{key}")
        for name in _HOOKS:
            if attributes[name]:
                self._reach(attributes[name], f"{path}.{name}")
            else:
                self._empty.add(attributes[name], f"{path}.{name}")
        self._object(value, path)

    def _object(self, value: Any, path: str) -> None:
        self._attributes(value, path)
        self._class_of(value)

    def _class_of(self, value: Any) -> None:
        self._types.add(value)
        self._reach(type(value), type(value).__name__)

    def _attributes(self, value: Any, path: str) -> None:
        table = _own_dict(value)
        names = self._names_for(type(value))
        if table is not None:
            self._sizes.add(table, None if names is None else names | {"forward"}, path)
            for key in list(table):
                if (names is None or key in names) and not (key.endswith(_TABLE_ENDS) or _is_rewritten(value, key)):
                    self._item(table, key, table[key], f"{path}.{key}")
        for key in _slot_names(type(value)):
            held = getattr(value, key, MISSING)
            if names is None or key in names:
                (self._unset if held is MISSING else self._fields).add(value, key, held, f"{path}.{key}")
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
            for name in uses.imports:
                if name in sys.modules:
                    self._item(sys.modules, name, sys.modules[name], name)
                else:
                    self._absent.add(sys.modules, name)
            by_name = uses.attributes if uses.any_attribute else frozenset()
            if self._observation.any_attribute:
                by_name |= uses.attributes & namespace.keys()
            for name in sorted(uses.globals | by_name):
                if name in namespace:
                    self._item(namespace, name, namespace[name], name)
                else:  # one of Python's own, until somebody hides it
                    self._absent.add(namespace, name)
                    if hasattr(builtins, name):
                        self._items.add(vars(builtins), name, getattr(builtins, name), name)


_MAPPINGS: tuple[dict[Any, Any], ...] = ({}, collections.OrderedDict())
_VIEWS = tuple(type(view) for mapping in _MAPPINGS for view in (mapping.keys(), mapping.values(), mapping.items()))
_VISITS: tuple[tuple[Any, Callable[[Watch, Any, str], None]], ...] = (
    ((weakref.ref, *weakref.ProxyTypes), Watch._reference),
    (Tensor, Watch._tensor),
    (type, Watch._class),
    (types.FunctionType, Watch._function),
    (types.MethodType, Watch._method),
    (types.ModuleType, Watch._module_object),
    (functools.partial, Watch._partial),
    (operator.attrgetter, Watch._getter),
    (operator.methodcaller, Watch._caller),
    (BaseException, Watch._error),
    (type(functools.lru_cache(len)), Watch._cached),
    ((property, staticmethod, classmethod, functools.cached_property), Watch._property),
    (contextvars.ContextVar, Watch._variable),
    (nn.Module, Watch._network),
    (tuple, Watch._tuple),
    ((*MAPPINGS, list, collections.deque), Watch._container),
    ((set, frozenset), Watch._set),
    ((np.ndarray, np.void), Watch._array),
    ((bytearray, memoryview, array.array, ctypes.Structure, ctypes.Union, ctypes.Array), Watch._bytes),
    (_VIEWS, Watch._view),
    ((types.GetSetDescriptorType, types.MemberDescriptorType), Watch._descriptor),
    (types.CodeType, lambda watch, value, path: None),
)
_WITH_SUBCLASSES = (
    tuple, list, dict, set, frozenset, collections.deque, bytearray, array.array, np.ndarray, Tensor,
    functools.partial, property, types.ModuleType,
)  # fmt: skip


def _referent(reference: Any) -> Any:
    """What a weak reference or a weak proxy stands for, or None."""
    if isinstance(reference, weakref.ref):
        return reference()
    try:
        return reference.__repr__.__self__
    except ReferenceError:
        return None


def _own_dict(value: Any) -> dict[str, Any] | None:
    try:
        table = vars(value)
    except TypeError:
        return None
    return table if isinstance(table, dict) else None


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _slot_names(kind: type) -> tuple[str, ...]:
    found: list[tuple[str, type]] = []
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        found += [(name, owner) for name in ([slots] if isinstance(slots, str) else slots)]
    hidden = ("__dict__", "__weakref__")
    return tuple(_mangled(name, owner) for name, owner in found if name not in hidden)


def _mangled(name: str, owner: type) -> str:
    """The name of an attribute as Python keeps it that begins with two underscores in the code of a class."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{owner.__name__.lstrip('_')}{name}" if private else name


def _is_rewritten(owner: Any, name: str) -> bool:
    return any(isinstance(owner, kind) and name.startswith(start) for kind, start in _REWRITTEN)
