"""Never silently wrong: each program of `changes.py` and of the generator runs beside `pyro.infer.SVI`.

The outcome is one of four. "equal": losses, parameters, optimizer state, buffers, generators and all that the program
keeps are Pyro's, step by step, and errors are Pyro's errors. "refused": a named engine raised `UntraceableError`, all
steps before it are equal, and the refused step left no mark. "WRONG" and "crashed" are failures.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import logging
import math
import random
import re
import warnings
from typing import Any

import changes
import generated
import numpy as np
import pyro
import pytest
import torch
from changes import CASES, CHANGE, STEPS, Program
from torch.utils._pytree import tree_flatten_with_path

from pyrovae.engine import SVI, UntraceableError

COMPILED = "pyrovae.engine.functions.compiled"  # what makes a call of a traced graph
RTOL = 1e-8
SEEDS = range(40)  # of the generator
TIERS = {"graph": 2}


@dataclasses.dataclass
class Outcome:
    """What a run showed: losses, snapshots before and after each step, errors by step, warnings that were logged."""

    losses: list[float] = dataclasses.field(default_factory=list)
    before: list[dict] = dataclasses.field(default_factory=list)
    after: list[dict] = dataclasses.field(default_factory=list)
    errors: dict[int, Exception] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)
    svi: Any = None
    rtol: float = RTOL


@dataclasses.dataclass
class Verdict:
    kind: str  # equal, refused, WRONG, crashed
    text: str = ""

    @property
    def good(self) -> bool:
        return self.kind in ("equal", "refused")


class Beside(pyro.optim.PyroOptim):
    """A torch optimizer in Pyro's place: it steps the parameters that a step has met, and no other."""

    def __init__(self, inner):
        super().__init__(type(inner), {})
        self.inner = inner

    def __call__(self, params, *_, **__):
        met = {id(p) for p in params}
        others = {p: p.grad for group in self.inner.param_groups for p in group["params"] if id(p) not in met}
        for p in others:
            p.grad = None
        self.inner.step()
        for p, gradient in others.items():
            p.grad = gradient


class ByPyro:
    """`pyro.infer.SVI` with the interface of the engine."""

    def __init__(self, model, guide, optim, loss, prepare=None):
        optim = Beside(optim) if isinstance(optim, torch.optim.Optimizer) else optim
        self.svi, self.prepare = pyro.infer.SVI(model, guide, optim, loss), prepare

    def _prepared(self, args, kwargs):
        if self.prepare is None:
            return args, kwargs
        value = self.prepare(*args, **kwargs)
        return tuple(value) if isinstance(value, tuple | list) else (value,), {}

    def step(self, *args, **kwargs):
        args, kwargs = self._prepared(args, kwargs)
        return self.svi.step(*args, **kwargs)

    def evaluate_loss(self, *args, **kwargs):
        args, kwargs = self._prepared(args, kwargs)
        return self.svi.evaluate_loss(*args, **kwargs)


def flat(tree) -> dict[str, Any]:
    """The leaves of nested containers by path, tensors and arrays copied."""
    leaves, _ = tree_flatten_with_path(tree)
    values = {"".join(map(str, path)): leaf for path, leaf in leaves}
    return {
        k: v.detach().clone() if isinstance(v, torch.Tensor) else np.copy(v) if isinstance(v, np.ndarray) else v
        for k, v in values.items()
    }


def optimizer_state(optim):
    if isinstance(optim, torch.optim.Optimizer):
        names = {p: f"{g} {i}" for g, group in enumerate(optim.param_groups) for i, p in enumerate(group["params"])}
        return {names[p]: dict(state) for p, state in optim.state.items() if p in names}
    names, found = pyro.get_param_store()._param_to_name, {}
    for p, inner in optim.optim_objs.items():
        if p in names:
            found[names[p]] = dict(getattr(inner, "optimizer", inner).state.get(p, {}))
    return found


def snapshot(program: Program, optim, whole=True) -> dict[str, Any]:
    """All that may be compared, by name."""
    parts = {
        "parameter": dict(pyro.get_param_store().named_parameters()),
        "optimizer": optimizer_state(optim),
        "generator": {
            "torch": torch.get_rng_state(),
            "python": str(hash(random.getstate())),
            "numpy": np.random.get_state()[1:3],
        },
    }
    if whole:
        parts["state"] = program.state()
    return flat(parts)


