"""Data parallelism: one model trained by several processes, whose gradients and losses are summed inside the step."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from pyro import poutine
from pyro.infer import (
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch import Tensor, nn

from pyrovae.engine.compat import Messenger, is_batch_norm, is_communication_error, is_subsample, summed_over
from pyrovae.engine.shards import Shard, ShardedDraws, ShardedSites, working_on

SUMS_OVER_ROWS = "sums_over_rows"
"""Attribute by which a loss says that it is a sum, or a mean, over the rows of the plate of the data."""
_SUMS = (
    Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO, TraceEnum_ELBO,
    JitTrace_ELBO, JitTraceMeanField_ELBO, JitTraceGraph_ELBO, JitTraceEnum_ELBO,
)  # fmt: skip
_AT_MOST = 1 << 20
"""Characters of a text that processes tell each other."""


class LostProcessError(ConnectionError):
    """Another process has ended or does not answer."""


class DataParallel:
    """The processes of one training, each with its rows of every batch.

    In each process the same program takes the same steps, with the whole batch as its arguments: the engine takes this
    process's rows of them. One plate holds the data. Terms of sites inside of it are summed over processes; sites
    outside of it are drawn alike by all, and their terms are counted once. Numbers are drawn as by one process, see
    `ShardedDraws`, so that any number of processes computes the same up to rounding.

    Rows are divided evenly, side by side. Where their number does not divide, the last processes fill up with rows that
    have no weight, so that all run the same graph.

    Args:
        plate: Name of the plate of the data, or names with the part of the batch that each holds.
        group: The processes; by default all of `torch.distributed`, which must be initialised.
        arguments: Places of the arguments that hold rows; by default of all tensors that have a dimension.
        means: Whether the programs' terms are means over the rows that they are given, and not sums.

    Attributes:
        rank: The number of this process.
        size: How many processes there are.

    Raises:
        ValueError: If torch.distributed is not initialised.

    Example:
        svi = SVI(model, guide, optimizer, parallel=DataParallel("data"))
    """

    def __init__(
        self,
        plate: str | Mapping[str, int],
        group: Any = None,
        *,
        arguments: Sequence[int] | None = None,
        means: bool = False,
    ) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError(
                "DataParallel needs processes: start the script with torchrun, and call "
                "torch.distributed.init_process_group() first"
            )
        self.plates = {plate: 0} if isinstance(plate, str) else dict(plate)
        self.group = dist.group.WORLD if group is None else group
        self.rank, self.size = dist.get_rank(self.group), dist.get_world_size(self.group)
        self._arguments, self._means = arguments, means
        self._shards: dict[tuple[torch.Size, torch.device], Shard] = {}

    # ---- rows

    def rows(self, *args: Any) -> tuple[Any, ...]:
        """This process's rows of the arguments of a step, behind the number of all rows, a torch.Size.

        Raises:
            ValueError: If the arguments have different numbers of rows, or none.
        """
        if args and isinstance(args[0], torch.Size):
            return args
        held = [
            i
            for i, value in enumerate(args)
            if isinstance(value, Tensor) and (value.dim() > 0 if self._arguments is None else i in self._arguments)
        ]
        lengths = {len(args[i]) for i in held}
        if len(lengths) != 1 or lengths == {0}:
            found = f"{' and '.join(map(str, sorted(lengths)))} rows" if lengths else "no tensors"
            raise ValueError(
                f"the tensors that a step is given must hold the same rows, at least one, and have {found}: say which "
                f"arguments hold rows, DataParallel(..., arguments=[0])"
            )
        sizes = torch.Size(lengths)
        rows = self.shard(sizes, args[held[0]].device).whole.rows
        return sizes, *(value[rows.to(value.device)] if i in held else value for i, value in enumerate(args))

    def shard(self, sizes: torch.Size, device: torch.device) -> Shard:
        """This process's rows of a batch whose parts have these sizes."""
        key = sizes, device
        if key not in self._shards:
            self._shards[key] = Shard(sizes, self.rank, self.size, device)
        return self._shards[key]

    @contextlib.contextmanager
    def at_work(self, args: tuple) -> Iterator[tuple[tuple, Sharded]]:
        """Inside, programs work on the rows that `rows` gave; yields the other arguments, and what runs programs."""
        device = next((a.device for a in args if isinstance(a, Tensor)), torch.device("cpu"))
        shard = self.shard(args[0], device)
        draws = ShardedDraws(shard, self.sum)
        sites = ShardedSites(shard, self.plates, self._means, draws)
        with working_on(shard, self.sum), sites:
            yield args[1:], Sharded(self, shard, draws)
        if not sites.met:
            found = ", ".join(map(repr, sites.others)) or "none"
            named = " or ".join(map(repr, self.plates))
            raise ValueError(f"no site of the programs is in the plate {named} of the data; their plates are {found}")

    def outside(self, site: Mapping[str, Any]) -> bool:
        """Whether a site of a trace is outside of the plate of the data."""
        return not any(frame.name in self.plates for frame in site["cond_indep_stack"])

    # ---- what is refused

    def check(self, loss: Any, guide: Any, modules: Sequence[nn.Module]) -> None:
        """Refuse a loss that is no sum over rows, and modules that look at a whole batch.

        Args:
            loss: The loss.
            guide: The guide.
            modules: Those that the programs reach.

        Raises:
            ValueError: Naming it.
        """
        if type(loss) not in _SUMS and not getattr(loss, SUMS_OVER_ROWS, False):
            raise ValueError(
                f"the loss {type(loss).__name__} is not known to be a sum over the rows of a batch, and several "
                f"processes add up what each has of its own: choose Trace_ELBO or TraceMeanField_ELBO, set its "
                f"attribute {SUMS_OVER_ROWS} to True if it is one, or train by one process"
            )
        if isinstance(poutine.unwrap(guide), Messenger):
            raise ValueError(
                f"the guide {type(guide).__name__} is a handler around the model, whose draws several processes cannot "
                f"divide: write it as a program, or train by one process"
            )
        for module in modules:
            kind = type(module).__name__
            if is_batch_norm(module) and module.training:
                raise ValueError(
                    f"{kind} takes its mean and its variance over a whole batch, and each process has its own rows: "
                    f"choose a LayerNorm or a GroupNorm, or train by one process"
                )

    def check_traces(self, model_trace: Any, guide_trace: Any) -> None:
        """Refuse bounds that several processes cannot add up.

        Raises:
            ValueError: If a site outside of the plate is enumerated, or scores inside meet terms outside.
        """
        sites = [
            site
            for trace in (model_trace, guide_trace)
            for site in trace.nodes.values()
            if site["type"] == "sample" and not is_subsample(site["fn"])
        ]
        outside = [site for site in sites if self.outside(site) and not site["infer"].get("_deterministic")]
        for site in outside:
            if site["infer"].get("_enumerate_dim") is not None:
                raise ValueError(
                    f"the site {site['name']!r} outside of the plate of the data is summed over all of its values, "
                    f"with all rows in each term: draw it, or train by one process"
                )
        scored = [
            site["name"]
            for site in guide_trace.nodes.values()
            if site["type"] == "sample"
            and not is_subsample(site["fn"])
            and not self.outside(site)
            and not getattr(site["fn"], "has_rsample", True)
            and site["infer"].get("_enumerate_dim") is None
        ]
        if scored and outside:
            raise ValueError(
                f"the site {scored[0]!r} is drawn without a gradient through its draws, and its score would meet the "
                f"terms of {outside[0]['name']!r}, of which each process counts a share: enumerate it, or train by one "
                f"process"
            )

    # ---- sums

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes, by an operator that graphs may hold."""
        return summed_over(tensor, self.group)

    def sums(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums of tensors over processes, by one reduction for each of their types."""
        found: dict[int, Tensor] = {}
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            places = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
            flat = self.sum(torch.cat([tensors[i].detach().reshape(-1) for i in places]))
            parts = flat.split([tensors[i].numel() for i in places])
            found |= {i: part.view(tensors[i].shape) for i, part in zip(places, parts, strict=True)}
        return [found[i] for i in range(len(tensors))]

    # ---- what all know

    def check_alike(self, values: Mapping[str, Tensor]) -> None:
        """Refuse processes that do not begin alike.

        Args:
            values: Tensors by name; "cpu", "cuda" and "mps" are states of generators of random numbers.

        Raises:
            ValueError: If one differs from that of the first process; the same in all processes.
        """
        for rank, name in self.differing(values):
            if name in ("cpu", "cuda", "mps"):
                raise ValueError(
                    f"process {rank} has other random numbers than process 0: seed all processes alike, before "
                    f"anything is drawn, with pyro.set_rng_seed(0)"
                )
            raise ValueError(
                f"process {rank} begins with another {name} than process 0: build the model from the same seed, and "
                f"give every process the same whole batch"
            )

    def differing(self, values: Mapping[str, Tensor]) -> list[tuple[int, str]]:
        """Processes with the name of a tensor that differs from that of the first process."""
        told = [json.loads(text) for text in self.gather(json.dumps({n: _digest(v) for n, v in values.items()}))]
        apart = [
            (rank, name)
            for rank, theirs in enumerate(told)
            for name in dict.fromkeys((*told[0], *theirs))
            if theirs.get(name) != told[0].get(name)
        ]
        return apart

    def agree(
        self,
        error: BaseException | None,
        layout: object = None,
        device: torch.device | None = None,
        kinds: Sequence[type[Exception]] = (),
    ) -> None:
        """Have all processes go on, or none of them.

        Args:
            error: Why this process cannot.
            layout: What must be the same in all processes.
            device: Where numbers can be reduced.
            kinds: Errors that all processes raise if the first that cannot go on does.

        Raises:
            ValueError: If another process cannot, with its reason, or is elsewhere. The first process that cannot
                raises its own error.
            LostProcessError: If another process has ended.
        """
        mark = 0 if layout is None else int.from_bytes(hashlib.sha256(repr(layout).encode()).digest()[:3], "big")
        numbers = torch.tensor([float(error is not None), float(mark), float(mark) ** 2], dtype=torch.float64)
        with not_lost():
            total = self.sum(numbers.to(self.meeting_device(device)))
        failed, first, second = total.tolist()
        if failed:
            reasons = self.gather("" if error is None else f"{type(error).__name__} {error}")
            rank = next(i for i, reason in enumerate(reasons) if reason)
            if error is not None and rank == self.rank:
                raise error
            name, _, reason = reasons[rank].partition(" ")
            raise next((kind for kind in kinds if kind.__name__ == name), ValueError)(reason or name)
        if first != self.size * mark or second != self.size * mark**2:
            self.gather("")
            raise ValueError(
                "the processes take different steps: their programs have other sites or parameters, or draw another "
                "number of random numbers (a site that draws until all of its rows are accepted, such as VonMises)"
            )

    def gather(self, text: str) -> list[str]:
        """What each process says, by its number; up to a million characters."""
        device = self.meeting_device()
        own = torch.frombuffer(bytearray(text[:_AT_MOST].encode()) or bytearray(1), dtype=torch.uint8).to(device)
        length = torch.tensor([len(text[:_AT_MOST].encode())], device=device)
        lengths = [torch.zeros_like(length) for _ in range(self.size)]
        with not_lost():
            dist.all_gather(lengths, length, group=self.group)
            longest = max(1, *(int(each) for each in lengths))
            padded = torch.zeros(longest, dtype=torch.uint8, device=device)
            padded[: min(longest, len(own))] = own[:longest]
            texts = [torch.zeros_like(padded) for _ in range(self.size)]
            dist.all_gather(texts, padded, group=self.group)
        return [bytes(t[: int(n)].tolist()).decode() for t, n in zip(texts, lengths, strict=True)]

    def from_first(self, value: Any) -> Any:
        """What the first process says, anything that JSON holds."""
        return json.loads(self.gather(json.dumps(value) if self.rank == 0 else "")[0])

    def meeting_device(self, beside: torch.device | None = None) -> torch.device:
        """Where processes can exchange numbers."""
        on_cpu = "gloo" in str(dist.get_backend_config(self.group))
        if on_cpu:
            return torch.device("cpu")
        return (
            beside
            if beside is not None and beside.type == "cuda"
            else torch.device("cuda", torch.cuda.current_device())
        )


