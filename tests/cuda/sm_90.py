"""The code that Inductor would make for an H100, on a machine without one: written, and not compiled."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._inductor.utils
import torch.utils._triton
from torch import fx
from torch._inductor.fx_passes.joint_graph import UniformValueConstantFolder

H100 = SimpleNamespace(
    name="NVIDIA H100 80GB HBM3",
    major=9,
    minor=0,
    total_memory=80 << 30,
    multi_processor_count=132,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    warp_size=32,
    shared_memory_per_block=48 << 10,
    shared_memory_per_block_optin=227 << 10,
    shared_memory_per_multiprocessor=228 << 10,
    L2_cache_size=50 << 20,
    gcnArchName="",
)
ALONE = {"shape_padding": False, "force_disable_caches": True}
"""Whether padded matrices are faster is measured on the GPU; and nothing is left on the disk."""
DEDUCED = UniformValueConstantFolder._deduce_value
KINDS = {
    "Triton": re.compile(r"^\s*triton_\w+\.run\("),
    "products": re.compile(r"^\s*extern_kernels\.\w+\("),
    "other": re.compile(r"^\s*(?:\w+ = )?torch\.ops\.|^\s*\w+\.copy_\("),
}
"""What a line of Inductor's wrapper launches."""


@contextlib.contextmanager
def pretended() -> Iterator[None]:
    """Inside, torch is told of an H100 on which nothing can run."""
    import torch._dynamo.device_interface as interface
    from torch._inductor.runtime.hints import DeviceProperties
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental import proxy_tensor

    of_torch = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_properties": lambda device=None: H100,
        "get_device_capability": lambda device=None: (9, 0),
        "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device=None: None,
        "_lazy_init": lambda: None,
        "_exchange_device": lambda index: 0,
        "_maybe_exchange_device": lambda index: 0,
    }
    with contextlib.ExitStack() as stack:
        for name, value in of_torch.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
            if hasattr(interface.CudaInterface, name):
                stack.enter_context(mock.patch.object(interface.CudaInterface, name, staticmethod(value)))
        stack.enter_context(mock.patch.dict(interface.caching_worker_device_properties, {"cuda": [H100]}))
        stack.enter_context(mock.patch.dict(interface.caching_worker_current_devices, {"cuda": 0}))
        # Its own question whether there is a driver, which is answered by `is_available`.
        stack.enter_context(mock.patch.object(FakeTensorMode, "avoid_device_init", True))
        # Numbers that a trace knows are not computed on the GPU beside it.
        stack.enter_context(mock.patch.object(proxy_tensor, "CONSTANT_NUMEL_LIMIT", 0))
        stack.enter_context(mock.patch.object(UniformValueConstantFolder, "_deduce_value", _on_the_host))
        # Part of the names of kernels on the disk, for which Triton asks the driver.
        stack.enter_context(mock.patch.object(torch.utils._triton, "triton_hash_with_backend", return_value=""))
        _forget(DeviceProperties)
        try:
            yield
        finally:
            _forget(DeviceProperties)


def _forget(properties: Any) -> None:
    """Drop what torch remembers of this machine's GPU, which answers for the wrong one after a change."""
    properties.create.cache_clear()
    for function in (vars(torch.utils._triton) | vars(torch._inductor.utils)).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def _on_the_host(folder: Any, node: fx.Node) -> Any:
    """The value of a constant, which Inductor would have a GPU compute."""
    if node.target is torch.ops.prims.device_put.default:
        return folder.env[node.args[0]]
    before = node.kwargs
    node.kwargs = {name: torch.device("cpu") if name == "device" else value for name, value in before.items()}
    try:
        return DEDUCED(folder, node)
    finally:
        node.kwargs = before


def code_of(graph: fx.GraphModule, inputs: Sequence[Any], options: dict[str, Any]) -> str:
    """Inductor's Python around the kernels of a graph, for inputs that say they are on a GPU."""
    import torch._inductor
    from torch._inductor.utils import get_code
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    with pretended():
        mode = FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True)
        with mode:
            fakes = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=t.device) for t in inputs]
        found = get_code(lambda: torch._inductor.compile(graph, fakes, options=options | ALONE))
    return found[0]


def launches(code: str) -> Counter[str]:
    """How often each kind of kernel is launched."""
    body = code[code.index("def call(") :]
    found: Counter[str] = Counter()
    for line in body.splitlines():
        kind = next((kind for kind, pattern in KINDS.items() if pattern.search(line)), None)
        found[kind or ""] += kind is not None
    return +found
