"""Each private name of torch and Pyro that the engine uses does what the engine takes it to do.

When a new version breaks one, its test says which, and what has to be found anew.
"""

import ast
import contextlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch._dynamo.utils
import torch._inductor
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode

from pyrovae.engine import compat
from pyrovae.engine.observation import observing
from pyrovae.engine.rewriting import rewrite_for_cpu, rewritten_functions

ENGINE = Path(compat.__file__).parent


def test_no_other_file_imports_a_private_name():
    """Private modules of torch and Pyro, and names with an underscore from them, are in compat.py alone."""
    for path in ENGINE.glob("*.py"):
        if path.name == "compat.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = getattr(node, "module", None) or ""
            if isinstance(node, ast.ImportFrom) and module.partition(".")[0] in ("torch", "pyro"):
                names = [*module.split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names), f"{path.name}: {module}"


def test_the_engine_imports_nothing_else_of_the_package():
    for path in ENGINE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = getattr(node, "module", None) or ""
            if isinstance(node, ast.ImportFrom) and module.startswith("pyrovae"):
                assert module.startswith("pyrovae.engine"), f"{path.name} imports {module}"


def test_storage_of():
    x = torch.ones(4)
    assert compat.storage_of(x) == compat.storage_of(x[1:])
    assert compat.storage_of(x) != compat.storage_of(torch.ones(4))


def test_written_arguments():
    x, y = torch.ones(2), torch.ones(2)
    assert compat.written_arguments(torch.ops.aten.add_.Tensor, (x, y), {}) == [x]
    assert compat.written_arguments(torch.ops.aten.add.Tensor, (x, y), {}) == []
    assert compat.written_arguments(len, (x,), {}) == []
    written = compat.written_arguments(torch.ops.aten.native_batch_norm.default, (1, 2, 3, x, y, True, 0.1, 1e-5), {})
    assert [w is t for w, t in zip(written, (x, y), strict=True)] == [True, True]


def test_mutates():
    assert compat.mutates(torch.ops.aten.add_.Tensor)
    assert compat.mutates(torch.ops.aten.native_batch_norm.default)
    assert not compat.mutates(torch.ops.aten.add.Tensor)
    assert not compat.mutates(len)


def test_takes():
    assert compat.takes(torch.ops.aten.eye.default, "dtype")
    assert not compat.takes(torch.ops.aten.add.Tensor, "dtype")
    assert not compat.takes(len, "dtype")


def test_is_view():
    assert compat.is_view(torch.ops.aten.view.default)
    assert not compat.is_view(torch.ops.aten.add.Tensor)


def test_gradient_hooks():
    parameter = torch.nn.Parameter(torch.ones(2))
    assert not compat.gradient_hooks(parameter)
    parameter.register_post_accumulate_grad_hook(lambda p: None)
    assert compat.gradient_hooks(parameter)


def test_trace_graph_node_of_and_untraced():
    outside, found = torch.ones(2), []

    def function(x):
        y = x + outside
        found.append((compat.node_of(x), compat.node_of(outside), compat.node_of(y)))
        with compat.untraced():
            found.append(compat.node_of(y * 3))
        return y

    graph = compat.trace_graph(function, [torch.ones(2)])
    (x, before, y), unseen = found
    assert x.op == "placeholder"
    assert before is None
    assert y.target is torch.ops.aten.add.Tensor
    assert unseen is None
    assert [n.target for n in graph.graph.nodes if n.op == "call_function"] == [torch.ops.aten.add.Tensor]
    assert compat.node_of(outside) is None  # outside of a trace


def test_owner_of():
    outside, owners = torch.ones(2), []

    def function(x):
        y = x + outside
        node = next(n for n in compat.node_of(y).all_input_nodes if n.op == "get_attr")
        owners.append(compat.owner_of(node))
        return y

    compat.trace_graph(function, [torch.ones(2)])
    assert owners[0] is outside


