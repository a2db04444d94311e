"""Every private name of torch, Pyro and Python that the engine uses, in this file alone; each has a test of its own."""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pyro
import pyro.distributions.util
import pyro.infer.util
import pyro.nn.module
import pyro.poutine.util
import torch
import torch.compiler
import torch.distributions.distribution
import torch.distributions.kl
import torch.nn.modules.module
from pyro.infer.traceenum_elbo import _get_common_scale
from pyro.infer.util import Dice, _fulldot
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_PARAM_STORE, _PYRO_STACK, Message, apply_stack
from pyro.poutine.subsample_messenger import _Subsample
from pyro.util import warn_if_inf, warn_if_nan
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._decomp.decompositions import native_batch_norm_decomposition
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_proxy_mode,
    get_proxy_slot,
    make_fx,
)
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

__all__ = [
    "FakeTensorMode",
    "Message",
    "Messenger",
    "TorchDispatchMode",
    "TreeSpec",
    "make_fx",
    "tree_flatten",
    "tree_leaves",
    "tree_unflatten",
]

# ---- tensors and operators

# Batch norm changes its running statistics behind a schema that does not say so; this form of it says so.
SILENT_WRITES = {
    torch.ops.aten.native_batch_norm.default: slice(3, 5),
    torch.ops.aten.cudnn_batch_norm.default: slice(3, 5),
}
RANDOM = torch.Tag.nondeterministic_seeded
DECOMPOSITIONS = {torch.ops.aten.native_batch_norm.default: native_batch_norm_decomposition}


def storage_of(tensor: Tensor) -> int:
    """A number that tensors of the same memory share while they live."""
    return tensor.untyped_storage()._cdata


