"""Work on images block by block, here or by an executor. The results are the same to the bit.

Each block has random numbers of its own, drawn from the seed and the number of its first image; a block is the same
whoever computes it, with the same number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch

from pyrovae.child_processes import KilledError, Outcome, Task, carry
from pyrovae.data import Split, batches_of_any

Block = TypeVar("Block")
Result = TypeVar("Result")
Progress = Callable[[int], object]
Worker = Callable[[Sequence[Block], Progress], list[Result]]
"""A function of some blocks, which tells of its progress; picklable if there is an executor."""

GROUPS = 16
"""Groups of blocks that an executor gets. In each the functions are traced once; more of them spread more evenly."""
DEATHS = 2
"""A group whose process has died so often is not given to another."""


def in_blocks(
    worker: Worker[Block, Result], blocks: Sequence[Block], executor: Executor | None, progress: Progress
) -> list[Result]:
    """The results of all blocks, in their order.

    Args:
        worker: Computes some blocks.
        blocks: What it takes; picklable if there is an executor.
        executor: Who shares the blocks out; None to compute them here.
        progress: Called with the work done since the last call.

    Raises:
        ValueError: If the executor takes no work, or a process died.
    """
    if executor is None or len(blocks) == 1:
        return worker(blocks, progress)
    count = min(GROUPS, len(blocks))
    bounds = [len(blocks) * i // count for i in range(count + 1)]
    parts = [blocks[first:last] for first, last in pairwise(bounds)]
    tasks = [Task.of(partial(_told, worker, part), threads=torch.get_num_threads()) for part in parts]
    return _Groups(executor, tasks).results(progress)


def check_labels(split: Split) -> None:
    """Refuse a split of which some labels are hidden and others are not, before it is cut into blocks.

    Raises:
        ValueError: If it is one.
    """
    next(iter(batches_of_any(split, 1, torch.device("cpu"))), None)


def split_blocks(split: Split, size: int, executor: Executor | None) -> list[tuple[int, Split]]:
    """A split in blocks of so many images, each with the number of its first one.

    A block that is sent has images of its own: with a view of others all of them would be sent.
    """
    starts = range(0, len(split), size)
    blocks = [split.take(range(first, min(first + size, len(split)))) for first in starts]
    if executor is not None:
        blocks = [
            replace(block, images=block.images.clone(), labels=block.labels.clone(), attributes=None)
            for block in blocks
        ]
    return list(zip(starts, blocks, strict=True))


def block_seed(seed: int, first: int, part: int = 0) -> int:
    """The seed of a block, by the number of its first image; `part` is for different random numbers in it."""
    return int(np.random.SeedSequence([seed, first, part]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _told(worker: Worker[Block, Result], blocks: Sequence[Block]) -> tuple[list[Result], int]:
    """The results of some blocks in another process, and the work done."""
    done: list[int] = []
    return worker(blocks, done.append), sum(done)


class _Groups:
    """Groups of blocks that an executor computes; one whose process dies is given to another."""

    def __init__(self, executor: Executor, tasks: Sequence[Task]) -> None:
        self._executor, self._tasks = executor, tasks
        self._futures: dict[Future[Outcome], int] = {}
        self._deaths = [0] * len(tasks)

    def results(self, progress: Progress) -> list[Any]:
        """The results of all blocks."""
        found: dict[int, list[Any]] = {}
        try:
            for number in range(len(self._tasks)):
                self._submit(number)
            while self._futures:
                for future in wait(self._futures, return_when=FIRST_COMPLETED).done:
                    number = self._futures.pop(future)
                    outcome = _outcome(future)
                    if isinstance(outcome.error, KilledError) and self._deaths[number] < DEATHS:
                        self._deaths[number] += 1
                        self._submit(number)
                    elif outcome.error is not None:
                        raise outcome.error
                    else:
                        found[number], done = outcome.value
                        progress(done)
        finally:
            for future in self._futures:
                future.cancel()
        return [result for number in sorted(found) for result in found[number]]

    def _submit(self, number: int) -> None:
        try:
            self._futures[self._executor.submit(carry, self._tasks[number])] = number
        except Exception as error:  # of any kind, by the executor
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(f"the executor takes no more work ({reason}): give one that works") from error


def _outcome(future: Future[Outcome]) -> Outcome:
    """What became of a group.

    Raises:
        ValueError: If the executor could not have it done.
    """
    try:
        return future.result()
    except Exception as error:  # of any kind, by the executor
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"the executor could not do its part of the images ({reason}): try again") from error