def test_compiling():
    assert not torch.compiler.is_compiling()
    with compat.compiling():
        assert torch.compiler.is_compiling()
    assert not torch.compiler.is_compiling()


def test_realize():
    assert torch.equal(compat.realize()(torch.ones(2)), torch.ones(2))


@pytest.mark.slow
def test_inductor_compile():
    graph = compat.trace_graph(lambda x: (x + 1,), [torch.ones(3)])
    (result,) = compat.inductor_compile(graph, [torch.ones(3)], {})(torch.full((3,), 2.0))
    assert torch.equal(result, torch.full((3,), 3.0))


@pytest.mark.slow
def test_inductor_graph_and_cpp_entry(tmp_path, monkeypatch):
    """Newly compiled and read from the disk, which have other layers around them."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for _ in range(2):
        traced = compat.trace_graph(lambda x: (x * 5 - 7,), [torch.ones(3)])
        graph = compat.inductor_graph(compat.inductor_compile(traced, [torch.ones(3)], {"cpp_wrapper": True}))
        entry = compat.cpp_entry(graph.current_callable)
        assert torch.equal(entry([torch.full((3,), 2.0)])[0], torch.full((3,), 3.0))
    assert compat.inductor_graph(lambda x: x) is None
    assert compat.cpp_entry(lambda x: x) is None


def test_a_hit_of_inductors_cache(tmp_path, monkeypatch):
    """The second compilation is read from the disk; torch 2.7 counts that where nobody has asked for it."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for _ in range(2):
        graph = compat.trace_graph(lambda x: (x * 5 - 7,), [torch.ones(3)])
        (result,) = compat.inductor_compile(graph, [torch.ones(3)], {})(torch.full((3,), 2.0))
        assert torch.equal(result, torch.full((3,), 3.0))


@pytest.mark.slow
def test_a_graph_that_calls_known_functions_is_read_from_the_disk_whole(tmp_path, monkeypatch):
    """Without their names torch keeps the kernels alone, and a step takes twice as long to be ready."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    example = [torch.rand(600, 100) + 1, torch.rand(100, 40)]
    counted = torch._dynamo.utils.counters["aot_autograd"]
    results, hits = [], []
    for known in (rewritten_functions(), rewritten_functions(), dict.fromkeys(rewritten_functions(), "other"), {}):
        graph = compat.trace_graph(lambda x, w: (torch.lgamma(torch.cat([x, x])) @ w,), example)
        rewrite_for_cpu(graph.graph)
        graph.recompile()
        before = counted["autograd_cache_hit"]
        results.append(compat.inductor_compile(graph, example, {"cpp_wrapper": True}, known)(*example)[0])
        hits.append(counted["autograd_cache_hit"] - before)
    assert hits == [0, 1, 0, 0]
    assert all(torch.equal(result, results[0]) for result in results)


FIRST_COMPILATION = """
import abc
import torch
import torch._dynamo.utils
from collections.abc import Sized
from pyrovae.engine import compat

before = compat.settings_around()
token = abc.get_cache_token()
graph = compat.trace_graph(lambda x: (x + 1,), [torch.ones(3)])
settings = compat.settings_around()
compat.inductor_compile(graph, [torch.ones(3)], {})
assert abc.get_cache_token() != token, "Inductor registers nothing any more: this test has no object"
assert compat.settings_around() == settings
Sized.register(type("Mine", (), {}))
assert compat.settings_around() != settings
"""


@pytest.mark.slow
def test_the_first_compilation_of_a_process_changes_no_settings():
    """Inductor's imports register classes; without care the first graph of every process was made twice."""
    done = subprocess.run([sys.executable, "-c", FIRST_COMPILATION], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


COMPILATION = """
import torch
from pyrovae.engine import compat

graph = compat.trace_graph(lambda x: (x.exp() + 1,), [torch.zeros(100)])
(result,) = compat.inductor_compile(graph, [torch.zeros(100)], {"cpp_wrapper": True})(torch.zeros(100))
assert torch.equal(result, torch.full((100,), 2.0))
"""

OLD_COMPILER = """#!/bin/sh
case "$*" in *-mavx512*) echo "unrecognized command-line option '-mavx512f'" >&2; exit 1;; esac
exec g++ "$@"
"""


def compiled_in(folder: Path, **surroundings: str) -> list[str]:
    """The C++ sources that a first compilation leaves in an empty cache."""
    surroundings = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder)} | surroundings
    done = subprocess.run(
        [sys.executable, "-c", COMPILATION], capture_output=True, text=True, check=False, env=surroundings
    )
    assert done.returncode == 0, done.stderr
    return [path.read_text() for path in folder.rglob("*.cpp")]