def written_arguments(operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments that an operator writes to, by its schema.

    Args:
        operator: An ATen operator; anything else writes nothing.
        args: Tensors, or nodes of a graph.
        kwargs: The same.
    """
    schema = getattr(operator, "_schema", None)
    if schema is None:
        return []
    found = list(args[SILENT_WRITES[operator]]) if operator in SILENT_WRITES else []
    if schema.is_mutable:
        given = dict(zip([a.name for a in schema.arguments], args, strict=False)) | kwargs
        found += [given.get(a.name) for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return tree_leaves(found)


def mutates(operator: Any) -> bool:
    """Whether an operator writes to an argument, by its schema or in spite of it."""
    schema = getattr(operator, "_schema", None)
    return schema is not None and (schema.is_mutable or operator in SILENT_WRITES)


def takes(operator: Any, name: str) -> bool:
    """Whether an operator has an argument of this name."""
    schema = getattr(operator, "_schema", None)
    return schema is not None and any(argument.name == name for argument in schema.arguments)


def is_view(operator: Any) -> bool:
    """Whether an operator's result shares memory with its first argument."""
    schema = getattr(operator, "_schema", None)
    return schema is not None and bool(schema.returns) and schema.returns[0].alias_info is not None


def gradient_hooks(tensor: Tensor) -> Any:
    """What `Tensor.register_post_accumulate_grad_hook` has registered, or None."""
    return tensor._post_accumulate_grad_hooks


# ---- tracing


def trace_graph(function: Callable[..., Any], tensors: Sequence[Tensor]) -> fx.GraphModule:
    """The ATen operations of `function(*tensors)`, run on real values."""
    one_mode = tracing(TracingContext(FakeTensorMode()))  # the tracer would make one for every node, and take longer
    without_cudnn = torch.backends.cudnn.flags(enabled=False)  # its batch norm hides what it changes
    with without_cudnn, one_mode:
        return make_fx(function, decomposition_table=DECOMPOSITIONS, tracing_mode="real")(*tensors)


@functools.cache
def core_decompositions() -> dict[Any, Callable[..., Any]]:
    """How operators are taken apart into torch's core ones, and some of these into arithmetic."""
    return {**core_aten_decompositions(), **get_decompositions([getattr(torch.ops.aten, name) for name in _NOT_CORE])}


_NOT_CORE = (
    "_softmax", "_log_softmax", "addmm", "addmv", "addr", "baddbmm", "elu", "leaky_relu", "gelu", "hardtanh",
    "native_layer_norm", "native_group_norm", "embedding", "index_select", "repeat", "roll",
)  # fmt: skip


def node_of(tensor: Tensor) -> fx.Node | None:
    """The node that made a tensor in the trace under way; None for a tensor from outside."""
    mode = get_proxy_mode()
    slot = None if mode is None else get_proxy_slot(tensor, mode.tracer, None)
    return None if slot is None else slot.proxy.node


def owner_of(node: fx.Node) -> Any:
    """What a `get_attr` node of the trace under way stands for."""
    mode = get_proxy_mode()
    assert mode is not None
    return getattr(getattr(mode.tracer, "root", None), str(node.target), None)


def untraced() -> contextlib.AbstractContextManager[Any]:
    """Inside, operations run without becoming part of the trace under way."""
    return disable_proxy_modes_tracing()


_COMPILING = threading.RLock()


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Have `torch.compiler.is_compiling()` say yes: optimizers then accept step counts in tensors on a CPU."""
    with _COMPILING:
        before = torch.compiler._is_compiling_flag
        torch.compiler._is_compiling_flag = True
        try:
            yield
        finally:
            torch.compiler._is_compiling_flag = before


@functools.cache
def realize() -> Callable[[Tensor], Tensor]:
    """An operator that returns its argument, which Inductor does not inline into the users of the result.

    Inductor is imported here, since it takes two seconds and 150 MB.
    """
    try:
        import torch._inductor.test_operators

        return torch.ops._inductor_test.realize
    except (ImportError, AttributeError):  # a torch without the operator: correct, but slower on the CPU
        return lambda tensor: tensor


def inductor_compile(
    graph: fx.GraphModule, inputs: Sequence[Tensor], options: dict[str, Any], known: dict[str, str] | None = None
) -> Callable[..., Any]:
    """Compile a graph for inputs like these, or take what was compiled from it before from the disk.

    Args:
        graph: Operators, and Python functions of tensors.
        inputs: Example arguments.
        options: Settings of Inductor.
        known: Names of functions in the graph, and digests that change when they do. With another one torch keeps
            its kernels alone.
    """
    import torch._dynamo.utils
    import torch._inductor
    import torch._inductor.config

    if hasattr(torch._inductor.config, "unsafe_marked_cacheable_functions"):
        options = {"unsafe_marked_cacheable_functions": known or {}, **options}
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    # Inductor's cache of whole graphs asks for a shape environment, though every shape here is static.
    mode = FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True)
    fakes: list[Any] = [mode.from_tensor(tensor.detach(), static_shapes=True) for tensor in inputs]
    placeholders = (node for node in graph.graph.nodes if node.op == "placeholder")
    for placeholder, fake in zip(placeholders, fakes, strict=True):
        placeholder.meta["val"] = fake  # where Inductor's C++ wrapper looks for the inputs
    context, before = torch._dynamo.utils.get_metrics_context(), abc.get_cache_token()
    try:
        # A hit of torch's caches is counted in the one context and timed in the other, outside of which torch raises.
        counted = contextlib.nullcontext() if context.in_progress() else context
        with counted, torch._dynamo.utils.dynamo_timed("pyrovae"):
            try:
                return torch._inductor.compile(graph, fakes, options=_UNTRIED | options)
            except Exception:
                if not _tries_find_other_instructions():
                    raise
            return torch._inductor.compile(graph, fakes, options=options)
    finally:
        _registered_by_inductor[0] += abc.get_cache_token() - before  # type: ignore[operator]


# Take the processor's word for its vector instructions. Inductor compiles a program with each set to see whether the
# compiler and torch take it, which is a third of the time until a first step; a step that compiles shows the same.
_UNTRIED = {} if "TORCHINDUCTOR_VEC_ISA_OK" in os.environ else {"cpp.vec_isa_ok": True}


def _tries_find_other_instructions() -> bool:
    """Forget what was taken for granted, and say whether Inductor's own tries choose other vector instructions."""
    from torch._inductor import config, cpu_vec_isa

    with config.patch(_UNTRIED):
        assumed = str(cpu_vec_isa.pick_vec_isa())
    for found in (cpu_vec_isa, *map(type, cpu_vec_isa.supported_vec_isa_list), cpu_vec_isa.VecISA):
        for function in vars(found).values():
            with contextlib.suppress(AttributeError, TypeError):
                function.cache_clear()
    return str(cpu_vec_isa.pick_vec_isa()) != assumed


def inductor_graph(call: Callable[..., Any]) -> Any | None:
    """Inductor's object behind torch's wrappers of a compiled function, or None; it calls its `current_callable`."""
    from torch._inductor.output_code import CompiledFxGraph

    seen, level = {id(call)}, [call]
    while level:
        found = next((each for each in level if isinstance(each, CompiledFxGraph)), None)
        if found is not None:
            return found
        level = [each for wrapper in level for each in _wrapped(wrapper) if id(each) not in seen]
        seen.update(map(id, level))
    return None


def _wrapped(wrapper: Any) -> Iterator[Any]:
    """What a function or a callable object may call: from its closure, its code's globals, its attributes."""
    if isinstance(wrapper, FunctionType):
        for cell in wrapper.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is empty
                yield from filter(_is_wrapper, [cell.cell_contents])
        yield from filter(_is_wrapper, map(wrapper.__globals__.get, wrapper.__code__.co_names))
    yield from filter(_is_wrapper, getattr(wrapper, "__dict__", {}).values())


def _is_wrapper(thing: Any) -> bool:
    return callable(thing) and not isinstance(thing, type | torch.nn.Module)


def cpp_entry(function: Any) -> Callable[[list[Tensor]], list[Tensor]] | None:
    """The C++ code behind the Python that Inductor writes around it, if that only hands tensors on; else None."""
    code = getattr(function, "__code__", None)
    tools = torch._C._aoti
    names = ("unsafe_alloc_void_ptrs_from_tensors", "alloc_tensors_by_stealing_from_void_ptrs")
    if (
        code is None
        or code.co_freevars != ("f",)
        or not {*names} <= {*code.co_names}
        or not all(map(tools.__dict__.get, names))
    ):
        return None
    if "constants_tensor" in code.co_varnames or "item" in code.co_names:  # tensors of its own, numbers as results
        return None
    run = function.__closure__[0].cell_contents
    borrowed, taken = (getattr(tools, name) for name in names)
    return lambda tensors: taken(run(borrowed(tensors)))


@functools.cache
def slow_float32_products() -> bool:
    """Whether torch multiplies float32 matrices at half of the processor's speed.

    torch leaves these products to MKL, which uses AVX2 at most on processors that are not Intel's.
    """
    if not torch.backends.mkl.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    processors = Path("/proc/cpuinfo")
    return processors.exists() and "AuthenticAMD" in processors.read_text(encoding="utf-8", errors="replace")


PRODUCTS = Path(__file__).with_name("products.h")
"""Products of float32 matrices with AVX-512."""


@functools.cache
def fast_product() -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The product of two float32 matrices, or batches of them, plus a bias: an operator that Inductor compiles.

    Compiled, it is a call of `PRODUCTS`, which reads views of any strides where they lie.
    """
    from torch._inductor.ir import ExternKernel, FixedLayout, TensorBox, as_storage_and_layout
    from torch._inductor.lowering import fallback_handler, register_lowering
    from torch._inductor.virtualized import V

    library = torch.library.Library("pyrovae", "FRAGMENT")
    library.define("product(Tensor a, Tensor b, Tensor? bias) -> Tensor")
    library.impl("product", lambda a, b, bias: a @ b if bias is None else a @ b + bias, "CPU")
    library.impl("product", lambda a, b, bias: a.new_empty(*a.shape[:-1], b.shape[-1]), "Meta")
    _libraries.append(library)  # it lives as long as somebody holds it
    operator = torch.ops.pyrovae.product.default
    in_torch = fallback_handler(operator)

    @register_lowering(operator, type_promotion_kind=None)
    def lower(a: Any, b: Any, bias: Any) -> Any:
        if not V.graph.cpp_wrapper:
            return in_torch(a, b, bias)
        a, b = ExternKernel.realize_input(a), ExternKernel.realize_input(b)
        for x in (a, b):
            as_storage_and_layout(x, freeze=True)
        if 1 not in b.get_stride()[-2:]:
            b = ExternKernel.require_contiguous(b)
        inputs = [a, b] if bias is None else [a, b, ExternKernel.require_contiguous(bias)]
        layout = FixedLayout(b.get_device(), b.get_dtype(), [*a.get_size()[:-1], b.get_size()[-1]])
        return TensorBox.create(_product_kernel()(layout=layout, inputs=inputs))

    return operator


@functools.cache
def _product_kernel() -> Any:
    """The class of Inductor's nodes that call `PRODUCTS`."""
    from torch._inductor import config
    from torch._inductor.ir import ExternKernelOut

    class Product(ExternKernelOut):
        def codegen(self, wrapper: Any) -> None:
            source = PRODUCTS.read_text(encoding="utf-8")
            if source not in wrapper.src_to_kernel:
                declaration = source[source.index('extern "C"') : source.rindex(" {\n  using")] + ";"
                wrapper.src_to_kernel[source] = "pyrovae_product"
                wrapper.define_kernel("pyrovae_product", source, gpu=False, cpp_definition=declaration)
            call = f"pyrovae_product({', '.join(_product_arguments(self))});"
            if config.cpp.enable_kernel_profile:
                call = f'{{ RAIIAtenRecordFunctionHandle record("pyrovae_product", nullptr); {call} }}'
            wrapper.writeline(call)

    return Product


def _product_arguments(kernel: Any) -> list[str]:
    """Sizes, factors with their strides, bias and result of a call of `PRODUCTS`, in C++."""
    a, b, *bias = kernel.inputs
    *batch, m, n = kernel.get_size()
    factors = [(_address(x), *([] if batch else [0]), *x.get_stride()) for x in (a, b)]
    result = f"(float*)({kernel.get_name()}.data_ptr())"
    sizes = [*(batch or [1]), m, n, a.get_size()[-1]]
    return [str(x) for x in (*sizes, *factors[0], *factors[1], _address(bias[0]) if bias else "nullptr", result)]


def _address(x: Any) -> str:
    """Where the elements of an input of a graph's C++ kernel begin."""
    return f"(const float*)({x.get_name()}.data_ptr()) + {x.get_layout().offset}"


_libraries: list[Any] = []

_registered_by_inductor = [0]
"""Registrations with abstract classes by Inductor's own imports, which change nothing that a program does."""


# ---- several processes


def summed_over(tensor: Tensor, group: Any) -> Tensor:
    """The sum of a tensor over the processes of a group, by operators that a trace records and Inductor compiles."""
    import torch.distributed._functional_collectives  # registers them; torch may be built without torch.distributed

    operators = torch.ops._c10d_functional
    return operators.wait_tensor(operators.all_reduce(tensor, "sum", group.group_name))


def is_batch_norm(module: torch.nn.Module) -> bool:
    """Whether a module takes means over a batch."""
    return isinstance(module, torch.nn.modules.batchnorm._BatchNorm)


def is_communication_error(error: BaseException) -> bool:
    """Whether an error is torch.distributed's, such as a connection that another process has closed."""
    if isinstance(error, torch.distributed.DistError):
        return True
    words = ("gloo", "_c10d_functional", "NCCL", "Connection reset by peer", "TCPStore")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


# ---- precision of float32 products


def _precisions() -> dict[str, Any]:
    """Where torch 2.9 and newer keep the precision of products on the GPU."""
    places = {"products": torch.backends.cuda.matmul, "convolutions": getattr(torch.backends.cudnn, "conv", None)}
    places["recurrent"] = getattr(torch.backends.cudnn, "rnn", None)
    return {name: place for name, place in places.items() if hasattr(place, "fp32_precision")}


def float32_precision() -> tuple[bool | None, bool | None, dict[str, str]]:
    """TF32 in products and in convolutions by the old switches, and each new one.

    An old switch is None where the user has set a new one to another value: torch then refuses to read the old one.
    """
    old: list[bool | None] = []
    for place in (torch.backends.cuda.matmul, torch.backends.cudnn):
        try:
            old.append(bool(place.allow_tf32))
        except RuntimeError:
            old.append(None)
    return old[0], old[1], {name: place.fp32_precision for name, place in _precisions().items()}


def set_tf32(enabled: bool) -> None:
    """Allow TF32 in float32 products and convolutions on the GPU, or forbid it.

    By the old switches, which set the new ones too; set the other way round, torch refuses to read the old ones, and
    Inductor reads them.
    """
    torch.backends.cuda.matmul.allow_tf32 = enabled
    torch.backends.cudnn.allow_tf32 = enabled


def restore_float32_precision(before: tuple[bool | None, bool | None, dict[str, str]]) -> None:
    """Put back what `float32_precision` gave."""
    products, convolutions, new = before
    torch.backends.cuda.matmul.allow_tf32 = bool(products)
    torch.backends.cudnn.allow_tf32 = True if convolutions is None else convolutions
    for name, place in _precisions().items():
        place.fp32_precision = new[name]


def _matmul_precision() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set by a new switch alone
        return None


# ---- surroundings of a call


def modes_around() -> int:
    """How many torch function and dispatch modes are active, without that of `torch.set_default_device`."""
    default_device = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    functions = torch._C._len_torch_function_stack() - (default_device is not None)
    return functions + torch._C._len_torch_dispatch_stack()


def handlers_around() -> bool:
    """Whether a Pyro handler is active around the call."""
    return bool(_PYRO_STACK)


def settings_around() -> tuple[Any, ...]:
    """Switches of torch and Pyro that change what the same program computes."""
    return (
        threading.get_ident(),  # objects of threading.local hold other values in another thread
        # It changes when a class is registered with an abstract one.
        abc.get_cache_token() - _registered_by_inductor[0],  # type: ignore[operator]
        torch.get_default_dtype(),
        getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None),
        torch.are_deterministic_algorithms_enabled(),
        *((torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")),
        _matmul_precision(),
        *(place.fp32_precision for place in _precisions().values()),
        *(getattr(owner, name) for owner, name in _pyro_settings(len(pyro.settings._REGISTRY))),
        *(tuple(table.values()) for table in _TABLES),
    )


@functools.lru_cache(maxsize=1)
def _pyro_settings(count: int) -> list[tuple[Any, str]]:
    """The owner and the name of each of Pyro's settings, of which there are so many."""
    places = []
    for module, path, _ in pyro.settings._REGISTRY.values():
        *owners, name = path.split(".")
        places.append((functools.reduce(getattr, owners, importlib.import_module(module)), name))
    return places


_MODULES: Any = torch.nn.modules.module
_TABLES: tuple[dict[Any, Any], ...] = (
    _MODULES._global_forward_hooks,
    _MODULES._global_forward_pre_hooks,
    _MODULES._global_backward_hooks,
    _MODULES._global_backward_pre_hooks,
    torch.distributions.kl._KL_REGISTRY,
    torch.distributions.transform_to._registry,
    torch.distributions.biject_to._registry,
)
"""Hooks of all modules, and what is registered with torch for pairs of distributions and for constraints."""


def step_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer has hooks on its step, or all have."""
    own = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return bool(own or _global_optimizer_pre_hooks or _global_optimizer_post_hooks)


# ---- Python


def import_code() -> CodeType:
    """The code that finds a module that is not loaded yet, and runs it."""
    return importlib._bootstrap._find_and_load.__code__  # type: ignore[attr-defined]


# ---- Pyro


def stored_parameters() -> dict[str, Tensor]:
    """Pyro's parameter store: unconstrained tensors by name, itself and not a copy."""
    return _PYRO_PARAM_STORE._params


class _Table:
    """One of the tables of Pyro's parameter store, which `clear` and `scope` replace; read where it is now."""

    def __init__(self, name: str) -> None:
        self._store, self._name = vars(_PYRO_PARAM_STORE), name

    def __getitem__(self, key: str) -> Any:
        return self._store[self._name][key]


_STORED, _CONSTRAINTS = _Table("_params"), _Table("_constraints")


def parameter_slots(names: Iterable[str]) -> list[tuple[Any, str, str]]:
    """Where Pyro's parameter store keeps these parameters: the table, the key, and a name for messages."""
    slots: list[tuple[Any, str, str]] = []
    for name in names:
        if name in stored_parameters():
            slots.append((_STORED, name, f"the parameter {name!r}"))
            slots.append((_CONSTRAINTS, name, f"the constraint of parameter {name!r}"))
    return slots


def whole_store_slot() -> tuple[Any, str, str]:
    """Where Pyro's parameter store keeps its table of parameters: for programs that look at the table itself."""
    return vars(_PYRO_PARAM_STORE), "_params", "Pyro's parameter store"


def mark_parameters() -> None:
    """Show Pyro a parameter site, without which it takes no gradient; parameters of plain modules make none."""
    apply_stack(
        Message(
            type="param",
            name=PARAMETER_MARK,
            fn=None,
            is_observed=False,
            args=(),
            kwargs={},
            value=torch.empty(0),
            infer={},
            scale=1.0,
            mask=None,
            cond_indep_stack=(),
            done=True,
            stop=False,
            continuation=None,
        )
    )


PARAMETER_MARK = "_pyrovae_parameters"


def is_subsample(distribution: Any) -> bool:
    """Whether a site's distribution is the draw of a plate's indices."""
    return isinstance(distribution, _Subsample)


# ---- which code of torch or Pyro asks for a tensor's value, and what it is told while there is none


def passes_on(frame: FrameType) -> bool:
    """Whether a frame is a mode, or torch's wrapper of one, that hands a call on."""
    code = frame.f_code
    return code.co_name in ("__torch_function__", "__torch_dispatch__") or code.co_filename.endswith(_WRAPPERS)


_WRAPPERS = ("torch/_compile.py", "torch/_dynamo/eval_frame.py", "torch/overrides.py", "torch/functional.py")


def asking_code() -> CodeType:
    """The code that called a tensor's method, behind the modes that passed the call on."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and passes_on(frame):
        frame = frame.f_back
    return frame.f_code if frame is not None else sys._getframe(0).f_code


def first_scale() -> Any:
    """The first of the scales that `EQUAL_SCALES` compares now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not EQUAL_SCALES:
        frame = frame.f_back
    assert frame is not None
    return frame.f_locals["scales"][0]


NAN_WARNINGS = (warn_if_nan.__code__, warn_if_inf.__code__)
ZERO_PROBABILITY = Dice.compute_expectation.__code__
"""Asks whether any probability is zero, and then leaves those terms out."""
EXPECTATION = _fulldot.__code__
"""Sums probability times cost."""
EQUAL_SCALES = inspect.unwrap(_get_common_scale).__code__
"""Compares the scales of enumerated sites."""

_VALID_IF_TRUE = {
    str(Path(torch.__file__).parent / "distributions" / name)
    for name in ("distribution.py", "constraints.py", "continuous_bernoulli.py", "geometric.py", "wishart.py")
} | {
    str(Path(pyro.__file__).parent / name)
    for name in ("poutine/scale_messenger.py", "distributions/von_mises_3d.py", "distributions/coalescent.py")
}
_VALID_IF_FALSE = {str(Path(pyro.__file__).parent / "distributions/sine_skewed.py")}


def validates(code: CodeType) -> bool | None:
    """The answer that means "valid" where this code asks a tensor for its truth; None if it asks something else."""
    if code.co_filename in _VALID_IF_TRUE:
        return True
    return False if code.co_filename in _VALID_IF_FALSE else None
