"""Several processes of a test that meet on the loopback interface, and run one function together.

They are forked from a server that has imported the package once, which takes seconds.
"""

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pyrovae.training.trainer", "pyrovae.engine"])
LIMIT = 600
"""Seconds after which a process of a test is ended."""


def together(size: int, function: Callable[..., Any], *args: Any, meet: bool = True) -> list[Any]:
    """What `function(rank, size, *args)` returns in each of so many processes; words where one ended without.

    Args:
        size: How many.
        function: Of a module that they can import.
        args: More of its arguments.
        meet: Whether they have a process group before it is called.
    """
    with tempfile.TemporaryDirectory() as folder:
        ends = [CONTEXT.Pipe(duplex=False) for _ in range(size)]
        processes = [
            CONTEXT.Process(target=_child, args=(rank, size, folder if meet else None, ends[rank][1], function, args))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        for _, sender in ends:
            sender.close()
        found = [_received(receiver, process) for (receiver, _), process in zip(ends, processes, strict=True)]
        for process in processes:
            process.join(10)
            process.kill()
        return found


def _received(receiver: Any, process: Any) -> Any:
    try:
        return receiver.recv() if receiver.poll(LIMIT) else "did not end"
    except EOFError:
        process.join(10)
        return f"ended with {process.exitcode}"


def _child(rank: int, size: int, folder: str | None, sender: Any, function: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    if folder is not None:
        store = dist.FileStore(str(Path(folder) / "store"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    try:
        sender.send(function(rank, size, *args))
    except Exception:
        sender.send(traceback.format_exc())
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