class _Log(logging.Handler):
    def __init__(self, outcome):
        super().__init__(logging.WARNING)
        self.outcome = outcome

    def emit(self, record):
        self.outcome.warnings.append(record.getMessage())


@contextlib.contextmanager
def fresh(outcome):
    """Everything that a run may touch is as it was, before and after."""
    dtype, log, logger = torch.get_default_dtype(), _Log(outcome), logging.getLogger("pyrovae.engine")
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    logger.addHandler(log)
    try:
        with warnings.catch_warnings(), pyro.validation_enabled(True):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(log)
        torch.set_default_dtype(dtype)
        pyro.clear_param_store()


def in_a_thread(svi, *args, **kwargs):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(svi.step, *args, **kwargs).result()


def run(build, make_svi, frozen=False) -> Outcome:
    """Train; with `frozen` nothing changes from step CHANGE on, and the program's own writing is undone."""
    outcome = Outcome()
    with fresh(outcome):
        program = build()
        optim, loss = program.optim(), program.loss()
        svi = outcome.svi = make_svi(program.model, program.guide, optim, loss, prepare=program.prepare)
        go_on, outcome.rtol = program.settings.get("go_on"), program.settings.get("rtol", RTOL)
        try:
            for step in range(STEPS):
                i = min(step, CHANGE - 1) if frozen else step
                annealed_here = 1.0 + (i >= CHANGE)  # noqa: F841 (a program looks for it)
                if not frozen:
                    program.before_step(i)
                else:
                    program.each(i)
                    (program.still or changes.nothing)()
                args, kwargs = program.args_for_step(i)
                outcome.before.append(snapshot(program, optim, whole=False))
                try:
                    with program.around(i):
                        if program.settings.get("evaluate") and step in (3, 9):
                            svi.evaluate_loss(*args, **kwargs)
                        elsewhere = program.settings.get("thread") and i >= CHANGE
                        take = functools.partial(in_a_thread, svi) if elsewhere else svi.step
                        outcome.losses.append(float(take(*args, **kwargs)))
                except Exception as error:
                    outcome.errors[step] = error
                    outcome.losses.append(math.nan)
                    outcome.after.append(snapshot(program, optim, whole=False))
                    if not go_on:
                        break
                else:
                    outcome.after.append(snapshot(program, optim))
        finally:
            program.undo()
    return outcome


def ours(engine, **options):
    options = {"check_every": None, "tiers": TIERS, **options}
    return functools.partial(SVI, engine=engine, **options)


def same(a, b, rtol=RTOL) -> bool:
    atol = rtol / 100
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        a, b = a.detach(), b.detach()
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        exact = not (a.is_floating_point() or a.is_complex())
        return torch.equal(a, b) if exact else torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if isinstance(a, float) and isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=rtol, abs_tol=atol) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.allclose(a, b, rtol=rtol, atol=atol) if a.shape == b.shape else False
    return type(a) is type(b) and a == b


def difference(ours: dict, theirs: dict, rtol=RTOL) -> str | None:
    """What differs between two snapshots, or None."""
    missing = sorted(theirs.keys() - ours.keys())
    more = sorted(ours.keys() - theirs.keys())
    if missing or more:
        return f"missing: {missing[:3]}, too many: {more[:3]}"
    for name, value in theirs.items():
        if not same(ours[name], value, rtol):
            shown = (re.sub(r"\s+", " ", str(v))[:60] for v in (ours[name], value))
            return f"{name}: {' instead of '.join(shown)}"
    return None


