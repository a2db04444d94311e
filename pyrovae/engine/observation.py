"""What one run of Python code did: which functions ran, which names they use, and what no graph could repeat."""

from __future__ import annotations

import dis
import functools
import inspect
import logging
import multiprocessing
import random
import re
import sys
import sysconfig
import threading
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
    "torch": frozenset({"from_file"}),
    "torch._C": frozenset({"seed", "initial_seed"}),  # of a generator
    "numpy": frozenset({"fromfile"}),
}
# What torch or NumPy read of files they read for the program; Python reads its own code to show it in messages.
_FILES = {module: frozenset({"open", "open_code"}) for module in ("io", "_io")}
_SHOWING_CODE = ("linecache.py", "tokenize.py")
# Calls that tell of Python and of the machine, which Python's own code makes for reasons of its own.
_STATES: dict[str, frozenset[str]] = {
    "sys": frozenset({
        "getrecursionlimit", "getrefcount", "getswitchinterval", "getallocatedblocks", "gettrace", "getprofile",
        "get_int_max_str_digits",
    }),
    "gc": frozenset({"*"}),
    "resource": frozenset({"*"}),
    "type": frozenset({"__subclasses__"}),
    "_locale": frozenset({"*"}),
    "decimal": frozenset({"getcontext", "localcontext"}),
    "torch": frozenset({"get_num_threads", "get_num_interop_threads"}),
}  # fmt: skip
# Functions of libraries in Python, whose result or effect is not the same at every run, in words.
_TOLD = {
    inspect.unwrap(function).__code__: words
    for words, functions in {
        "sets the seed of torch's random numbers": (
            torch.random.manual_seed, torch.random.seed, torch.random.set_rng_state, pyro.util.set_rng_seed
        ),
        "asks for the seed of torch's random numbers": (torch.random.initial_seed,),
        "asks for the state of Python's random numbers": (random.Random.getstate,),
        "asks for NumPy's settings": (numpy.geterr, numpy.get_printoptions),
    }.items()
    for function in functions
}  # fmt: skip
_SEED_OF_PYTHON = random.Random.seed.__code__
_REGISTRIES = frozenset(
    function.__code__
    for function in (logging.Manager.getLogger, threading.current_thread, multiprocessing.current_process)
)
"""Functions that return an object which others may change."""
_IMPORT = import_code()
ANY_ATTRIBUTE = frozenset({
    "vars", "dir", "__dict__", "globals", "__globals__", "locals", "__getattribute__", "asdict", "astuple", "dumps",
    "getmembers", "getattr_static", "attrgetter", "methodcaller",
})  # fmt: skip
"""Names of what reads attributes by names that it is given or finds."""
BY_NAME = frozenset({"getattr", "hasattr"})
_ENVIRONMENT = frozenset({"environ"})  # what `os.getenv` reads
# Modules of Python's own that compute names of functions and classes, and hand on objects as they are.
_HANDING_ON = ("functools.py", "contextlib.py", "copy.py", "typing.py", "enum.py", "abc.py")


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
        compares: Whether the code asks whether objects are equal, or for their text.
        returned: Objects that came out of registries of the standard library, such as loggers.
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
    compares: bool = False
    returned: list[Any] = field(default_factory=list)
    impure: list[str] = field(default_factory=list)
    calls: int = 0

    def add_names(self, names: Iterable[str]) -> None:
        """Take up attribute names that no code shows."""
        new = set(names)
        self.names |= new
        self.library_names |= new

    def close(self, codes: dict[CodeType, dict[str, Any]], for_user: set[CodeType]) -> None:
        """Sort the code that ran; `for_user` is Python's own that neither torch nor Pyro called."""
        for code, namespace in codes.items():
            self.library_names.update(code.co_names)
            self.library_names.update(name for name in code.co_consts if isinstance(name, str))
            if code in _TOLD:
                self.impure.append(_TOLD[code])
            if in_library(code):
                if code.co_freevars:
                    self.closures.add(code)
                if code in for_user:
                    handing_on = code.co_filename.endswith(_HANDING_ON)
                    self.any_attribute |= names_used(code).any_attribute and not handing_on
                    self.names |= _ENVIRONMENT.intersection(code.co_names)
            elif code.co_name != "<module>":
                self.functions[code] = namespace
                uses = names_used(code)
                self.names |= uses.attributes
                if not uses.globals.isdisjoint(("getattr", "hasattr")):
                    self.asked_for |= uses.attributes.difference(code.co_names)
                # Packages compute names all the time, of objects of their own.
                self.any_attribute |= uses.any_attribute and not code.co_filename.startswith(_PACKAGES)
                self.identity |= uses.identity
                self.compares |= uses.compares
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
        self._for_user: set[CodeType] = set()
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
        self.found.close(self._codes, self._for_user)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code is _IMPORT:
            self._importing += {"call": 1, "return": -1}.get(event, 0)
        if self._importing:  # what a module does when it is made is done once, by this run alone
            return
        if event == "call":
            code = frame.f_code
            self._codes.setdefault(code, frame.f_globals)
            self.found.calls += 1
            if code not in self._for_user and _is_standard(code.co_filename) and not _for_library(frame):
                self._for_user.add(code)
            if code is _SEED_OF_PYTHON and frame.f_locals.get("a") is None:
                self.found.impure.append("draws a seed from the system")
        elif event == "return" and frame.f_code in _REGISTRIES and not _for_library(frame):
            self.found.returned.append(argument)
        elif event == "c_call":
            name = _listed(argument, _IMPURE)
            if name is not None and _for_library(frame):
                name = None
            if name is None and not in_library(frame.f_code):
                name = _listed(argument, _STATES)
            if name is None and not frame.f_code.co_filename.endswith(_SHOWING_CODE):
                name = _listed(argument, _FILES)
            if name is not None:
                self._impure[name] = None


