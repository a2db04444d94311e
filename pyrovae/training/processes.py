"""The processes that train one model together: what the first one says, what all decide, and who speaks."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from itertools import zip_longest
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pyrovae.engine import DataParallel
from pyrovae.engine.parallel import not_lost, raise_if_lost
from pyrovae.runtime import choose_device

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for another one that lives and does not answer; one that has ended is noticed at once."""
START_TIMEOUT = timedelta(minutes=2)
"""How long a process waits for the others at the start."""


class Processes:
    """One process that trains alone, or one of several with the same program; `joined` makes it.

    Attributes:
        rank: Its number.
        size: How many there are.
    """

    rank, size = 0, 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    @property
    def description(self) -> str | None:
        """How many train, in words; None of one alone."""
        return None

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch of which not every process would have an image.

        Raises:
            ValueError: If it is smaller than the number of processes.
        """
        if batch_size < self.size:
            raise ValueError(
                f"batch_size must be at least the number of processes, {self.size}, which share a batch, got "
                f"{batch_size}: choose a larger --batch_size, or fewer processes"
            )

    def share_of(self, images: int) -> int:
        """How many of so many images each process has."""
        return -(-images // self.size)

    def device(self, name: str) -> torch.device:
        """The device that this process trains on."""
        return choose_device(name)

    def parallel(self, plates: Mapping[str, int], *, means: bool) -> DataParallel | None:
        """How an engine takes steps together with the other processes; None alone."""
        return None

    def from_first(self, value: Any) -> Any:
        """What the first process says, anything that JSON holds."""
        return value

    def state_from_first(self, state: dict[str, Any] | None) -> dict[str, Any]:
        """The state that the first process gives: tensors and plain containers."""
        assert state is not None
        return state

    def decided(self, signal: int | None, steps: int) -> tuple[int | None, int]:
        """Whether any process was told to stop, by its signal; and how many steps the first one wants to take."""
        return signal, steps

    def tensors_from_first(self, tensors: Mapping[str, Tensor]) -> bool:
        """Give all processes the first one's values, in place, if they differ; return whether they did."""
        return False

    def check_random_numbers(self, state: Mapping[str, Tensor]) -> None:
        """Refuse to go on where processes are at different places of the stream of random numbers."""

    @contextmanager
    def together(self, *, in_turn: bool = False) -> Iterator[None]:
        """Inside, all processes succeed or none; what is wrong in one or in all is said once.

        Args:
            in_turn: Whether the others wait for the first, which may leave files that they find.
        """
        yield

    def check_same(self, facts: Mapping[str, str]) -> None:
        """Refuse processes of another opinion than the first.

        Args:
            facts: What must be the same in all, by name.
        """