TRIED = "__avx_chk_kernel"
HAS_AVX512 = " avx512f " in (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "")


@pytest.mark.slow
def test_vector_instructions_are_not_tried_before_they_are_used(tmp_path):
    """A trial program for each set of instructions takes a third of the time until the first compiled step."""
    assert not any(TRIED in source for source in compiled_in(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_AVX512, reason="the processor has no AVX-512, which a compiler could refuse")
def test_a_compiler_that_does_not_know_the_processor_gets_what_it_knows(tmp_path):
    """The first attempt fails; Inductor's own tries choose the instructions of the second one."""
    (tmp_path / "old-g++").write_text(OLD_COMPILER)
    (tmp_path / "old-g++").chmod(0o755)
    assert any(TRIED in source for source in compiled_in(tmp_path / "cache", CXX=str(tmp_path / "old-g++")))


@pytest.mark.slow
def test_another_failure_of_the_compiler_is_not_tried_again(tmp_path, monkeypatch):
    """Both choices of instructions are the same, so the first error is told."""
    attempts = []

    def fail(*_, **__):
        attempts.append(1)
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(torch._inductor, "compile", fail)
    graph = compat.trace_graph(lambda x: (x + 1,), [torch.ones(3)])
    with pytest.raises(RuntimeError, match="no such kernel"):
        compat.inductor_compile(graph, [torch.ones(3)], {})
    assert attempts == [1]


def test_modes_and_handlers_around():
    assert compat.modes_around() == 0
    with TorchFunctionMode():
        assert compat.modes_around() == 1
    torch.set_default_device("cpu")
    assert compat.modes_around() == 0
    torch.set_default_device(None)
    assert not compat.handlers_around()
    with poutine.block():
        assert compat.handlers_around()


def test_settings_around():
    before = compat.settings_around()
    assert compat.settings_around() == before
    with pyro.validation_enabled(False):
        assert compat.settings_around() != before
    torch.set_default_dtype(torch.float64)
    assert compat.settings_around() != before
    torch.set_default_dtype(torch.float32)
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert compat.settings_around() != before
    hooked = compat.settings_around()
    handle.remove()
    assert compat.settings_around() == before
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert compat.settings_around() != hooked, "another hook"
    handle.remove()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compat.settings_around() != before


def test_core_decompositions():
    graph = compat.make_fx(
        lambda x: torch.log_softmax(torch.nn.functional.softplus(x), -1).square().mean(),
        decomposition_table=compat.core_decompositions(),
    )(torch.randn(3))
    assert not any("softmax" in str(node.target) for node in graph.graph.nodes)


def test_fast_product():
    product = compat.fast_product()
    a, b, bias = torch.randn(20, 30), torch.randn(30, 40), torch.randn(40)
    torch.testing.assert_close(product(a, b, None), a @ b)
    torch.testing.assert_close(product(a.t().contiguous().t(), b.t().contiguous().t(), bias), a @ b + bias)
    assert product(a.to("meta"), b.to("meta"), None).shape == (20, 40)
    assert product(a.to("meta").expand(3, 20, 30), b.to("meta").expand(3, 30, 40), None).shape == (3, 20, 40)


def test_slow_products_are_those_of_mkl_on_another_makers_processor(monkeypatch, tmp_path):
    for capability, maker, slow in (("AVX512", "AuthenticAMD", True), ("AVX512", "GenuineIntel", False),
                                    ("AVX2", "AuthenticAMD", False)):  # fmt: skip
        (tmp_path / "cpuinfo").write_text(f"vendor_id : {maker}\n")
        monkeypatch.setattr(compat, "Path", lambda _: tmp_path / "cpuinfo")
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        expected = slow and torch.backends.mkl.is_available()
        assert compat.slow_float32_products.__wrapped__() == expected


def test_step_hooks():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    assert not compat.step_hooks(optimizer)
    handle = register_optimizer_step_post_hook(lambda *_: None)
    assert compat.step_hooks(optimizer)
    handle.remove()
    optimizer.register_step_pre_hook(lambda *_: None)
    assert compat.step_hooks(optimizer)


def test_the_parameter_store():
    value = pyro.param("a", torch.ones(2)).unconstrained()
    assert compat.stored_parameters()["a"] is value
    slots = compat.parameter_slots(["a", "missing"])
    (parameter, constraint) = slots
    assert parameter[0]["a"] is value
    assert constraint[0]["a"] is pyro.get_param_store()._constraints["a"]
    store, key, _ = compat.whole_store_slot()
    before = store[key]
    with pyro.get_param_store().scope(pyro.get_param_store().get_state()):
        assert parameter[0]["a"] is value  # another table, with the same tensor
        assert store[key] is not before
    pyro.clear_param_store()
    with pytest.raises(KeyError):
        parameter[0]["a"]


def test_mark_parameters():
    with poutine.trace(param_only=True) as capture:
        compat.mark_parameters()
    assert list(capture.trace.nodes) == [compat.PARAMETER_MARK]


def test_is_subsample():
    with poutine.trace() as capture, pyro.plate("p", 10, subsample_size=2):
        pyro.sample("z", dist.Normal(0.0, 1.0))
    assert compat.is_subsample(capture.trace.nodes["p"]["fn"])
    assert not compat.is_subsample(capture.trace.nodes["z"]["fn"])


class _Asked(TorchFunctionMode):
    """Remembers which code asked a tensor for its truth, or multiplied."""

    def __init__(self):
        super().__init__()
        self.codes, self.products, self.floats, self.scales = [], [], [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__bool__ or func is torch._is_all_true:
            self.codes.append(compat.asking_code())
        if func in (torch.tensordot, torch.Tensor.mul, torch.Tensor.__mul__):
            self.products.append(compat.asking_code())
        if func is torch.Tensor.__float__:
            self.floats.append(compat.asking_code())
            self.scales.append(compat.first_scale() if compat.asking_code() is compat.EQUAL_SCALES else None)
        return func(*args, **(kwargs or {}))


def test_asking_code():
    with _Asked() as asked:
        bool(torch.tensor(True))
    assert asked.codes == [test_asking_code.__code__]


def test_warnings_about_nan():
    with _Asked() as asked, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyro.util.warn_if_nan(torch.tensor(torch.nan))
        pyro.util.warn_if_inf(torch.tensor(torch.inf))
    assert set(asked.codes) >= set(compat.NAN_WARNINGS)


def test_the_code_of_enumeration():
    """Where Pyro asks whether a probability is zero, sums them up, and compares the scales of sites."""

    @config_enumerate
    def model():
        with poutine.scale(scale=torch.tensor(2.0)), pyro.plate("data", 3):
            z = pyro.sample("z", dist.Categorical(torch.ones(2)))
            pyro.sample("x", dist.Normal(z.float(), 1.0), obs=torch.zeros(3))

    with _Asked() as asked:
        TraceEnum_ELBO(max_plate_nesting=1).loss(model, lambda: None)
    assert compat.ZERO_PROBABILITY in asked.codes
    assert compat.EXPECTATION in asked.products
    assert compat.EQUAL_SCALES in asked.floats
    assert 2.0 in asked.scales


@pytest.mark.parametrize(
    "check",
    [
        lambda: dist.Normal(torch.zeros(2), torch.ones(2), validate_args=True),
        lambda: dist.Normal(0.0, 1.0, validate_args=True).log_prob(torch.zeros(2)),
        lambda: dist.MultivariateNormal(torch.zeros(2), torch.eye(2), validate_args=True),
        lambda: dist.Geometric(torch.tensor([0.2]), validate_args=True),
        lambda: poutine.scale(scale=torch.ones(())).__enter__().__exit__(None, None, None),
    ],
)
def test_validation_asks_from_known_code(check):
    with _Asked() as asked, pyro.validation_enabled(True):
        check()
    assert asked.codes
    assert all(compat.validates(code) is True for code in asked.codes)
    assert compat.validates(test_asking_code.__code__) is None


def test_import_code_is_what_runs_a_new_module(tmp_path, monkeypatch):
    """What a module does while it is made is no part of a run: a first import may execute a thousand functions."""
    (tmp_path / "made_in_a_run.py").write_text("def once():\n    return 1\ndef twice():\n    return 2\nx = once()\n")
    monkeypatch.syspath_prepend(tmp_path)

    def program():
        import made_in_a_run

        return made_in_a_run.twice()

    try:
        with observing() as found:
            program()
    finally:
        sys.modules.pop("made_in_a_run", None)
    assert [code.co_name for code in found.functions] == ["program", "twice"]


def test_an_import_that_fails_does_not_end_the_record(tmp_path, monkeypatch):
    (tmp_path / "fails_in_a_run.py").write_text("def once():\n    return 1\nonce()\nraise ValueError\n")
    monkeypatch.syspath_prepend(tmp_path)

    def after():
        return 3

    def program():
        with contextlib.suppress(ValueError):
            import fails_in_a_run  # noqa: F401
        return after()

    with observing() as found:
        program()
    assert "after" in {code.co_name for code in found.functions}
    assert "once" not in {code.co_name for code in found.functions}


def test_float32_precision():
    """Old and new switches are put back, whichever the user has set, and one alone breaks nothing."""
    before = compat.float32_precision()
    compat.set_tf32(True)
    assert compat.float32_precision()[:2] == (True, True)
    compat.set_tf32(False)
    assert compat.float32_precision()[:2] == (False, False)
    compat.restore_float32_precision(before)
    assert compat.float32_precision() == before


def test_summed_over():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        group = torch.distributed.group.WORLD
        x = torch.arange(3.0)
        assert torch.equal(compat.summed_over(x, group), x)
        traced = compat.trace_graph(lambda t: compat.summed_over(2 * t, group) + 1, [x])
        assert any("all_reduce" in str(node.target) for node in traced.graph.nodes)
        assert any("wait_tensor" in str(node.target) for node in traced.graph.nodes)
        assert torch.equal(traced(x), 2 * x + 1)
    finally:
        torch.distributed.destroy_process_group()


def test_is_communication_error():
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:20699."
    wrapped = "aoti_torch_cpu__c10d_functional_wait_tensor(buf6, &buf9_handle) API call failed at main.cpp, line 81"
    for error in (torch.distributed.DistNetworkError("timed out"), RuntimeError(gloo), RuntimeError(wrapped)):
        assert compat.is_communication_error(error)
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError(gloo)):
        assert not compat.is_communication_error(error)


def test_is_batch_norm():
    assert compat.is_batch_norm(torch.nn.BatchNorm2d(3))
    assert compat.is_batch_norm(torch.nn.LazyBatchNorm1d())
    assert not compat.is_batch_norm(torch.nn.GroupNorm(1, 3))
