"""Python functions over tensors as graphs: one for each signature, made anew when what was traced has changed."""

from __future__ import annotations

import contextlib
import enum
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pyro.ops.provenance import detach_provenance
from torch import Tensor

from pyrovae.engine.capture import Capture, capture, untouched
from pyrovae.engine.compat import (
    TreeSpec,
    handlers_around,
    modes_around,
    settings_around,
    storage_of,
    tree_flatten,
    tree_unflatten,
)
from pyrovae.engine.compilation import compiled, tf32
from pyrovae.engine.cuda_graphs import RecordingError, Replay
from pyrovae.engine.guards import Watch
from pyrovae.engine.layouts import Layouts, Placement
from pyrovae.engine.observation import Observation, observing
from pyrovae.engine.optimizers import UncapturableError
from pyrovae.engine.parallel import raise_if_lost
from pyrovae.engine.programs import UntraceableError
from pyrovae.engine.values import TracedValues, ValueReadError

logger = logging.getLogger(__name__)

MAX_GRAPHS = 8
MAX_RETRACES = 16
STEPS_A_RETRACE = 100
"""Beyond `MAX_RETRACES`, a graph may be made anew once it has been used so often."""
MISSES = 10
"""Steps of another branch than the traced one that are Pyro's in any case."""
MISSES_IN_A_ROW = 3
"""After so many, the branch that is taken now is traced."""

_TENSOR = object()
_PLAIN = frozenset({type(None), bool, int, str, bytes, torch.dtype, torch.device, torch.Size})


class TooManyGraphsError(RuntimeError):
    """A function was called with so many signatures, or changed so often, that graphs do not pay."""


class ReplayError(UntraceableError):
    """A graph was made and failed when it ran."""


