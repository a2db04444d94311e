"""A simulated GPU: tensors that say they are on `cuda:0` or `cuda:1`, and compute on the CPU.

Every operation is checked as CUDA checks it (one device for all tensors; numbers in 0-d tensors of the host excepted)
and run on the CPU, and its result is on the GPU again. So values are right, code that depends on data runs, and what
CUDA would refuse is refused. What makes the host wait (`item`, `nonzero`, copies between the memories) is counted by
the line of the library that asked for it, and refused in a graph that is being recorded, as CUDA does.

What this cannot find: an operator without a CUDA kernel, wrong results of a kernel, races, and anything of speed.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from fake_backward import backward
from fake_graphs import FakeEvent, FakeGenerator, FakeGraph, FakeStream, Recorder
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

import pyrovae
from pyrovae.engine.compat import is_view, mutates

HERE = str(Path(__file__).parent / "fake_")
PACKAGE = str(Path(pyrovae.__file__).parent) + "/"
KNOWN_TORCH = ("2.15",)
"""Versions of torch under whose internals this was seen to work."""
DEVICES = 2
aten = torch.ops.aten
CPU = torch.device("cpu")
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
    aten._unsafe_index_put.default,
}
NO_HOST_NUMBERS = {aten.cat.default, aten.stack.default}
"""These refuse even a 0-d tensor of the host."""
WAITING = {
    "_assert_async_msg_host",
    "_linalg_check_errors",
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
}


class OnGpu(Tensor):
    """A tensor on a GPU for everybody, C++ included, and its values on the CPU."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor, device: torch.device) -> OnGpu:
        like = {"strides": value.stride(), "storage_offset": value.storage_offset(), "dtype": value.dtype}
        made = Tensor._make_wrapper_subclass(cls, value.size(), device=device, **like)
        made.value = value
        return made

    def __repr__(self) -> str:
        return f"OnGpu({self.value})"

    def data_ptr(self) -> int:
        return self.value.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        return self.detach().cpu().numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return FakeGpu.current.run(func, args, kwargs or {})


