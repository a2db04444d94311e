"""One process's rows of a batch: what its programs draw, count and weigh so that all processes together equal one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae.engine.compat import Message, Messenger, TorchDispatchMode, is_subsample, takes

Sum = Callable[[Tensor], Tensor]
"""The sum of a tensor over all processes, which an operator of a graph computes."""

aten = torch.ops.aten


@dataclass(frozen=True)
class Part:
    """Rows of one part of a batch.

    Attributes:
        total: Rows of the part in the whole batch.
        count: Rows of it in each process.
        rows: Which ones are this process's, (count,) int64; the last row of all again where there are no more.
        real: Which of these are rows of the batch, (count,) boolean; None if all are.
    """

    total: int
    count: int
    rows: Tensor
    real: Tensor | None

    @classmethod
    def of(cls, total: int, rank: int, size: int, device: torch.device) -> Part:
        """The rows of a process: as many as each other's, side by side."""
        count = -(-total // size)
        places = torch.arange(rank * count, (rank + 1) * count, device=device)
        real = None if total % size == 0 else places < total
        return cls(total, count, places.clamp(max=total - 1), real)


class Shard:
    """This process's rows of a batch, in one part or in several that lie one behind the other.

    Args:
        sizes: Rows of each part of the whole batch.
        rank: Number of this process.
        size: Number of processes.
        device: Where the rows are looked up.
    """

    def __init__(self, sizes: Sequence[int], rank: int, size: int, device: torch.device) -> None:
        self.size = size
        self.parts = [Part.of(total, rank, size, device) for total in sizes]
        self.total, self.count = sum(sizes), sum(part.count for part in self.parts)
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        rows = torch.cat([part.rows + start for part, start in zip(self.parts, starts, strict=True)])
        self.whole = Part(self.total, self.count, rows, None)


class _State(threading.local):
    """The shard at work in this thread."""

    shard: Shard | None = None
    sum: Sum | None = None


_STATE = _State()


def whole_batch(count: int) -> int:
    """Rows of the whole batch of which a program was given `count`; the same number where one process trains.

    Example:
        >>> whole_batch(128)
        128
    """
    shard = _STATE.shard
    return count if shard is None else shard.total


def mean_of_batch(values: Tensor) -> Tensor:
    """The mean over all dimensions but the last, over all processes; gradients go to own rows alone.

    Args:
        values: (..., rows, dims), zero in rows that only fill a process up.

    Example:
        >>> mean_of_batch(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([2., 3.])
    """
    shard, summed = _STATE.shard, _STATE.sum
    own = values.flatten(0, -2)
    if shard is None or summed is None:
        return own.mean(0)
    own = own.sum(0) / (len(own) // shard.count * shard.total)
    return own + (summed(own.detach()) - own.detach())


def counted_once(value: Tensor) -> Tensor:
    """A term that every process has computed alike, so that the sum over processes has it once; gradients stay whole.

    That is right where each process's gradient is of its own rows, as that of `mean_of_batch`.
    """
    shard = _STATE.shard
    return value if shard is None else value + (value / shard.size - value).detach()


@contextlib.contextmanager
def working_on(shard: Shard, summed: Sum) -> Iterator[None]:
    """Inside, programs work on this process's rows."""
    before = _STATE.shard, _STATE.sum
    _STATE.shard, _STATE.sum = shard, summed
    try:
        yield
    finally:
        _STATE.shard, _STATE.sum = before


class ShardedSites(Messenger):
    """Weighs sites and has them draw, outermost of all handlers.

    A site in the plate of the data has this process's rows: those that only fill up are masked, and draws are rows of
    the draw for the whole batch. A site outside of it is alike in all processes, and has its share of the weight, so
    that the sum over processes counts it once.

    Args:
        shard: The rows.
        plates: The part of the batch that each plate of the data holds, by name.
        means: Whether the programs divide by their number of rows.
        draws: Makes the draws.
    """

    def __init__(self, shard: Shard, plates: Mapping[str, int], means: bool, draws: ShardedDraws) -> None:
        super().__init__()
        self._shard, self._plates, self._means, self._draws = shard, plates, means, draws
        self.met, self.others = False, dict[str, None]()

    def _pyro_sample(self, msg: Message) -> None:
        fn = msg["fn"]
        if is_subsample(fn):
            if msg["name"] in self._plates and fn.subsample_size is not None and fn.subsample_size < fn.size:
                raise ValueError(
                    f"the plate {msg['name']!r} draws {fn.subsample_size} of {fn.size} indices itself, and with "
                    f"several processes a step's arguments are the batch: draw the indices before the step, pass the "
                    f"rows, and scale by poutine.scale"
                )
            return
        frame = self._frame(msg)
        part = None if frame is None else self._shard.parts[self._plates[frame.name]]
        if part is None:
            msg["scale"] = msg["scale"] / self._shard.size
        elif self._means:
            msg["scale"] = msg["scale"] * (part.count / part.total)
        if part is not None and part.real is not None:
            shape = (part.count, *[1] * (-1 - frame.dim))
            mask = part.real.reshape(shape)
            msg["mask"] = mask if msg["mask"] is None or msg["mask"] is True else mask & msg["mask"]
        if not (msg["done"] or msg["is_observed"] or msg["value"] is not None):
            place = None if part is None else Place(part, frame.dim, tuple(fn.batch_shape))
            with self._draws.at(str(msg["name"]), place):
                msg["value"] = fn(*msg["args"], **msg["kwargs"])

    def _pyro_param(self, msg: Message) -> None:
        frame = next((f for f in msg["cond_indep_stack"] if f.name in self._plates), None)
        if frame is not None and msg["kwargs"].get("event_dim") is not None:
            raise ValueError(
                f"the parameter {msg['name']!r} has a value for each row of the plate {frame.name!r}, and each process "
                f"has other rows: use a network from rows to such values, or one process"
            )

    def _frame(self, msg: Message) -> Any:
        """The frame of the plate of the data around a site, or None."""
        self.others |= dict.fromkeys(str(f.name) for f in msg["cond_indep_stack"] if f.name not in self._plates)
        frame = next((f for f in msg["cond_indep_stack"] if f.name in self._plates), None)
        if frame is None:
            return None
        self.met = True
        if "baseline" in msg["infer"]:
            raise ValueError(
                f"the site {msg['name']!r} keeps a baseline, which each process would learn from its own rows: leave "
                f"it out, or use one process"
            )
        if frame.dim is None:
            raise ValueError(
                f"the plate {frame.name!r} of the data is a loop, and with several processes it must be a context: "
                f"`with pyro.plate({frame.name!r}, ...):`"
            )
        part = self._shard.parts[self._plates[frame.name]]
        if frame.size != part.count:
            raise ValueError(
                f"the plate {frame.name!r} has {frame.size} rows, and this process's part of the batch has "
                f"{part.count}: make the plate as long as the arguments, such as pyro.plate({frame.name!r}, len(x))"
            )
        return frame


@dataclass(frozen=True)
class Place:
    """Where the rows are in a site's draws.

    Attributes:
        part: The rows.
        dim: Dimension of the plate, from the right of the batch shape.
        batch: The batch shape.
    """

    part: Part
    dim: int
    batch: tuple[int, ...]

    def among(self, shape: Sequence[int]) -> int | None:
        """The dimension of the rows in a draw whose shape begins with the batch shape; None in another."""
        return len(self.batch) + self.dim if tuple(shape[: len(self.batch)]) == self.batch else None


class ShardedDraws(TorchDispatchMode):
    """Has each process draw its rows of the numbers that one process would draw for the whole batch.

    Every process draws for the whole batch from the same state of the generator, and takes its rows: one stream of
    random numbers, whatever the number of processes, so that states stay equal and a run may go on with another number.
    Where the number of draws depends on a distribution's parameters (gamma, Dirichlet, Poisson, ...), these are
    gathered before.

    Args:
        shard: The rows.
        summed: Gathers.
        first: Whether rows are the first dimension, as in what prepares a batch.
    """

    def __init__(self, shard: Shard, summed: Sum, *, first: bool = False) -> None:
        super().__init__()
        self._shard, self._sum, self._first = shard, summed, first
        self._site: tuple[str, Place | None] | None = None

    @contextlib.contextmanager
    def at(self, name: str, place: Place | None) -> Iterator[None]:
        """Inside, what is drawn is a site's; one without a place is outside of the data's plate and drawn alike."""
        before, self._site = self._site, (name, place)
        try:
            yield
        finally:
            self._site = before

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or _draws_nothing(func, args, kwargs):
            return func(*args, **kwargs)
        if self._site is not None and self._site[1] is None:
            return func(*args, **kwargs)
        return self._rows(func, args, kwargs)

    def _rows(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        shape = _shape(func, args)
        found = self._where(shape)
        if found is None:
            return func(*args, **kwargs)
        dim, part = found
        if part.total == part.count:  # of a whole batch that each process has
            return func(*args, **kwargs)
        full = [*shape[:dim], part.total, *shape[dim + 1 :]]

        def rows(whole: Tensor) -> Tensor:
            return whole.index_select(dim, part.rows)

        if func in _BY_SHAPE:
            return rows(func(*_with_shape(func, args, full), **kwargs))
        if func in _LIKE:
            return rows(func(args[0].new_empty(full), *args[1:], **kwargs))
        if func in _IN_PLACE:
            return args[0].copy_(rows(func(args[0].new_empty(full), *args[1:], **kwargs)))
        if func in _NORMAL:
            mean, scale = args[:2]
            like = mean if isinstance(mean, Tensor) else scale
            return rows(aten.normal_.default(like.new_empty(full), **kwargs)) * scale + mean
        if func is aten.native_dropout.default:
            kept, mask = func(args[0].new_ones(full), *args[1:])
            return args[0] * rows(kept), rows(mask)
        if func in _BY_PARAMETERS:
            whole = [self._gathered(a, dim, len(shape), part) if isinstance(a, Tensor) else a for a in args]
            return rows(func(*whole, **kwargs))
        if func is aten.bernoulli_.Tensor:
            probability = self._gathered(args[1].expand(shape), dim, len(shape), part)
            return args[0].copy_(rows(func(args[0].new_empty(full), probability, **kwargs)))
        raise ValueError(f"{self._who()} draws by {func}, of which several processes cannot each have their rows")

    def _gathered(self, tensor: Tensor, dim: int, dims: int, part: Part) -> Tensor:
        """A parameter of all rows, of which every process has its own."""
        if tensor.dim() != dims or tensor.shape[dim] != part.count:
            return tensor
        return gathered(tensor, dim, part, self._sum)

    def _where(self, shape: Sequence[int]) -> tuple[int, Part] | None:
        """The dimension of the rows in what is drawn, and the part that they are of; None if it has none.

        Raises:
            ValueError: If that cannot be told.
        """
        if self._first:
            return (0, self._shard.whole) if shape and shape[0] == self._shard.count else None
        place = None if self._site is None else self._site[1]
        if place is not None and (dim := place.among(shape)) is not None:
            return dim, place.part
        parts = self._possible() if place is None else [place.part]
        found = [(i, part) for part in parts for i, size in enumerate(shape) if size == part.count]
        if len(found) > 1 or (place is not None and not found):
            raise ValueError(
                f"{self._who()} draws numbers of shape {tuple(shape)}, of which several processes cannot tell the rows "
                f"of the batch: choose another batch size, or draw in the shape of the rows"
            )
        return found[0] if found else None

    def _possible(self) -> list[Part]:
        """The parts of the batch, and the whole of it if that is not one of them."""
        several = len(self._shard.parts) > 1
        return [*self._shard.parts, self._shard.whole] if several else self._shard.parts

    def _who(self) -> str:
        if self._site is not None:
            return f"the site {self._site[0]!r}"
        return "what prepares a batch" if self._first else "a network"


def gathered(tensor: Tensor, dim: int, part: Part, summed: Sum) -> Tensor:
    """Own rows put among those of all processes.

    Args:
        tensor: This process's rows, `part.count` of them.
        dim: Their dimension.
        part: Which ones they are.
        summed: Sums over processes.
    """
    shape = [*tensor.shape[:dim], part.total, *tensor.shape[dim + 1 :]]
    own = tensor.detach()
    if part.real is not None:
        own = torch.where(part.real.reshape([-1] + [1] * (own.dim() - dim - 1)), own, 0)
    return summed(own.new_zeros(shape).index_add(dim, part.rows, own))


_BY_SHAPE = {
    aten.rand.default: 0,
    aten.randn.default: 0,
    aten.randint.default: 1,
    aten.randint.low: 2,
    aten.rand.generator: 0,
    aten.randn.generator: 0,
    aten.normal.float_float: 2,
}
"""Operators with the shape as an argument, and its place."""
_LIKE = {
    aten.rand_like.default,
    aten.randn_like.default,
    aten.randint_like.default,
    aten.randint_like.low_dtype,
    aten.bernoulli.p,
}
_IN_PLACE = {
    aten.normal_.default,
    aten.uniform_.default,
    aten.exponential_.default,
    aten.geometric_.default,
    aten.cauchy_.default,
    aten.log_normal_.default,
    aten.random_.default,
    aten.random_.to,
    getattr(aten.random_, "from"),
    aten.bernoulli_.float,
}
_NORMAL = {aten.normal.Tensor_Tensor, aten.normal.Tensor_float, aten.normal.float_Tensor}
_BY_PARAMETERS = {
    aten.bernoulli.default,
    aten._standard_gamma.default,
    aten._sample_dirichlet.default,
    aten.poisson.default,
    aten.binomial.default,
    aten.multinomial.default,
}


def _shape(func: Any, args: tuple) -> list[int]:
    """The shape of what is drawn, or of what it is drawn by."""
    if func in _BY_SHAPE:
        return list(args[_BY_SHAPE[func]])
    if takes(func, "size") or not args:
        return list(next((a for a in args if isinstance(a, (list, tuple))), ()))
    shapes = [a.shape for a in args if isinstance(a, Tensor)]
    return list(torch.broadcast_shapes(*shapes)) if func in _NORMAL else list(shapes[0] if shapes else ())


def _with_shape(func: Any, args: tuple, shape: list[int]) -> list[Any]:
    place = _BY_SHAPE[func]
    return [*args[:place], shape, *args[place + 1 :]]


def _draws_nothing(func: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether an operator that may draw does not, such as attention without dropout."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.name == "dropout_p":
            given = args[place] if place < len(args) else kwargs.get("dropout_p", argument.default_value)
            return not given
    return False