@dataclass
class Plan:
    """One graph, ready to be called.

    Attributes:
        captured: The traced function.
        call: Takes the tensor arguments followed by the lifted tensors.
        structure: The tree of the function's results.
        watch: What of Python the graph took for granted.
        stale: More that it took for granted: functions that say whether it has changed.
        met: Parameters of the parameter sites that the trace has met.
        moved: Parameters and the optimizer's state, if the graph updates them; where a condition fails it leaves them.
        sites: Names of the log-probabilities among the results.
        weighted: Names of the sites whose weighted log-probabilities are one vector among the results.
        guessed: Whether the graph holds for the branches alone that the programs took when it was made.
        uses: How often it was called.
        misses: How often the programs would have taken another branch.
        missed_last: How often in the last uses, without one in between that fitted.
    """

    captured: Capture
    call: Callable[..., Any]
    structure: TreeSpec
    watch: Watch
    stale: list[Callable[[], bool]]
    met: list[Tensor]
    moved: Sequence[Tensor]
    sites: Sequence[str]
    weighted: Sequence[str]
    guessed: bool
    uses: int = 0
    misses: int = 0
    missed_last: int = 0

    def __post_init__(self) -> None:
        self._written = frozenset(map(storage_of, self.captured.changed))
        moved = set(map(id, self.moved))
        self._written_by_programs = [tensor for tensor in self.captured.changed if id(tensor) not in moved]

    @property
    def whole(self) -> bool:
        """Whether the graph updates the parameters too."""
        return bool(self.moved)

    @property
    def changes_by_programs(self) -> int:
        """How many tensors the programs themselves change, such as running means."""
        return len(self._written_by_programs)

    def copies(self) -> list[tuple[Tensor, Tensor]]:
        """What the programs themselves change, such as running means, each with a copy of its value now."""
        return [(tensor, tensor.detach().clone()) for tensor in self._written_by_programs]

    def changed(self) -> bool:
        """Whether the graph is no longer what the function would do."""
        return self.watch.changed() or any(changed() for changed in self.stale) or self.missed_last >= MISSES_IN_A_ROW

    def fitted(self) -> None:
        """Note that a step was the graph's."""
        self.missed_last = 0

    def missed(self) -> None:
        """Note that Pyro had to take the step.

        Raises:
            UntraceableError: If that is the rule rather than the exception; nothing has been done for this step yet.
        """
        self.misses += 1
        self.missed_last += self.guessed
        if self.guessed and self.misses > max(MISSES, self.uses / 2):
            raise UntraceableError(
                "a branch of the programs depends on tensors, and another one is taken at more than half of the steps"
            )

    def run(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run on the tensor arguments; the results are flat, in the order of `structure`.

        Raises:
            ReplayError: If the graph fails.
        """
        with _failing_as_replay(), torch.no_grad():
            return self.call(*tensors, *self.captured.lifted)

    def results(self, tensors: Sequence[Tensor]) -> Any:
        """Run, and return the function's results.

        Raises:
            ReplayError: If the graph fails.
        """
        return tree_unflatten(list(self.run(tensors)), self.structure)

    def step(self, tensors: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run, and return the loss and the log-probabilities alone, which come first among the results.

        Raises:
            ReplayError: If the graph fails.
        """
        flat = self.run(tensors)
        return flat[0], dict(zip(self.sites, flat[1:], strict=False))

    @property
    def needs_no_host(self) -> bool:
        """Whether steps may follow one another without the host in between.

        It is needed where the update is outside the graph, or a branch was guessed: then each step's result says
        whether it was the right one.
        """
        return self.whole and not self.guessed

    @property
    def recorded(self) -> bool:
        """Whether a call is the replay of a CUDA graph."""
        return isinstance(self.call, Replay)

    def in_turn(self, inputs: Iterable[Sequence[Tensor]], take: Callable[[Tensor, dict[str, Tensor]], object]) -> None:
        """Run for one step after another.

        Args:
            inputs: The tensor arguments of each.
            take: Is given the loss and the log-probabilities of each as soon as it is done.

        Raises:
            ReplayError: If the graph fails.
        """
        call, lifted, sites = self.call, self.captured.lifted, self.sites
        with _failing_as_replay(), torch.no_grad():
            for tensors in inputs:
                flat = call(*tensors, *lifted)
                take(flat[0], dict(zip(sites, flat[1:], strict=False)))

    def together(self, wanted: int) -> int:
        """How many of the next `wanted` steps `steps` takes at once, if it is recorded; 0 if they go one by one."""
        assert isinstance(self.call, Replay)
        return self.call.together(wanted, self.uses)

    def steps(self, inputs: Sequence[Sequence[Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses and log-probabilities of as many steps as `together` has said, (steps,), without the host.

        Args:
            inputs: The tensor arguments of each.

        Raises:
            ReplayError: If the graph fails.
        """
        assert isinstance(self.call, Replay)
        with _failing_as_replay():
            flat = self.call.replay_together(inputs)
        return flat[0], dict(zip(self.sites, flat[1:], strict=False))

    def identity_matters(self, tensors: Sequence[Tensor]) -> bool:
        """Whether an argument is another argument or a tensor that the programs reach, and they ask for identity."""
        if not self.watch.asks_for_identity:
            return False
        return len(set(map(id, tensors))) < len(tensors) or not self.watch.reached.isdisjoint(map(id, tensors))

    def overlaps(self, tensors: Sequence[Tensor]) -> bool:
        """Whether an argument lies in memory that the graph changes."""
        return bool(self._written) and not self._written.isdisjoint(map(storage_of, tensors))


@contextlib.contextmanager
def _failing_as_replay() -> Iterator[None]:
    """Make an error of a graph a `ReplayError`."""
    try:
        yield
    except Exception as error:
        raise_if_lost(error)
        raise ReplayError(f"the graph failed where Pyro may not ({_first_line(error)})") from error


class Stage(enum.Enum):
    """How far a signature has come."""

    NEW = enum.auto()
    OBSERVED = enum.auto()
    VERIFIED = enum.auto()
    READY = enum.auto()


_REHEARSALS = {Stage.NEW: 0, Stage.OBSERVED: 1, Stage.VERIFIED: 2, Stage.READY: 2}


@dataclass
class Entry:
    """What is known of one signature of the arguments.

    Attributes:
        leaves: The arguments, flat, with `_TENSOR` for each tensor.
        structure: Their tree; None if they are tensors alone.
        slots: How many further places are watched.
        refusal: Why no graph is made.
        retraces: How often what was traced has changed.
        rehearsals_before: Runs as Python in the run that is resumed, to be made up for.
        uses_before: How often its graph was used there.
    """

    leaves: list[Any]
    structure: TreeSpec | None
    stage: Stage = Stage.NEW
    observation: Observation = field(default_factory=Observation)
    watch: Watch | None = None
    plan: Plan | None = None
    slots: int = 0
    refusal: str | None = None
    retraces: int = 0
    rehearsals_before: int = 0
    uses_before: int = 0


class Graphs:
    """The graphs of one function, one for each signature of its arguments.

    Tensor arguments are inputs of the graph; other arguments are constants and part of the signature, and so are the
    tensors' shapes, strides, types and devices. Tensors that the function reaches by itself (parameters, buffers) are
    inputs too. The first call with a signature runs as Python and is observed; the second is Python's too, and shows
    whether the program changes Python objects; the graph is made at the third.

    Args:
        function: Gets `TracedValues` and then the arguments; returns a tree of tensors.
        engine: "graph" or "compiled".
        roots: Objects by name from which the function reaches everything that it uses.
        stale: Called before a graph is made; returns functions that say whether something else has changed.
        slots: Called when Python has run; returns further places that are watched, such as entries of Pyro's parameter
            store: a dictionary, a key, and a name for messages.
        may_guess: Whether the caller looks at the conditions among the results, and lets Pyro take other branches.
        tf32: Whether matrix products may use TF32 on the GPU.
        agree: Called when a graph was made, or could not be, with the error: it may raise that of another process.
        replayed: Whether graphs on a GPU are CUDA graphs; by default those that are compiled.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        engine: str,
        roots: Mapping[str, Any],
        *,
        stale: Callable[[], list[Callable[[], bool]]] = list,
        slots: Callable[[], list[tuple[Any, str, str]]] = list,
        may_guess: bool = False,
        tf32: bool = False,
        agree: Callable[[Exception | None], None] = lambda error: None,
        replayed: bool = False,
    ) -> None:
        self._function, self.engine, self._roots = function, engine, roots
        self._replayed = replayed or engine == "compiled"
        self._may_guess, self._agree = may_guess, agree
        self._stale, self._slots, self._tf32 = stale, slots, tf32
        self._trusted: set[int] | None = None
        self._said_unrecorded = False
        self._before: dict[str, tuple[int, int]] = {}
        self._entries: dict[Any, Entry] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes graphs of its own: these hold tensors and objects of the original."""
        return {**vars(self), "_entries": {}, "_trusted": None}

    def lookup(self, args: tuple, kwargs: dict[str, Any]) -> tuple[Entry, list[Tensor]]:
        """What is known of these arguments' signature, and the tensors among them.

        Raises:
            TooManyGraphsError: If there are graphs for `MAX_GRAPHS` signatures, and this is another.
        """
        leaves, structure, tensors = _flattened(args, kwargs)
        key = (structure, *map(_signature, leaves))
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= MAX_GRAPHS:
                raise TooManyGraphsError(
                    f"more than {MAX_GRAPHS} signatures; pass numbers that change as tensors, and batches in few sizes"
                )
            held = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            rehearsals, uses = self._before.get(repr(key), (0, 0))
            entry = self._entries[key] = Entry(held, structure, rehearsals_before=rehearsals, uses_before=uses)
        return entry, tensors

    def trusted(self, args: tuple) -> tuple[Plan, list[Tensor]] | None:
        """The graph for these arguments, if it was used since `unchanging` began, and the tensors among them."""
        leaves, structure, tensors = _flattened(args, {})
        entry = self._entries.get((structure, *map(_signature, leaves)))
        if entry is None or entry.plan is None or id(entry.plan) not in (self._trusted or ()):
            return None
        return entry.plan, tensors

    @contextlib.contextmanager
    def rehearsing(self, entry: Entry) -> Iterator[None]:
        """Inside, the function runs as Python on behalf of a signature that has no graph yet, and is observed."""
        verifying = entry.watch if entry.stage is Stage.OBSERVED else None
        if verifying is not None and verifying.changed():  # somebody has changed something since the first call
            verifying = None
        with observing() as observation:
            yield
        slots = self._slots()
        if (
            verifying is not None
            and observation.functions.keys() <= entry.observation.functions.keys()
            and len(slots) == entry.slots
        ):
            entry.refusal = _why_not_repeatable(observation, verifying)
            entry.stage = Stage.VERIFIED
            # What ran the first time alone, such as imports, need not be watched from now on.
            self._watch(entry, observation, slots)
            return
        entry.observation = observation
        entry.stage = Stage.OBSERVED
        self._watch(entry, observation, slots)

    def _watch(self, entry: Entry, observation: Observation, slots: list[tuple[Any, str, str]]) -> None:
        try:
            entry.watch = Watch({**self._roots, **_arguments_by_name(entry)}, observation, slots)
        except Exception as error:  # an object of the user's that does not let itself be looked at
            entry.refusal = f"what the programs use cannot be watched ({_first_line(error)})"
            return
        entry.slots = len(slots)
        if entry.watch.refused and entry.stage is Stage.VERIFIED:
            entry.refusal = entry.refusal or entry.watch.refused[0]

    def ready(self, entry: Entry, tensors: list[Tensor]) -> Plan | None:
        """The graph of a signature; None if this call is Python's.

        Raises:
            UntraceableError: If the function reads values of tensors in Python, or changes Python objects.
            CompilerError: If compilation is impossible or fails.
            TooManyGraphsError: After more than `MAX_GRAPHS` signatures or `MAX_RETRACES` changes.
        """
        if entry.refusal is not None:
            entry.watch = None  # it would keep objects alive
            raise UntraceableError(entry.refusal)
        if entry.stage in (Stage.NEW, Stage.OBSERVED):
            return None
        if entry.stage is Stage.READY and entry.plan is not None:
            if self._trusted is not None and id(entry.plan) in self._trusted:
                return entry.plan
            if not entry.plan.changed():
                if self._trusted is not None:
                    self._trusted.add(id(entry.plan))
                return entry.plan
        if entry.stage is Stage.VERIFIED and entry.watch is not None and not entry.watch.changed():
            entry.plan = self._made_by_all(entry, tensors)
            entry.plan.uses, entry.uses_before = entry.uses_before, 0
            entry.stage = Stage.READY
            return entry.plan
        self._start_again(entry)
        return None

    def _start_again(self, entry: Entry) -> None:
        """Forget a graph, because what was traced has changed."""
        uses = entry.plan.uses if entry.plan is not None else 0
        branches = entry.plan is not None and entry.plan.missed_last >= MISSES_IN_A_ROW
        entry.retraces += 1
        if entry.retraces > MAX_RETRACES and uses < STEPS_A_RETRACE:
            entry.retraces -= 1
            changes = entry.watch.changes() if entry.watch is not None else []
            changes += ["the branch that is taken"] if branches else []
            raise TooManyGraphsError(
                f"what the programs use changed more than {MAX_RETRACES} times since the start "
                f"({_listed(changes) or 'options of the optimizer'}); pass numbers "
                f"that change as tensors; a schedule may change learning rates, and nothing else (OneCycleLR needs "
                f"cycle_momentum=False)"
            )
        logger.info("a module, a number or an option has changed: tracing anew")
        entry.stage, entry.plan, entry.watch = Stage.NEW, None, None

    @contextlib.contextmanager
    def unchanging(self) -> Iterator[None]:
        """The caller's promise that nothing of Python changes inside; each graph is then looked at once."""
        self._trusted = set()
        try:
            yield
        finally:
            self._trusted = None

    def _made_by_all(self, entry: Entry, tensors: list[Tensor]) -> Plan:
        """A graph, if the other processes could make theirs too."""
        try:
            plan = self._make(entry, tensors)
        except Exception as error:
            self._agree(error)
            raise
        self._agree(None)
        return plan

    def _make(self, entry: Entry, tensors: list[Tensor]) -> Plan:
        assert entry.watch is not None
        results: list[TreeSpec] = []
        values = TracedValues(self._may_guess)

        def flat(*given: Tensor) -> list[Tensor]:
            supply = iter(given)
            filled = [next(supply) if leaf is _TENSOR else leaf for leaf in entry.leaves]
            args, kwargs = (tuple(filled), {}) if entry.structure is None else tree_unflatten(filled, entry.structure)
            with values:
                found, tree = tree_flatten(self._function(values, *args, **kwargs))
                results[:] = [tree]
                # What TraceGraph_ELBO tracks is wrapped, and a tracer would take a wrapper for a constant.
                return [torch.as_tensor(detach_provenance(value)) for value in found]

        with self.switched():
            try:
                stale = self._stale()
                captured = capture(flat, tensors)
            except (UncapturableError, UntraceableError):
                raise
            except ValueReadError as error:
                raise UntraceableError(str(error)) from error
            except Exception as error:
                raise_if_lost(error)
                raise UntraceableError(f"the programs could not be traced ({_first_line(error)})") from error
            if captured.changes_arguments:
                raise UntraceableError("the programs change one of their arguments in place")
            stale.append(Layouts([*captured.lifted, *entry.watch.tensors]).changed)
            if values.read:
                stale.append(lambda: not all(torch.equal(source, copy) for source, copy in values.read))
            call: Callable[..., Any] = captured.graph.forward  # no hooks of modules run on a graph
            if self.engine == "compiled":
                if _share_memory(captured):
                    raise UntraceableError("the programs change a tensor that shares its memory with another")
                call = compiled(captured, tensors)
            # A CUDA graph would hold the value that a tensor on the host has now.
            if self._replayed and all(t.is_cuda for t in (*tensors, *captured.lifted)):
                call = self._recorded(call, captured, tensors)
                stale.append(Placement(captured.lifted).changed)
        settings = settings_around()  # after tracer and compiler, whose imports register classes
        stale.append(lambda: settings_around() != settings)
        return Plan(
            captured, call, results[0], entry.watch, stale, values.met, values.moved, values.sites, values.weighted,
            values.guessed,
        )  # fmt: skip

    def _recorded(self, call: Callable[..., Any], captured: Capture, tensors: list[Tensor]) -> Callable[..., Any]:
        """The call as a CUDA graph, or itself where that cannot be made: right and a little slower."""
        try:
            return Replay(call, captured, tensors)
        except RecordingError as error:
            if not self._said_unrecorded:
                logger.warning("kernels run one by one: no CUDA graph could be recorded of them (%s)", error)
            self._said_unrecorded = True
            return call

    def progress(self) -> dict[str, tuple[int, int]]:
        """How far each signature has come, for a run that is resumed: runs as Python, and uses of its graph."""
        return {
            repr(key): (_REHEARSALS[entry.stage], entry.plan.uses if entry.plan is not None else 0)
            for key, entry in self._entries.items()
        }

    def resume(self, progress: Mapping[str, tuple[int, int]]) -> None:
        """Take up what `progress` said in the run that is resumed."""
        self._before = dict(progress)

    def switched(self) -> contextlib.AbstractContextManager[None]:
        """Switches of the backend that hold while a graph is made or runs."""
        return tf32(self._tf32)

    @property
    def plans(self) -> list[Plan]:
        """All graphs."""
        return [entry.plan for entry in self._entries.values() if entry.plan is not None]


class GraphFunction:
    """Any function of tensors as one graph for each signature; see `compile_function`."""

    def __init__(
        self, function: Callable[..., Any], engine: str, *, tf32: bool = False, replayed: bool = False
    ) -> None:
        self._function = function
        roots = {"the function": function}
        self._graphs = Graphs(lambda _, *a, **k: function(*a, **k), engine, roots, tf32=tf32, replayed=replayed)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results for these arguments.

        Raises:
            UntraceableError: If the function reads values of tensors in Python.
            CompilerError: If compilation is impossible or fails.
            TooManyGraphsError: After more than `MAX_GRAPHS` signatures or `MAX_RETRACES` changes.
        """
        if handlers_around() or modes_around():  # which may do something else at each call
            with self._graphs.switched(), torch.no_grad():
                return self._function(*args, **kwargs)
        entry, tensors = self._graphs.lookup(args, kwargs)
        with self._graphs.switched():
            while (plan := self._graphs.ready(entry, tensors)) is None:
                with untouched(), torch.no_grad(), self._graphs.rehearsing(entry):
                    self._function(*args, **kwargs)
            plan.uses += 1
            return plan.results(tensors)


def compile_function(
    function: Callable[..., Any], engine: str = "compiled", *, allow_tf32: bool = False, replayed: bool = False
) -> GraphFunction:
    """Make any function of tensors one graph for each signature; its modules' parameters become inputs.

    The first call with a signature runs the function twice as Python, to see what it uses, and then traces it. Checks
    that distributions make of their values hold for that call alone. Gradients do not flow through the results. Where
    a handler of Pyro or a mode of torch is active around a call, it runs as Python.

    Args:
        function: Takes and returns trees of tensors, such as an importance-sampling bound on a batch of images.
        engine: "compiled", or "graph" for a traced graph without a compiler.
        allow_tf32: Whether matrix products may use TF32 on the GPU.
        replayed: Whether a traced graph on a GPU is recorded as a CUDA graph; a compiled one always is.

    Returns:
        A callable with the function's arguments and results.

    Example:
        >>> import torch
        >>> double = compile_function(lambda x: 2 * x, "graph")
        >>> double(torch.ones(2))
        tensor([2., 2.])
    """
    if engine not in ("compiled", "graph"):
        raise ValueError(f"engine must be compiled or graph, got {engine!r}")
    return GraphFunction(function, engine, tf32=allow_tf32, replayed=replayed)


def _flattened(args: tuple, kwargs: dict[str, Any]) -> tuple[list[Any], TreeSpec | None, list[Tensor]]:
    """Arguments as a flat list, their tree (None if they are tensors alone), and the tensors among them."""
    if not kwargs and all(isinstance(arg, Tensor) for arg in args):  # the common case, without a walk over trees
        leaves: list[Any] = list(args)
        return leaves, None, leaves
    leaves, structure = tree_flatten((args, kwargs))
    return leaves, structure, [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _signature(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        if leaf.is_sparse or leaf.dtype.is_complex:
            return leaf.shape, leaf.layout, leaf.is_conj(), leaf.dtype, leaf.device
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device, leaf.is_neg()
    if type(leaf) is float:
        return float, leaf.hex()
    if isinstance(leaf, np.generic) and not isinstance(leaf, np.void):
        return type(leaf), str(leaf.dtype), leaf.tobytes()
    return (type(leaf), leaf if type(leaf) in _PLAIN else id(leaf))


def _why_not_repeatable(observation: Observation, watch: Watch) -> str | None:
    """Why a graph cannot do what a run did, or None."""
    if observation.impure:
        return f"a run of the programs {' and '.join(observation.impure)}, which a graph cannot repeat"
    try:
        written = [*watch.changes(), *watch.moved_generators()]
    except Exception as error:
        return f"what the programs use cannot be watched ({_first_line(error)})"
    if written:
        return f"every run of the programs changes {_listed(written)}, a Python object, which a graph would not do"
    return None


def _arguments_by_name(entry: Entry) -> dict[str, Any]:
    objects = [leaf for leaf in entry.leaves if leaf is not _TENSOR and type(leaf) not in _PLAIN]
    return {f"argument {number}": value for number, value in enumerate(objects, 1)}


def _share_memory(captured: Capture) -> bool:
    """Whether a tensor that the graph changes lies in the memory of another one."""
    storages = list(map(storage_of, captured.lifted))
    return any(storages.count(storage_of(tensor)) > 1 for tensor in captured.changed)


def _first_line(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