def judge(mine: Outcome, pyros: Outcome, engine: str) -> Verdict:
    for i in range(max(len(mine.losses), len(pyros.losses))):
        error, expected = mine.errors.get(i), pyros.errors.get(i)
        if i >= len(pyros.losses) or i >= len(mine.losses):
            return Verdict("WRONG", f"step {i} was taken by one only")
        if (error is not None and expected is None) or (error is not None and type(error) is not type(expected)):
            if isinstance(error, UntraceableError) and engine != "auto":
                marks = difference(mine.after[i], pyros.before[i], pyros.rtol)
                if marks:
                    return Verdict("WRONG", f"refused step {i} left a mark: {marks} ({error})")
                return Verdict("refused", f"at step {i}: {error}")
            first = str(error).strip().split("\n")[0]
            return Verdict("crashed", f"at step {i}: {type(error).__name__}: {first[:300]}; expected {expected!r:.80}")
        if expected is not None and error is None:
            return Verdict("WRONG", f"step {i} did not raise {expected!r:.200}")
        if not same(mine.losses[i], pyros.losses[i], pyros.rtol):
            return Verdict("WRONG", f"loss of step {i}: {mine.losses[i]!r} instead of {pyros.losses[i]!r}")
        found = difference(mine.after[i], pyros.after[i], pyros.rtol)
        if found and error is None:
            return Verdict("WRONG", f"after step {i}: {found}")
    if engine == "auto" and len(mine.warnings) > 1:
        return Verdict("WRONG", f"{len(mine.warnings)} warnings, where one is enough: {mine.warnings}")
    return Verdict("equal", steps_of(mine.svi))


def steps_of(svi) -> str:
    return str(dict(getattr(svi, "steps_taken", {})))


@functools.cache
def oracle(case, frozen=False) -> Outcome:
    return run(case.build, ByPyro, frozen)


def compare(case, engine, **options) -> Verdict:
    """The verdict over one case on one engine."""
    return judge(run(case.build, ours(engine, **options)), oracle(case), engine)


def by_name(cases, every=1):
    """All cases; of each class the first and every `every`-th run by default, the others are marked full."""
    seen = collections.Counter()
    found = []
    for c in cases:
        marks = () if seen[c.class_] % every == 0 else pytest.mark.full
        seen[c.class_] += 1
        found.append(pytest.param(c, id=f"{c.class_}-{c.name}".replace(" ", "_"), marks=marks))
    return found


GUARDED = [c for c in CASES if not c.beyond]
BEYOND = [c for c in CASES if c.beyond]
CHANGING = [c for c in CASES if not c.static]
# Programs that differ most from each other, each compiled for real.
COMPILED_NAMES = (
    "closure_number",
    "read_by_float_of_a_buffer",
    "same_tensor_twice",
    "frozen_in_mid_run",
    "alternating_met",
    "buffer_reassigned",
    "validation_finds_an_observation",
    "multinomial_permutation_and_bernoulli",
    "neural_baseline",
)
# Refusal is no way out for these classes, but for the programs that are named.
WITHOUT_REFUSAL = (
    "python state",
    "module attributes",
    "class attributes",
    "implicit reads",
    "data rebound",
    "parameters",
    "zero gradients",
    "optimizers",
    "modules",
    "arguments",
    "aliased arguments",
    "same draws",
    "around and beside",
    "between the steps",
)
MAY_BE_REFUSED = {
    *("argument_attribute_of_a_tensor", "argument_conjugated", "argument_sparse", "argument_iterator"),
    *("data_from_a_loader_inside", "data_from_an_iterator_of_batches", "views_of_one_memory"),
    *("decimal_context", "pandas_frame", "pandas_frame_in_place", "sparse_matrix_of_scipy", "string_io", "queue"),
    *("global_by_eval", "global_by_name", "magic_eval", "magic_exec", "builtin_shadowed_by_a_global"),
    *("global_forward_hook", "hidden_state_in_forward", "lock", "event", "structure_in_C", "generator_state_read"),
    *("module_imported_inside", "module_replaced_in_the_table_of_modules", "module_part_unused_by_turns"),
    *("own_assertion", "parameter_drawn_in_the_first_step", "network_drawn_in_the_first_step"),
    *("step_from_another_thread", "context_variable_in_another_thread", "inner_optimization_in_the_guide"),
    *("backward_in_the_guide", "auto_structured", "dispatch_mode_around", "function_mode_around"),
    *("abstract_registration", "enum_value", "code_of_a_function", "memoryview", "weak_set", "long_string"),
    *("gradient_hook_after_accumulation", "weak_reference_alone"),
    *("long_list", "long_list_middle", "wide_dict", "large_set", "large_numpy_array", "numpy_array_of_objects"),
    *("attribute_of_a_library_module", "metaclass_attribute", "bases_of_the_class", "autograd_function_backward"),
}


def may_be_refused(case):
    return case.class_ not in WITHOUT_REFUSAL or case.name in MAY_BE_REFUSED