class FakeGpu(TorchDispatchMode):
    """Inside, this machine has two GPUs.

    Attributes:
        waits: How often each line of the library made the host wait, and by what.
        constants: How often each copied a tensor of the host to the GPU while a graph was recorded.
        launched: How many operations ran on a GPU outside of graphs; views do not count.
        recorder: Graphs, streams and generators.
    """

    current: FakeGpu
    _mode_key = torch._C._TorchDispatchModeKey.FAKE  # below the tracer, which then sees tensors of the GPU
    shape_env = None  # what the tracer asks a mode of that key for

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.constants: Counter[str] = Counter()
        self.launched = 0
        self.index = 0
        self.recorder = Recorder(tuple(FakeGenerator(torch.device("cuda", i)) for i in range(DEVICES)))

    # ---- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Check an operation's devices, run it on the CPU, and put its results where CUDA would."""
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        on_gpu = [t for t in tensors if isinstance(t, OnGpu)]
        target = self._target(kwargs, on_gpu)
        self._check(func, args, kwargs, tensors, on_gpu, target)
        bare_args, bare = tree_map(lambda t: t.value if isinstance(t, OnGpu) else t, (args, kwargs))
        if kwargs.get("device") is not None:
            bare["device"] = CPU
        bare.pop("pin_memory", None)
        if target.type == "cuda":
            out = self._on_gpu(func, bare_args, bare, target)
            out = tree_map_only(Tensor, lambda t: OnGpu(t, target), out)
        else:
            out = func(*bare_args, **bare)
            if not on_gpu:
                return out
        return return_and_correct_aliasing(func, args, kwargs, out)

    def _target(self, kwargs: dict[str, Any], on_gpu: list[Tensor]) -> torch.device:
        """Where the result lies."""
        if kwargs.get("device") is None:
            return on_gpu[0].device if on_gpu else CPU
        asked = torch.device(kwargs["device"])
        return torch.device("cuda", self.index) if asked.type == "cuda" and asked.index is None else asked

    def _on_gpu(self, func: Any, args: tuple, kwargs: dict[str, Any], target: torch.device) -> Any:
        recorded = self.recorder.takes(target)
        draws = torch.Tag.nondeterministic_seeded in func.tags
        generator = self.recorder.generators[target.index]
        with generator.drawing(recorded) if draws else contextlib.nullcontext():
            if recorded and self.recorder.graph is not None:
                return self.recorder.graph.keep(func, args, kwargs, lambda: func(*args, **kwargs))
            self.launched += mutates(func) or not is_view(func)
            return func(*args, **kwargs)

    def _check(
        self,
        func: Any,
        args: tuple,
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        on_gpu: list[Tensor],
        target: torch.device,
    ) -> None:
        name = func._schema.name.split("::")[-1]
        if func in COPIES:
            self._check_copy(args, kwargs, tensors, on_gpu, target)
            return
        if len({t.device for t in on_gpu}) > 1:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found two GPUs ({func})")
        host = [t for t in tensors if not isinstance(t, OnGpu) and (t.dim() or func in NO_HOST_NUMBERS)]
        if on_gpu and host:
            if func not in INDEXING:
                raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({func})")
            if not isinstance(args[0], OnGpu):
                raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            if len(args) > 2 and not isinstance(args[2], OnGpu) and args[2].dim():
                raise RuntimeError(f"values of {func} must be on cuda:0")
            self._wait("indices from the host", from_host=True)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != target.type:
            raise RuntimeError(f"Expected a {target.type} generator but found one of {generator.device.type}")
        by_mask = func in INDEXING and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if on_gpu and (name in WAITING or by_mask):
            self._wait("mask as index" if by_mask else name)

    def _check_copy(
        self, args: tuple, kwargs: dict[str, Any], tensors: list[Tensor], on_gpu: list[Tensor], target: torch.device
    ) -> None:
        crossing = bool(on_gpu) != (target.type == "cuda")
        if not crossing and len(on_gpu) in (0, len(tensors)):
            return
        source = tensors[-1]
        queued = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        if not (queued and getattr(source, "in_pinned_memory", False)):
            what = f"copy of {tensors[0].numel()} numbers between the memories"
            self._wait(what, from_host=not isinstance(source, OnGpu))

    def _wait(self, why: str, from_host: bool = False) -> None:
        recording = self.recorder.stream is not None
        if recording and from_host:  # numbers that Inductor writes into its kernels
            self.constants[f"{_asker()}: {why}"] += 1
        elif recording:
            self.recorder.broken = True
            raise RuntimeError(f"operation not permitted when stream is capturing: {why}")
        self.waits[f"{_asker()}: {why}"] += 1

    # ---- torch.cuda, and what else must know

    def _exchange(self, index: int) -> int:
        before = self.index
        self.index = index if index >= 0 else before
        return before

    def _torch_cuda(self) -> dict[str, Any]:
        """What takes the place of names in torch.cuda."""
        recorder = self.recorder

        def number(device: Any) -> int:
            index = None if device is None else torch.device(device).index
            return self.index if index is None else index

        return {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "device_count": lambda: DEVICES,
            "current_device": lambda: self.index,
            "synchronize": lambda device=None: None,
            "empty_cache": lambda: None,
            "mem_get_info": lambda device=None: (70 << 30, 80 << 30),
            "default_generators": recorder.generators,
            "_exchange_device": self._exchange,
            "_maybe_exchange_device": self._exchange,
            "get_device_name": lambda device=None: "a simulated GPU",
            "Event": FakeEvent,
            "Stream": FakeStream,
            "stream": recorder.on_stream,
            "current_stream": lambda device=None: recorder.streams[number(device)],
            "CUDAGraph": FakeGraph,
            "graph": recorder.recording,
        }

    def __enter__(self) -> FakeGpu:
        torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, where there is no driver
        FakeGpu.current = self
        self._undo = contextlib.ExitStack()
        patch = lambda *what: self._undo.enter_context(mock.patch.object(*what))  # noqa: E731
        self._undo.enter_context(torch.backends.cudnn.flags(enabled=False))  # it has operators of its own
        for name, value in self._torch_cuda().items():
            patch(torch.cuda, name, value)
            if hasattr(torch.cuda.random, name):  # imported there by name
                patch(torch.cuda.random, name, value)
        patch(Tensor, "pin_memory", _pinned)
        for where in (torch.autograd, torch.autograd.graph):  # torch's own waits for streams of the driver
            patch(where, "_engine_run_backward", backward)
        from torch.fx.experimental import proxy_tensor

        patch(proxy_tensor, "HANDLED_TYPES", (*proxy_tensor.HANDLED_TYPES, OnGpu))
        patch(proxy_tensor, "unset_fake_temporarily", contextlib.nullcontext)
        lift = torch._C._only_lift_cpu_tensors()
        overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
        torch._C._set_only_lift_cpu_tensors(True)  # as FakeTensorMode does: `torch.tensor(..., device="cuda")` asks us
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._undo.callback(torch._C._set_only_lift_cpu_tensors, lift)
        self._undo.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._undo.close()


def _pinned(tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    copy.in_pinned_memory = True  # type: ignore[attr-defined]
    return copy


def _asker() -> str:
    """The innermost line of the library, or else of anybody, that is running."""
    frame: FrameType | None = sys._getframe(1)
    nearest = None
    while frame is not None:
        file = frame.f_code.co_filename
        if HERE not in file:
            nearest = nearest or f"{file}:{frame.f_lineno}"
            if PACKAGE in file:
                return f"{file.removeprefix(PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return str(nearest)