class Several(Processes):
    """One of several processes.

    Args:
        store: Where processes leave words for each other, as long as one of them or their agent lives.
    """

    def __init__(self, store: dist.Store) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.store = store
        self._all = DataParallel({})

    @property
    def description(self) -> str | None:
        """How many train, and by how many threads each."""
        threads = torch.get_num_threads()
        each = "1 thread each" if threads == 1 else f"{threads} threads each"
        return f"{self.size} processes, {each}"

    def device(self, name: str) -> torch.device:
        """The device of this process: of several GPUs that of its number on this machine.

        Raises:
            ValueError: If it has none.
        """
        gpus = torch.cuda.device_count()
        if name == "cpu" or (name == "auto" and not gpus):
            return torch.device("cpu")
        if name not in ("auto", "cuda"):
            raise ValueError(
                f"each of {self.size} processes takes a device of its own, --device cpu or cuda, got {name}"
            )
        place = int(os.environ.get("LOCAL_RANK", self.rank))
        if place >= gpus:
            raise ValueError(
                f"each process takes a GPU of its own, and there are {gpus} for process {place} of this machine: start "
                f"at most {gpus} processes on it (--nproc_per_node), or choose --device cpu"
            )
        torch.cuda.set_device(place)
        return torch.device("cuda", place)

    def parallel(self, plates: Mapping[str, int], *, means: bool) -> DataParallel | None:
        """How an engine takes steps together with the other processes."""
        return DataParallel(plates, means=means)

    def from_first(self, value: Any) -> Any:
        """What the first process says, anything that JSON holds."""
        return self._all.from_first(value)

    def state_from_first(self, state: dict[str, Any] | None) -> dict[str, Any]:
        """The state that the first process gives; nothing is unpickled but tensors and plain containers."""
        content = io.BytesIO()
        if self.is_first:
            torch.save(state, content)
        device = self._all.meeting_device()
        length = torch.tensor([content.getbuffer().nbytes], device=device)
        with not_lost():
            dist.broadcast(length, 0)
            given = torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8) if self.is_first else None
            sent = torch.zeros(int(length), dtype=torch.uint8) if given is None else given
            sent = sent.to(device)
            dist.broadcast(sent, 0)
        received = torch.load(io.BytesIO(sent.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
        assert isinstance(received, dict)
        return received

    def decided(self, signal: int | None, steps: int) -> tuple[int | None, int]:
        """The largest signal of all processes, and the steps of the first one."""
        said = torch.tensor([signal or 0, steps if self.is_first else 0], device=self._all.meeting_device())
        with not_lost():
            dist.all_reduce(said, dist.ReduceOp.MAX)
        found, wanted = said.tolist()
        return found or None, wanted

    def tensors_from_first(self, tensors: Mapping[str, Tensor]) -> bool:
        """Give all processes the first one's values, in place, if they differ."""
        if not self._all.differing(tensors):
            return False
        device = self._all.meeting_device()
        with torch.no_grad(), not_lost():
            for tensor in tensors.values():
                value = tensor.detach().to(device).contiguous()
                dist.broadcast(value, 0)
                tensor.copy_(value)
        return True

    def check_random_numbers(self, state: Mapping[str, Tensor]) -> None:
        """Refuse to go on where processes are at different places of the stream of random numbers.

        Raises:
            ValueError: If they are.
        """
        self._all.check_alike(state)

    def speaks(self) -> bool:
        """Whether this process is the first that has something to say before the end."""
        try:
            return self.store.add("failed", 1) == 1
        except Exception:  # who kept the words has ended
            return True

    def check_same(self, facts: Mapping[str, str]) -> None:
        """Refuse processes of another opinion than the first.

        Raises:
            ValueError: Naming the first difference; the same in all processes.
        """
        told = [json.loads(text) for text in self._all.gather(json.dumps(dict(facts)))]
        for rank, theirs in enumerate(told):
            for name, ours in told[0].items():
                if theirs[name] != ours:
                    other, mine = _first_difference(theirs[name], ours)
                    raise ValueError(
                        f"process {rank} has {name} {other}, and process 0 has {mine}: start all processes with the "
                        f"same command line, the same versions and the same data"
                    )

    @contextmanager
    def together(self, *, in_turn: bool = False) -> Iterator[None]:
        """Inside, all processes succeed or none; what is wrong in one or in all is said once.

        Raises:
            SystemExit: In processes that have nothing to say.
        """
        failure: BaseException | None = None
        output = io.StringIO()
        with ExitStack() as stack:
            if not self.is_first:
                stack.enter_context(redirect_stdout(output))
                stack.enter_context(redirect_stderr(output))
                if in_turn:
                    self._all.gather("")
            try:
                yield
            except (Exception, SystemExit) as error:
                raise_if_lost(error)
                failure = error
            if in_turn and self.is_first:
                self._all.gather("")
        status = failure.code if isinstance(failure, SystemExit) else 2
        told = self._all.gather("" if failure is None else f"{status}")
        leader = next((rank for rank, word in enumerate(told) if word), None)
        if leader is None:
            return
        if failure is None or leader != self.rank:
            raise SystemExit(int(told[leader]) if told[leader].isdigit() else 2)
        if self.is_first:
            raise failure
        words = " ".join(output.getvalue().split()) if isinstance(failure, SystemExit) else str(failure)
        if isinstance(failure, SystemExit | ValueError | OSError):
            raise ValueError(
                f"process {self.rank} of {self.size} on {socket.gethostname()}: {words} (process 0 has no such error: "
                f"does this machine see the same files?)"
            )
        raise failure


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun has started with this one, or this one alone.

    At the end they part. An error that several of them meet is raised in one of them alone.

    Raises:
        ValueError: If they cannot find each other.
        LostProcessError: If one has ended before its time.
        SystemExit: In a process whose error another one says.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield ALONE
        return
    if not dist.is_available():
        raise ValueError("several processes need a torch with torch.distributed, and this one was built without")
    processes = Several(_met())
    try:
        yield processes
    except Exception as error:
        with suppress(Exception):
            raise_if_lost(error)
        if not processes.speaks():
            raise SystemExit(2) from None
        raise
    finally:
        with suppress(Exception):
            dist.destroy_process_group()


def _met() -> dist.Store:
    """Meet the other processes.

    Raises:
        ValueError: If that fails, with the reason.
    """
    variables = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and {' and '.join(missing)} not set: start with torchrun, or "
            f"set {', '.join(variables)}"
        )
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=START_TIMEOUT))
        store.set_timeout(START_TIMEOUT)
        # torchrun may keep the store over a restart, with the addresses of processes that have ended.
        store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=dist.PrefixStore("processes", store),
            rank=rank,
            world_size=size,
            timeout=TIMEOUT,
        )
    except (dist.DistError, RuntimeError, ValueError, OSError) as error:
        line = " ".join(str(error).split())
        if "EADDRINUSE" in line or "address already in use" in line:
            raise ValueError(
                f"the port of {place} is in use: set MASTER_PORT (torchrun --master_port) to a free one"
            ) from error
        raise ValueError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} could not meet the others at {place} "
            f"({line[:160]}): start all of them with the same MASTER_ADDR and MASTER_PORT"
        ) from error
    return dist.PrefixStore("words", store)


def _first_difference(theirs: str, ours: str) -> tuple[str, str]:
    """The first line in which two texts differ, of each."""
    lines = zip_longest(theirs.splitlines(), ours.splitlines(), fillvalue="nothing more")
    return next(((a.strip(), b.strip()) for a, b in lines if a != b), (theirs, ours))


def launch() -> str | None:
    """What the restarts of a torchrun have in common; None where nobody restarts this process."""
    run = os.environ.get("TORCHELASTIC_RUN_ID")
    if run is None:
        return None
    return run if run != "none" else f"{socket.gethostname()} {os.getppid()}"


def is_restart() -> bool:
    """Whether torchrun has started these processes anew after one of them had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def say(processes: Processes, text: object) -> None:
    """Print a line, once for all processes."""
    if processes.is_first:
        print(text, flush=True, file=sys.stdout)
