"""The executors of the command line: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pyrovae.child_processes import end_children
from pyrovae.memory import check_memory

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
PROCESS_BYTES = 400 * 2**20
"""Memory that a process takes at least; torch alone takes most of it."""
PATIENCE = 10.0
"""Seconds to wait for a scheduler's first answer."""
ExecutorSource = Executor | Callable[[], Executor]
"""An executor, or a function that makes one, which is called again if it breaks."""
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://[^\s/:]+:\d{1,5}|(tcp|tls|ucx|ws|wss)://\[[0-9a-fA-F:]+\]:\d{1,5}")


@contextmanager
def local_processes(workers: int) -> Iterator[Executor]:
    """An executor that does so many tasks at a time, each in a process of its own; see `pyrovae.child_processes`.

    Its threads only wait for the processes. What still runs at its end is killed.

    Raises:
        NotEnoughMemory: If so many processes do not fit into the memory that is left.
    """
    check_memory({f"{workers:,} processes": workers * PROCESS_BYTES}, "choose fewer --workers")
    executor = ThreadPoolExecutor(workers, thread_name_prefix="pyrovae")
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        end_children()
        executor.shutdown()


@contextmanager
def chosen_executor(workers: int | None, cluster: str | None, most: int | None = None) -> Iterator[Executor | None]:
    """The executor of the options --workers and --cluster; None where neither is given.

    Args:
        workers: Processes of this machine.
        cluster: Address of a Dask scheduler.
        most: Pieces of work; more processes than these are not started.

    Raises:
        ValueError: If both are given, or the cluster cannot be had.
    """
    if workers is not None and cluster is not None:
        raise ValueError("--workers is for processes of this machine, and --cluster for those of others: give one")
    if cluster is not None:
        with dask_cluster(cluster) as client:
            yield ClusterExecutor(client)
    elif workers is not None:
        with local_processes(min(workers, most or workers)) as executor:
            yield executor
    else:
        yield None


class ClusterExecutor(Executor):
    """The workers of a Dask cluster, which may come and go.

    Args:
        client: A client of it.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._inner, self._width = client, client.get_executor(pure=False), 1

    @property
    def width(self) -> int:
        """How many tasks it does at a time: the threads of its workers, and at least 1."""
        with suppress(OSError, TimeoutError):  # a scheduler that is gone shows at the tasks
            self._width = max(1, sum(self._client.nthreads().values()))
        return self._width

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a worker call a function.

        Raises:
            BrokenExecutor: If the scheduler is gone.
        """
        try:
            return self._inner.submit(function, *args, **kwargs)
        except Exception as error:
            if self._client.status == "running":
                raise
            raise BrokenExecutor("the scheduler of the Dask cluster is gone") from error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work."""
        self._inner.shutdown(wait=wait)


@contextmanager
def training_executor(workers: int | None, cluster: str | None) -> Iterator[Executor | None]:
    """The executor of trainings: the cluster's, or None for processes of this machine, whose number may be open."""
    with chosen_executor(None if cluster is None else workers, cluster) as executor:
        yield executor


@contextmanager
def dask_cluster(address: str) -> Iterator[Client]:
    """A client of a Dask cluster.

    Args:
        address: Of its scheduler, such as tcp://10.0.0.1:8786.

    Raises:
        ValueError: If the address is none, Dask is not installed or nobody answers there.
    """
    if not _ADDRESS.fullmatch(address):
        raise ValueError(
            f"cluster must be the address of a Dask scheduler, such as tcp://10.0.0.1:8786, got {address!r}"
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("a cluster needs Dask: pip install 'pyrovae[cluster]'") from error
    for name in ("distributed.client", "distributed.core", "distributed.comm.tcp", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is wrong is said in our words
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # of many kinds: of the network, of TLS, of the protocol
        raise ValueError(
            f"no Dask scheduler answers at {address} within {PATIENCE:.0f} seconds{_reason(error)}: start one by "
            f"'dask scheduler', which prints its address"
        ) from error
    try:
        if not client.nthreads():
            print(f"no worker is there yet: 'dask worker {address} --nthreads 1' starts one", flush=True)
        yield client
    finally:
        client.close(timeout=PATIENCE)


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    words = " ".join(str(error).split())[:120]
    return f" ({words})" if words else ""