def _digest(value: Tensor) -> str:
    """A tensor's type, shape and content as a short text."""
    whole = value.detach().cpu().contiguous()
    content = hashlib.sha256(whole.view(-1).view(torch.uint8).numpy().tobytes() if whole.numel() else b"")
    return f"{whole.dtype} {tuple(whole.shape)} {content.hexdigest()[:16]}"


class Sharded:
    """Runs programs on this process's rows.

    Args:
        parallel: The processes.
        shard: The rows.
        draws: Their random numbers.
    """

    def __init__(self, parallel: DataParallel, shard: Shard, draws: ShardedDraws) -> None:
        self._parallel, self._shard, self._draws = parallel, shard, draws

    def program(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """A program that draws its rows."""

        def sharded(*args: Any, **kwargs: Any) -> Any:
            with self._draws:
                return program(*args, **kwargs)

        return sharded

    def prepare(self, prepare: Callable[..., Any]) -> Callable[..., Any]:
        """What prepares a batch, with rows as the first dimension of all that it draws."""

        def sharded(*args: Any, **kwargs: Any) -> Any:
            with ShardedDraws(self._shard, self._parallel.sum, first=True):
                return prepare(*args, **kwargs)

        return sharded


@contextlib.contextmanager
def not_lost() -> Iterator[None]:
    """Name a failed exchange as what it is: another process has ended.

    Raises:
        LostProcessError: In the place of torch's error.
    """
    try:
        yield
    except Exception as error:
        raise_if_lost(error)
        raise


def raise_if_lost(error: BaseException) -> None:
    """Raise `LostProcessError` if an error says that another process does not answer.

    Raises:
        LostProcessError: If so.
    """
    if isinstance(error, LostProcessError):
        raise error
    if is_communication_error(error):
        line = " ".join(str(error).split()).partition(" This is typically")[0]
        raise LostProcessError(f"another process has ended or does not answer ({line[-160:]})") from error