def _for_library(frame: FrameType | None) -> bool:
    """Whether a call serves torch or Pyro, directly or through the standard library."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_TRUSTED):
            return True
        if not _is_standard(file):
            return False
        frame = frame.f_back
    return False


def _listed(function: Any, table: dict[str, frozenset[str]]) -> str | None:
    """The name of a function in C for messages, if a table of such functions has it."""
    module, owner = getattr(function, "__module__", None), getattr(function, "__self__", None)
    if isinstance(owner, type) and function.__name__ in table.get("type", ()):
        return f"type.{function.__name__}"
    if module is None:
        module = getattr(owner if isinstance(owner, type) else type(owner), "__module__", None)
    names = table.get(module) if isinstance(module, str) else None
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
    return file.startswith(_TRUSTED) or _is_standard(file)


def _is_standard(file: str) -> bool:
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
        compares: Whether it asks whether objects are equal, or for their text.
    """

    attributes: frozenset[str]
    globals: frozenset[str]
    imports: frozenset[str]
    any_attribute: bool
    identity: bool
    compares: bool


@functools.lru_cache(maxsize=10_000)
def names_used(code: CodeType) -> Names:
    """The names that a piece of code uses, without those of functions defined inside of it."""
    of_globals: set[str] = set()
    attributes: set[str] = set()
    imports: set[str] = set()
    computed = not ANY_ATTRIBUTE.isdisjoint(code.co_names)
    # An object that stands for another hands the name on which its user's code shows.
    asked = code.co_varnames[1] if code.co_name == "__getattr__" and code.co_argcount == 2 else None
    instructions = list(dis.get_instructions(code))
    if any(i.opname.startswith("STORE_") and asked in (i.argval, *_several(i.argval)) for i in instructions):
        asked = None
    identity, compares, before = False, False, ""
    for place, instruction in enumerate(instructions):
        name = instruction.argval
        identity |= instruction.opname == "IS_OP" and before != "LOAD_CONST"
        compares |= instruction.opname.startswith(_COMPARES)
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            computed |= name in BY_NAME or (name in _FORMATS and before != "LOAD_CONST")
        before = instruction.opname
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            of_globals.add(name)
            compares |= name in _TEXTS
            if name in BY_NAME:
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
        frozenset(attributes),
        frozenset(of_globals),
        frozenset(imports),
        computed,
        identity or "id" in of_globals,
        compares,
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


_FORMATS = frozenset({"format", "format_map"})
_TEXTS = frozenset({"str", "repr", "format"})
_COMPARES = ("COMPARE_OP", "CONTAINS_OP", "FORMAT_", "CONVERT_VALUE")
_FIELD = re.compile(r"[^\W\d]\w*")


def _strings(constant: Any) -> Iterator[str]:
    if isinstance(constant, str):
        yield constant
        if "{" in constant:  # "{0.beta}".format(settings)
            yield from _FIELD.findall(constant)
    elif isinstance(constant, (tuple, frozenset)):
        for item in constant:
            yield from _strings(item)
