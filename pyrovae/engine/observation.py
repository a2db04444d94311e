"""What one run of Python code did: which functions ran, which names they use, and what no graph could repeat."""

from __future__ import annotations

import dis
import functools
import inspect
import random
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import numpy
import opt_einsum
import pyro
import torch
import typing_extensions

from pyrovae.engine.compat import import_code

_STANDARD = (sysconfig.get_paths()["stdlib"], "<frozen")
_PACKAGES = (sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"])
_TRUSTED = (
    *(
        str(Path(str(file)).parent)
        for file in (torch.__file__, pyro.__file__, numpy.__file__, opt_einsum.__file__, __file__)
    ),
    str(typing_extensions.__file__),
)

# Calls whose result or effect is not the same at every run, by module and name; "*" is all of a module.
_IMPURE: dict[str, frozenset[str]] = {
    "builtins": frozenset({"print", "input", "open", "exec", "eval", "breakpoint"}),
    "time": frozenset({"*"}),
    "posix": frozenset({"*"}),
    "nt": frozenset({"*"}),
    "_io": frozenset({"*"}),
    "io": frozenset({"*"}),
    "_socket": frozenset({"*"}),
    "_posixsubprocess": frozenset({"*"}),
    "datetime": frozenset({"now", "today", "utcnow"}),
    "_thread": frozenset({"start_new_thread", "start_joinable_thread"}),
}
_SEEDING = frozenset(
    inspect.unwrap(function).__code__
    for function in (torch.random.manual_seed, torch.random.seed, torch.random.set_rng_state, pyro.util.set_rng_seed)
)
_IMPORT = import_code()
_ANY_ATTRIBUTE = frozenset({
    "vars", "__dict__", "globals", "locals", "__getattribute__", "asdict", "astuple", "dumps", "getmembers",
    "getattr_static", "attrgetter", "methodcaller",
})  # fmt: skip


@dataclass
class Observation:
    """One run.

    Attributes:
        functions: The code that ran, each with its global names; without that of torch, Pyro and the standard library.
        closures: Code of these libraries that ran and has variables of an enclosing function, such as decorators.
        names: Attribute names and strings in the code of `functions`.
        library_names: Attribute names in all code that ran.
        asked_for: Strings in code that calls `getattr` or `hasattr`, whose attributes may be missing.
        any_attribute: Whether the code reads attributes whose names it computes.
        identity: Whether the code asks whether objects are identical.
        impure: Calls that are not the same at every run, in words.
        calls: How many Python functions were called, a measure of what the run costs in Python.
    """

    functions: dict[CodeType, dict[str, Any]] = field(default_factory=dict)
    closures: set[CodeType] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    library_names: set[str] = field(default_factory=set)
    asked_for: set[str] = field(default_factory=set)
    any_attribute: bool = False
    identity: bool = False
    impure: list[str] = field(default_factory=list)
    calls: int = 0

    def add_names(self, names: Iterable[str]) -> None:
        """Take up attribute names that no code shows."""
        new = set(names)
        self.names |= new
        self.library_names |= new

    def close(self, codes: dict[CodeType, dict[str, Any]]) -> None:
        """Sort the code that ran."""
        for code, namespace in codes.items():
            self.library_names.update(code.co_names)
            self.library_names.update(name for name in code.co_consts if isinstance(name, str))
            if code in _SEEDING:
                self.impure.append("sets the seed of torch's random numbers")
            if in_library(code):
                if code.co_freevars:
                    self.closures.add(code)
            elif code.co_name != "<module>":
                self.functions[code] = namespace
                uses = names_used(code)
                self.names |= uses.attributes
                if not uses.globals.isdisjoint(("getattr", "hasattr")):
                    self.asked_for |= uses.attributes.difference(code.co_names)
                # Packages compute names all the time, of objects of their own.
                self.any_attribute |= uses.any_attribute and not code.co_filename.startswith(_PACKAGES)
                self.identity |= uses.identity
        self.library_names |= self.names


class observing:  # noqa: N801 (a context manager)
    """Record what runs inside, in this thread.

    Attributes:
        found: The record; complete when the context is left.
    """

    def __init__(self) -> None:
        self.found = Observation()
        self._importing = 0
        self._codes: dict[CodeType, dict[str, Any]] = {}
        self._impure: dict[str, None] = {}

    def __enter__(self) -> Observation:
        self._generators = _python_generators()
        self._before = sys.getprofile()
        sys.setprofile(self._profile)
        return self.found

    def __exit__(self, *error: object) -> None:
        before = self._before
        # A profiler in C, such as cProfile, is no Python function and is switched on again by its own method.
        sys.setprofile(before if before is None or callable(before) else None)
        if before is not None and not callable(before):
            before.enable()
        self.found.impure += [f"calls {name}" for name in self._impure]
        if not _same(self._generators, _python_generators()):
            self.found.impure.append("draws from Python's or NumPy's random numbers")
        self.found.close(self._codes)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code is _IMPORT:
            self._importing += {"call": 1, "return": -1}.get(event, 0)
        if self._importing:  # what a module does when it is made is done once, by this run alone
            return
        if event == "call":
            self._codes.setdefault(frame.f_code, frame.f_globals)
            self.found.calls += 1
        elif event == "c_call":
            name = _impure(argument)
            if name and not _for_library(frame):
                self._impure[name] = None


def _for_library(frame: FrameType | None) -> bool:
    """Whether a call serves torch or Pyro, directly or through the standard library."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_TRUSTED):
            return True
        if not file.startswith(_STANDARD) or file.startswith(_PACKAGES):
            return False
        frame = frame.f_back
    return False


def _impure(function: Any) -> str | None:
    module = getattr(function, "__module__", None)
    if module is None:
        owner = getattr(function, "__self__", None)
        module = getattr(owner if isinstance(owner, type) else type(owner), "__module__", None)
    names = _IMPURE.get(module) if isinstance(module, str) else None
    if names is None or not ("*" in names or function.__name__ in names):
        return None
    return function.__name__ if module == "builtins" else f"{str(module).lstrip('_')}.{function.__name__}"


def _python_generators() -> tuple[Any, ...]:
    return random.getstate(), numpy.random.get_state(legacy=False)["state"]


def _same(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    positions = before[1]["pos"] == after[1]["pos"]
    return before[0] == after[0] and positions and bool((before[1]["key"] == after[1]["key"]).all())


def in_library(code: CodeType) -> bool:
    """Whether code belongs to torch, Pyro, this package or Python's standard library."""
    file = code.co_filename
    if file.startswith(_TRUSTED):
        return True
    return file.startswith(_STANDARD) and not file.startswith(_PACKAGES)


def is_library_module(name: object) -> bool:
    """Whether a module of this name is torch, Pyro, NumPy, this package, or part of the standard library."""
    if not isinstance(name, str):  # some classes in C have none
        return True
    top = name.partition(".")[0]
    return (
        top in ("torch", "pyro", "numpy", "opt_einsum", "builtins") or top in sys.stdlib_module_names or is_ours(name)
    )


def is_installed(module: ModuleType) -> bool:
    """Whether a module comes from a package that is installed."""
    return str(getattr(module, "__file__", None)).startswith((*_PACKAGES, *_STANDARD))


def is_library_class(kind: type) -> bool:
    """Whether a class is written down in such a module; one made by a library for its user is the user's."""
    if not kind.__flags__ & _MADE_IN_PYTHON and kind.__module__ == "builtins":  # some have no name there
        return True
    module = sys.modules.get(str(kind.__module__))
    return is_library_module(kind.__module__) and hasattr(module, kind.__qualname__.partition(".")[0])


_MADE_IN_PYTHON = 1 << 9  # Python's own Py_TPFLAGS_HEAPTYPE


def is_ours(name: object) -> bool:
    """Whether a module of this name is part of this package."""
    package = __name__.rpartition(".")[0]
    return isinstance(name, str) and (name == package or name.startswith(f"{package}."))


@dataclass(frozen=True)
class Names:
    """The names that a piece of code uses.

    Attributes:
        attributes: Of attributes, and all strings that might be one's name.
        globals: Of globals.
        imports: Of modules that it imports when it runs.
        any_attribute: Whether it reads attributes by names that it computes.
        identity: Whether it asks whether objects are identical, and not only whether one is None.
    """

    attributes: frozenset[str]
    globals: frozenset[str]
    imports: frozenset[str]
    any_attribute: bool
    identity: bool


@functools.lru_cache(maxsize=10_000)
def names_used(code: CodeType) -> Names:
    """The names that a piece of code uses, without those of functions defined inside of it."""
    of_globals: set[str] = set()
    attributes: set[str] = set()
    imports: set[str] = set()
    computed = not _ANY_ATTRIBUTE.isdisjoint(code.co_names)
    # An object that stands for another hands the name on which its user's code shows.
    asked = code.co_varnames[1] if code.co_name == "__getattr__" and code.co_argcount == 2 else None
    instructions = list(dis.get_instructions(code))
    if any(i.opname.startswith("STORE_") and asked in (i.argval, *_several(i.argval)) for i in instructions):
        asked = None
    identity, before = False, ""
    for place, instruction in enumerate(instructions):
        name = instruction.argval
        identity |= instruction.opname == "IS_OP" and before != "LOAD_CONST"
        before = instruction.opname
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            of_globals.add(name)
            if name in ("getattr", "hasattr"):
                computed |= not _is_known(_name_given(instructions[place:]), asked)
        elif instruction.opname == "MATCH_CLASS":
            computed |= bool(instruction.arg)  # by place, which the class gives a name
        elif instruction.opname == "IMPORT_NAME":
            imports.add(name)
        elif instruction.opname == "LOAD_CONST":
            attributes.update(_strings(name))
    if not {"import_module", "__import__"}.isdisjoint(code.co_names):
        imports |= attributes  # its strings
    attributes.update(code.co_names)
    return Names(
        frozenset(attributes), frozenset(of_globals), frozenset(imports), computed, identity or "id" in of_globals
    )


def _name_given(instructions: Sequence[dis.Instruction]) -> dis.Instruction | None:
    """What makes the second argument of the call of `getattr` that begins here; None where that is not plain to see."""
    depth, made = 0, None
    for place, instruction in enumerate(instructions):
        if "JUMP" in instruction.opname:
            return None
        depth += dis.stack_effect(instruction.opcode, instruction.arg)
        if place == 0:
            base = depth
        elif depth < base:  # called
            return made
        elif depth == base + 2:
            made = instruction
    return None


def _is_known(made: dis.Instruction | None, asked: str | None) -> bool:
    """Whether a name is a constant of the code, or the one for which an object that stands for another was asked."""
    if made is None:
        return False
    if made.opname == "LOAD_CONST":
        return isinstance(made.argval, str)
    last = (made.argval, *_several(made.argval))[-1]
    return asked is not None and made.opname.startswith("LOAD_") and last == asked


def _several(name: Any) -> tuple[Any, ...]:
    """The names of an instruction for two variables at once."""
    return name if isinstance(name, tuple) else ()


_FIELD = re.compile(r"[^\W\d]\w*")


def _strings(constant: Any) -> Iterator[str]:
    if isinstance(constant, str):
        yield constant
        if "{" in constant:  # "{0.beta}".format(settings)
            yield from _FIELD.findall(constant)
    elif isinstance(constant, (tuple, frozenset)):
        for item in constant:
            yield from _strings(item)
