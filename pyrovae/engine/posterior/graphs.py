"""From a function of one vector to one graph whose constants are computed once, and to a compiled call."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae.engine.capture import Capture, capture
from pyrovae.engine.compat import TorchDispatchMode, inductor_compile, mutates, takes, tree_flatten, tree_unflatten
from pyrovae.engine.compilation import CompilerError, missing_compiler, without_compiler_warnings
from pyrovae.engine.posterior.density import own_parameters
from pyrovae.engine.posterior.double import default_double, double_precision
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.values import TracedValues, ValueReadError

_RANDOM = torch.Tag.nondeterministic_seeded


@dataclass(frozen=True)
class VectorGraph:
    """A traced function of one vector.

    Attributes:
        graph: Takes the vector and then `constants`; returns a flat tuple of tensors.
        constants: Data, and what was computed of it and of parameters.
        structure: The tree of the results.
        random: Whether random numbers are drawn in it.
    """

    graph: fx.GraphModule
    constants: tuple[Tensor, ...]
    structure: Any
    random: bool

    def __call__(self, u: Tensor) -> Any:
        """The results at one vector."""
        with torch.no_grad(), default_double():
            return tree_unflatten(list(self.graph(u, *self.constants)), self.structure)

    def of_many(self, vectors: Tensor, randomness: str = "error") -> Any:
        """The results at each of many vectors, (number, size): one more dimension in front."""

        def one(u: Tensor) -> tuple:
            return tuple(self.graph(u, *self.constants))

        with torch.no_grad(), default_double(), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # some operators that cannot be batched only warn
            warnings.filterwarnings("ignore", ".*performance drop", UserWarning)
            try:
                flat = torch.vmap(one, randomness=randomness)(vectors)
            except (RuntimeError, NotImplementedError, UserWarning):
                rows = [one(u) for u in vectors]
                flat = tuple(map(torch.stack, zip(*rows, strict=True)))
        return tree_unflatten(list(flat), self.structure)

    def without_random(self, results: dict[str, Tensor]) -> list[str]:
        """Names of the results that no random number enters, of a function that returns them by name."""
        random: set[fx.Node] = set()
        for node in self.graph.graph.nodes:
            if _is_random(node) or not random.isdisjoint(node.all_input_nodes):
                random.add(node)
        (returned,) = self.graph.graph.find_nodes(op="output")[0].args
        numbers = tree_unflatten(list(range(len(returned))), self.structure)
        return [name for name in results if returned[numbers[name]] not in random]


def trace_vector(function: Callable[[Tensor], Any], u: Tensor) -> VectorGraph:
    """Trace a function of a vector; everything that does not depend on the vector is computed now, once.

    Args:
        function: Runs a Pyro program; returns a tree of tensors.
        u: An example, float64 (size,).

    Raises:
        ModelError: If the program reads values in Python that differ from call to call.
    """
    structure: list[Any] = []

    def flat(u: Tensor) -> list[Tensor]:
        with double_precision(), _Factors() as factors, TracedValues():
            found, tree = tree_flatten(function(u))
        structure[:] = [tree]
        return [factors.or_no_number(torch.as_tensor(value)) for value in found]

    try:
        with own_parameters():
            captured = capture(flat, [u])
    except ValueReadError as error:
        error.where = "the model"
        raise ModelError(
            f"{error}: write it with torch.where or masks, or, if no latent decides it, choose engine='pyro'"
        ) from error
    if captured.changed:
        raise ModelError("the model changes a tensor of its own in place, which every draw would repeat: make a copy")
    with default_double():
        graph, constants = _folded(captured)
    random = any(map(_is_random, graph.graph.nodes))
    return VectorGraph(graph, constants, structure[0], random)


class _Factors(TorchDispatchMode):
    """Remembers where torch checks that a matrix could be factorised: a graph goes on, and must not give a number."""

    def __init__(self) -> None:
        super().__init__()
        self._failed: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten._linalg_check_errors.default:
            self._failed.append(args[0])
        return func(*args, **(kwargs or {}))

    def or_no_number(self, value: Tensor) -> Tensor:
        """The value, or NaN if a matrix had no factors."""
        if value.is_floating_point():
            for failed in self._failed:
                value = torch.where((failed != 0).any(), torch.nan, value)
        return value


def _folded(captured: Capture) -> tuple[fx.GraphModule, tuple[Tensor, ...]]:
    """Compute what depends on constants alone; tensors of it become inputs behind the vector, numbers stay inside."""
    module, graph = captured.graph, captured.graph.graph
    _name_types(graph)
    _erase_unused(graph)  # first, so that no constant is kept for what is not used
    vector, *placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    known = _constants(module, graph, dict(zip(placeholders, captured.lifted, strict=True)))
    constants: list[Tensor] = []
    for number, node in enumerate(list(known)):
        outside = {user for user in node.users if user not in known}
        if not outside or not isinstance(known[node], Tensor):
            continue
        value = known[node].detach().clone()
        with graph.inserting_before(vector.next):
            if value.ndim:
                new = graph.placeholder(f"constant_{number}")
                constants.insert(0, value)  # each goes right behind the vector
            else:
                setattr(module, f"_number_{number}", value)
                new = graph.create_node("get_attr", f"_number_{number}")
        node.replace_all_uses_with(new, delete_user_cb=outside.__contains__)
    _erase_unused(graph)
    for node in placeholders:
        if not node.users:
            graph.erase_node(node)
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for before, node in itertools.pairwise(inputs):
        before.append(node)
    for node in graph.nodes:
        node.type = None  # annotations of functions, which Inductor's cache cannot write down
    graph.lint()
    return fx.GraphModule(module, graph), tuple(constants)


def _erase_unused(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users and not mutates(node.target):
            graph.erase_node(node)


def _name_types(graph: fx.Graph) -> None:
    """Give tensors that are made of no other their type: the graph runs where the default is another one."""
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.all_input_nodes or not isinstance(value, Tensor) or not takes(node.target, "dtype"):
            continue
        if node.kwargs.get("dtype") is None:
            node.kwargs = {**node.kwargs, "dtype": value.dtype}


def _constants(module: fx.GraphModule, graph: fx.Graph, known: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """The nodes that are the same at every call, with their values.

    A graph that changes tensors in place is left as it is: what it changes must be made anew at each call.
    """
    pure = not any(mutates(node.target) for node in graph.nodes)
    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "get_attr":
                if pure:
                    known[node] = getattr(module, str(node.target))
            elif node.op == "call_function" and pure and not _is_random(node):
                if any(source not in known for source in node.all_input_nodes):
                    continue
                arguments, options = fx.map_arg((node.args, node.kwargs), known.__getitem__)
                target: Any = node.target
                known[node] = target(*arguments, **options)
    return known


def _is_random(node: fx.Node) -> bool:
    return _RANDOM in getattr(node.target, "tags", ())


def compile_vector(graph: VectorGraph, u: Tensor) -> Callable[[Tensor], Sequence[Tensor]]:
    """Compile with Inductor for one thread: chains run beside each other, and a chain's kernels are small.

    Raises:
        CompilerError: If there is no compiler, or compilation fails.
    """
    lacking = missing_compiler(torch.device("cpu"))
    if lacking:
        raise CompilerError(f"the model cannot be compiled: {lacking}; or choose engine='graph'")
    inputs = [u, *graph.constants]
    try:
        with torch.no_grad(), default_double(), torch.random.fork_rng(devices=[]), without_compiler_warnings():
            call = inductor_compile(graph.graph, inputs, {"fallback_random": True, "cpp.threads": 1})
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CompilerError(f"Inductor failed to compile the density ({first}); engine='graph' needs none") from error
    constants = graph.constants

    def compiled(u: Tensor) -> Sequence[Tensor]:
        with torch.no_grad(), default_double():
            return call(u, *constants)

    return compiled


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch uses one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
