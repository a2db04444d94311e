"""Notice that a traced graph no longer matches the objects it was traced from."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

_PLAIN = (bool, int, float, str, type(None))


class Watch:
    """What tracing took from Python objects for granted.

    Watched are the modules that the functions reach (as the object of a bound method, through closures, partials,
    globals and attributes): which submodules, parameters and buffers they hold, their train/eval flag, and their
    attributes that are plain numbers, strings or booleans. Values of tensors need no watch, because graphs read them
    on every call.

    Args:
        functions: The traced callables.
    """

    def __init__(self, *functions: Callable[..., Any] | None) -> None:
        self._plain: list[tuple[dict[str, Any], list[str], list[Any]]] = []
        self._objects: list[tuple[dict[str, Any], list[str], list[int]]] = []
        self._alive: list[Any] = []  # an `id` says something only while its object lives
        for owner in owners(functions):
            attributes = vars(owner)
            plain = [key for key, value in attributes.items() if isinstance(value, _PLAIN)]
            if plain:
                self._plain.append((attributes, plain, [attributes[key] for key in plain]))
            self._watch_objects(attributes, [k for k, v in attributes.items() if isinstance(v, Tensor)])
            if isinstance(owner, nn.Module):
                for held in (owner._parameters, owner._buffers, owner._modules):
                    self._watch_objects(held, list(held))

    def _watch_objects(self, held: dict[str, Any], keys: list[str]) -> None:
        if keys:
            self._alive += [held[key] for key in keys]
            self._objects.append((held, keys, [id(held[key]) for key in keys]))

    def changed(self) -> bool:
        """Whether any watched object is no longer what it was."""
        for held, keys, seen in self._plain:
            if list(map(held.get, keys)) != seen:
                return True
        for held, keys, ids in self._objects:  # noqa: SIM110 (a generator costs twice the time, on every step)
            if list(map(id, map(held.get, keys))) != ids:
                return True
        return False


class Placement:
    """Where tensors lie in memory, which a CUDA graph takes for granted, and `module.cpu().cuda()` changes.

    Args:
        tensors: Kept alive.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._addresses = self._now()

    def _now(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors]

    def changed(self) -> bool:
        """Whether any tensor has new memory."""
        return self._now() != self._addresses


def named_parameters(*functions: Callable[..., Any] | None) -> dict[int, str]:
    """Names of the parameters of every module that the functions reach, by the tensor's `id`."""
    modules = [owner for owner in owners(functions) if isinstance(owner, nn.Module)]
    largest_first = sorted(modules, key=lambda module: -sum(1 for _ in module.modules()))
    names: dict[int, str] = {}
    for module in largest_first:
        for name, parameter in module.named_parameters():
            names.setdefault(id(parameter), name)
    return names


def owners(functions: tuple[Callable[..., Any] | None, ...]) -> list[Any]:
    """Objects with state that the functions can reach: modules, and the objects that bound methods belong to."""
    seen: dict[int, Any] = {}
    pending: list[Any] = list(functions)
    while pending:
        thing = pending.pop()
        if thing is None or isinstance(thing, (*_PLAIN, Tensor, type)) or id(thing) in seen:
            continue
        if isinstance(thing, (list, tuple)):
            pending += thing
        elif isinstance(thing, dict):
            pending += thing.values()
        elif isinstance(thing, nn.Module):
            for module in thing.modules():
                seen[id(module)] = module
                pending += [v for k, v in vars(module).items() if not k.startswith("_")]
        elif callable(thing):
            if not isinstance(thing, (types.FunctionType, types.MethodType, functools.partial)) and hasattr(
                thing, "__dict__"
            ):
                seen[id(thing)] = thing
            pending += _reached_by(thing)
    return list(seen.values())


def _reached_by(function: Any) -> Iterator[Any]:
    if isinstance(function, functools.partial):
        yield function.func
        yield function.args
        yield function.keywords
    owner = getattr(function, "__self__", None)
    if owner is not None:
        yield owner
        if not isinstance(owner, nn.Module) and hasattr(owner, "__dict__"):
            yield from vars(owner).values()
    function = getattr(function, "__func__", function)
    yield getattr(function, "__wrapped__", None)
    for cell in getattr(function, "__closure__", None) or ():
        yield cell.cell_contents
    code = getattr(function, "__code__", None)
    if code is not None:
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, nn.Module):
                yield value
