"""What a trace does when code asks a tensor for its value: answer, remember what the answer rests on, or refuse."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pyro
import torch
from torch import Tensor, fx
from torch.overrides import TorchFunctionMode

from pyrovae.engine.compat import (
    NAN_WARNINGS,
    TorchDispatchMode,
    asking_code,
    node_of,
    owner_of,
    passes_on,
    tree_leaves,
    untraced,
    validates,
    written_arguments,
)

LARGEST_READ = 64
"""Elements of a tensor from outside whose value may be read in Python; the graph then holds for that value alone."""

_SILENT_READS = tuple(
    getattr(Tensor, name)
    for name in (
        "tolist",
        "numpy",
        "__array__",
        "__deepcopy__",
        "__reduce_ex__",
        "__dlpack__",
        "__repr__",
        "__format__",
    )
)
_OF_TENSORS: dict[str, Any] = {name: getattr(Tensor, name) for name in ("data", "grad", "_version")}
UNSEEN_STATE = (_OF_TENSORS["grad"].__get__, _OF_TENSORS["grad"].__set__, _OF_TENSORS["_version"].__get__)
"""What a graph does not see of a tensor, though a program may ask for it."""
_OTHER_MEMORY = ("aten::set_", "aten::resize_", "aten::resize_as_")  # operators
_FACTORIES = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
_DYNAMIC, _READS, _RANDOM = (
    torch.Tag.dynamic_output_shape,
    torch.Tag.data_dependent_output,
    torch.Tag.nondeterministic_seeded,
)


_ITEM, _INDEX = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.index.Tensor
_CONDITIONS: dict[Any, Callable[..., Tensor]] = {
    _ITEM: lambda value: value.reshape(()),
    torch.ops.aten.equal.default: lambda a, b: (
        (a == b).all() if a.shape == b.shape else torch.zeros((), dtype=torch.bool)
    ),
    torch.ops.aten.allclose.default: lambda *args, **kwargs: torch.isclose(*args, **kwargs).all(),
}
"""Operators whose result is true or false, as tensors."""


class ValueReadError(Exception):
    """Python asked for a value that differs from call to call.

    No ValueError: to those Pyro's handlers add a table of shapes.

    Args:
        by: The function of torch or Pyro that asked, if it was not the user's code.
        does: What the code does, if it is something else that a graph cannot do.
    """

    def __init__(self, by: str | None, does: str | None = None) -> None:
        super().__init__()
        self.by, self.where, self._does = by, "the function", does
        self.place = ""

    def __str__(self) -> str:
        does = "reads a tensor's value in Python (.item(), float(), bool(), if, print, or a shape made from data)"
        if self._does:
            does = self._does
        elif self.by:
            does = f"cannot be traced, because {self.by} reads a tensor's value"
        return f"{self.where} {does}{self.place}"


class TracedValues(TorchFunctionMode):
    """Inside a trace, values may be read where the graph can hold for them; validation becomes part of the graph.

    A tensor made of constants is the same at every call. A small one from outside is watched from then on. Where
    distributions check their arguments, the answer is yes, and the condition is kept. Other code that asks whether
    something is true is told what is true now, and that it stays so becomes a condition too: the graph holds for this
    branch. Everything else that asks for a value raises `ValueReadError`.

    Args:
        may_guess: Whether the caller looks at the conditions at every call, and takes other branches by itself.

    Attributes:
        read: The tensors from outside whose values were read, each with a copy.
        valid: Conditions under which the graph holds, tensors of booleans.
        guessed: Whether any is a branch of the program's.
        met: Parameters of the parameter sites that the trace has met.
        moved: What the trace updates itself, if the update is part of it: parameters and the optimizer's state.
        sites: Names of the log-probabilities that the trace returns.
        weighted: Names of the sites whose weighted log-probabilities it returns.
    """

    def __init__(self, may_guess: bool = False) -> None:
        super().__init__()
        self.may_guess, self.guessed = may_guess, False
        self.read: list[tuple[Tensor, Tensor]] = []
        self.valid: list[Tensor] = []
        self.met: list[Tensor] = []
        self.moved: list[Tensor] = []
        self.sites: list[str] = []
        self.weighted: list[str] = []
        self._operators = _Operators(self)

    def __enter__(self) -> TracedValues:
        self._operators.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._operators.__exit__(*error)

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        if func is torch._is_all_true:
            self.valid.append(args[0])
            return torch.tensor(True)
        if func is Tensor.__bool__:
            expected = validates(asking_code())
            if expected is not None:
                self.valid.append(args[0] if expected else args[0].logical_not())
                return expected
            if args[0].dtype != torch.bool and args[0].numel() == 1:
                args = (args[0] != 0,)
        if func == _OF_TENSORS["data"].__set__:
            raise ValueReadError(None, "assigns to the .data of a tensor")
        if func is Tensor.__deepcopy__:
            return args[0].detach().clone()
        if func in _FACTORIES and args and isinstance(args[0], (list, tuple)):
            self.allow(args[:1])
        if func in _SILENT_READS:
            self.allow(args[:1])
            with untraced():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def allow(self, tensors: Iterable[Any]) -> None:
        """Let Python see these tensors' values, and remember what they rest on.

        Raises:
            ValueReadError: If they differ from call to call.
        """
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor):
                for source in _sources(tensor):
                    if source.numel() > LARGEST_READ or source.device.type != "cpu":
                        raise ValueReadError(_asking_library())
                    with untraced():
                        self.read.append((source, source.detach().clone()))

    def guess(self, operator: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
        """Answer a question by what is true now, and make it a condition.

        Raises:
            ValueReadError: If the answer is no truth value, or nobody would look at the condition.
        """
        condition = _CONDITIONS.get(operator)
        if not self.may_guess or condition is None or (operator is _ITEM and args[0].dtype != torch.bool):
            raise ValueReadError(_asking_library())
        with untraced():
            answer = bool(operator(*args, **kwargs))
        holds = condition(*args, **kwargs)
        self.valid.append(holds if answer else holds.logical_not())
        self.guessed = True
        return answer

    def all_valid(self) -> Tensor | None:
        """Whether all conditions hold, a boolean (); None if there are none. No branch can be guessed after this."""
        self.may_guess = False
        conditions = [condition.all() for condition in self.valid]
        elsewhere = {condition.device for condition in conditions} - {torch.device("cpu")}
        if elsewhere:  # numbers of the host beside tensors of a GPU, which a graph would have to send there
            conditions = [c for c in conditions if c.device.type != "cpu" or not self._is_settled(c)]
            conditions = [condition.to(next(iter(elsewhere))) for condition in conditions]
        return torch.stack(conditions).all() if conditions else None

    def _is_settled(self, condition: Tensor) -> bool:
        """Whether a condition holds until what it rests on changes, which is watched."""
        with untraced():
            if not condition.item():
                return False
        try:
            self.allow([condition])
        except ValueReadError:
            return False
        return True


class _Operators(TorchDispatchMode):
    """Finds the reads that happen inside of torch's own functions, and the shapes that are made from values."""

    def __init__(self, values: TracedValues) -> None:
        super().__init__()
        self._values = values

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if _READS in func.tags:
            if asking_code() in NAN_WARNINGS:  # a loss that is not finite is found by its value
                return False
            try:
                self._values.allow((args, kwargs))
            except ValueReadError:
                return self._values.guess(func, args, kwargs or {})
            with untraced():
                return func(*args, **(kwargs or {}))
        if func.name().partition(".")[0] in _OTHER_MEMORY and _is_from_outside(args[0]):
            raise ValueReadError(None, "gives a tensor other memory (set_(), resize_())")
        if _DYNAMIC in func.tags and _makes_a_shape(func, args, kwargs or {}):
            self._values.allow(args[1] if func is _INDEX else (args, kwargs))
        return func(*args, **(kwargs or {}))