@pytest.mark.parametrize("case", by_name(CHANGING, 24))
def test_the_change_matters(case):
    """No case is vacuous: without the change Pyro itself does something else."""
    moving, frozen = oracle(case), oracle(case, frozen=True)
    assert not moving.errors or min(moving.errors) >= CHANGE, moving.errors
    unlike = not all(map(same, moving.losses, frozen.losses)) or moving.errors.keys() != frozen.errors.keys()
    unlike = unlike or difference(moving.after[-1], frozen.after[-1]) is not None
    assert unlike, "the program does the same with the change and without it"


@pytest.mark.parametrize("case", by_name(CASES, 24))
def test_the_oracle_repeats(case):
    """Two runs by Pyro are equal, so that every difference is the engine's."""
    verdict = judge(run(case.build, ByPyro), oracle(case), "pyro")
    assert verdict.kind == "equal", verdict.text


@pytest.mark.parametrize("case", by_name(GUARDED, 12))
def test_equal_or_refused_by_a_graph(case):
    verdict = compare(case, "graph")
    assert verdict.good, f"{verdict.kind}: {verdict.text}"
    assert verdict.kind == "equal" or may_be_refused(case), f"refused, where a graph is possible: {verdict.text}"


@pytest.mark.parametrize("case", by_name(GUARDED, 24))
def test_equal_on_auto(case):
    """Always Pyro's numbers, never an error that Pyro does not raise, and one warning at most."""
    verdict = compare(case, "auto")
    assert verdict.kind == "equal", f"{verdict.kind}: {verdict.text}"


@pytest.mark.parametrize("case", by_name(GUARDED, 48))
def test_equal_or_refused_as_one_graph(case, monkeypatch):
    """The whole step in one graph, as it is compiled, without a compiler."""
    monkeypatch.setattr(COMPILED, lambda captured, leaves: captured.graph.forward)
    verdict = compare(case, "compiled")
    assert verdict.good, f"{verdict.kind}: {verdict.text}"


@pytest.mark.slow
@pytest.mark.parametrize("case", by_name(c for c in CASES if c.name in COMPILED_NAMES))
def test_equal_or_refused_compiled(case):
    verdict = compare(case, "compiled")
    assert verdict.good, f"{verdict.kind}: {verdict.text}"


@pytest.mark.parametrize("engine", ["graph", "auto"])
@pytest.mark.parametrize("seed", [pytest.param(s, marks=pytest.mark.full if s % 8 else ()) for s in SEEDS])
def test_generated(seed, engine):
    case = generated.make(seed)
    verdict = compare(case, engine)
    assert verdict.good, f"{verdict.kind}: {verdict.text}; {case.name}"


@pytest.mark.parametrize("engine", ["graph", "auto"])
@pytest.mark.parametrize("case", by_name(BEYOND))
def test_beyond_guards_the_check_finds_it(case, engine):
    """Checked at every step, all steps are Pyro's, and a warning says that the graph was wrong."""
    mine, pyros = run(case.build, ours(engine, check_every=1)), oracle(case)
    verdict = judge(mine, pyros, engine)
    assert verdict.good, f"{verdict.kind}: {verdict.text}"
    assert verdict.kind == "refused" or len(mine.warnings) == 1


@pytest.mark.parametrize("engine", ["graph", "auto"])
def test_the_check_names_the_first_site_that_differs(engine):
    """A program that escapes guards, by its memory's address, is found at the graph's next power of two."""
    case = next(c for c in CASES if c.name == "memory_by_address")
    without = compare(case, engine)
    assert without.kind in ("WRONG", "refused"), "the mutant does not escape: no test of the check"
    mine, pyros = run(case.build, ours(engine, check_every=1000)), oracle(case)
    if mine.errors:
        pytest.skip("refused, so there is nothing to find")
    differs = [i for i in range(STEPS) if not same(mine.losses[i], pyros.losses[i])]
    assert len(mine.warnings) == 1
    assert re.search(r"\bz\b", mine.warnings[0]), mine.warnings
    assert mine.svi.engine == "pyro"
    assert not differs or differs[0] == CHANGE
    assert mine.svi.steps_taken["graph"] <= 8


def test_no_false_alarm():
    """Programs that do not change are checked at every step, and nobody warns."""
    case = next(c for c in CASES if c.name == "reseeded_by_the_caller")
    mine = run(case.build, ours("graph", check_every=1))
    assert judge(mine, oracle(case), "graph").kind == "equal"
    assert not mine.warnings
