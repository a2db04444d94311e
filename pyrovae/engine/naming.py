"""Names of parameters, for messages."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from pyrovae.engine.records import MISSING, cell_contents, is_atom


def reached_modules(*functions: Callable[..., Any] | None) -> list[nn.Module]:
    """Every module that the functions reach, and the modules inside."""
    owners = [owner for owner in _objects(functions) if isinstance(owner, nn.Module)]
    return list(dict.fromkeys(module for owner in owners for module in owner.modules()))


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
        if is_atom(thing) or isinstance(thing, (Tensor, type)) or id(thing) in seen:
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
        content = cell_contents(cell)
        if content is not MISSING:
            yield content
    code = getattr(function, "__code__", None)
    if code is not None:
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, nn.Module):
                yield value