def _makes_a_shape(operator: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether the shape of an operator's result depends on values, for these arguments."""
    if operator is _INDEX:
        return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return kwargs.get("output_size") is None


def _is_from_outside(tensor: Tensor) -> bool:
    """Whether a tensor was not made in the trace under way."""
    node = node_of(tensor)
    return node is None or node.op in ("get_attr", "placeholder")


def _sources(tensor: Tensor) -> list[Tensor]:
    """The tensors from outside that a tensor is made of.

    Raises:
        ValueReadError: If it is made of an argument or of random numbers, or is changed in place on the way.
    """
    node = node_of(tensor)
    if node is None:
        return [tensor]
    found: list[Tensor] = []
    seen, pending = {node}, [node]
    while pending:
        node = pending.pop()
        outside = owner_of(node) if node.op == "get_attr" else None
        if isinstance(outside, Tensor) and not any("lift_fresh" in str(user.target) for user in node.users):
            found.append(outside)
        if (
            node.op == "placeholder"
            or _RANDOM in getattr(node.target, "tags", ())
            or any(map(_writes(node), node.users))
        ):
            raise ValueReadError(_asking_library())
        new = [n for n in node.all_input_nodes if n not in seen]
        seen.update(new)
        pending += new
    return found


def _writes(node: fx.Node) -> Callable[[fx.Node], bool]:
    return lambda user: any(target is node for target in written_arguments(user.target, user.args, user.kwargs))


_LIBRARIES = {str(Path(str(module.__file__)).parent): name for module, name in ((torch, "torch"), (pyro, "pyro"))}
_METHODS = ("_tensor.py", "_jit_internal.py", "overrides.py")


def _asking_library() -> str | None:
    """The function of torch or Pyro that asked for a value; None if the user's code did."""
    frame: FrameType | None = sys._getframe(1)
    own = str(Path(__file__).parent)
    while frame is not None:
        file = frame.f_code.co_filename
        if not (file.startswith(own) or file.endswith(_METHODS) or passes_on(frame)):
            for folder, name in _LIBRARIES.items():
                if file.startswith(folder):
                    module = file.removeprefix(folder).removesuffix(".py").replace("/", ".")
                    return f"{name}{module}.{frame.f_code.co_qualname}"
            return None
        frame = frame.f_back
    return None
