"""Images a second of two processes with a thread each beside one process with two, and beside DistributedDataParallel.

    python benchmarks/processes.py                      # global batches of 128, 512 and 2048
    python benchmarks/processes.py --rounds 3 --steps 20

The three contenders train the same network on the same global batches, and take turns, round after round, so that a
busy machine slows all of them; a ratio is the median over rounds. The share of the reduction is that of its operators
in a profile of the first process, which has its waits for the other one in it. `model` is no measurement: it is the
time of a step of N processes by the times measured here, see `growth`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # before torch reads it

import torch
import torch.distributed as dist
from surroundings import surroundings
from svi_contenders import Problem, Steps, network_and_batches
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from pyrovae.engine import SVI, DataParallel

OURS, ALONE, DDP = "2 processes × 1 thread", "1 process × 2 threads", "DistributedDataParallel × 1 thread"
RESULTS = Path(__file__).parent / "results" / "processes.json"


def compiled(problem: Problem, parallel: DataParallel | None) -> Steps:
    """This package's compiled engine."""
    network, images, orders = network_and_batches(problem)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    svi = SVI(
        network.model, network.guide, optimizer, engine="compiled", prepare=lambda i: images[i], parallel=parallel
    )

    def steps(count: int) -> None:
        svi.run([(index,) for index in itertools.islice(orders, count)])

    steps(3)
    assert svi.engine == "compiled", svi.description
    return steps


class _HandWritten(torch.nn.Module):
    """The hand-written loss as a module, whose hooks DistributedDataParallel needs."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.hand_written_loss(x)


def data_parallel(problem: Problem) -> Steps:
    """DistributedDataParallel around hand-written PyTorch, each process with its half of every batch."""
    network, images, orders = network_and_batches(problem)
    module = DistributedDataParallel(_HandWritten(network))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    rank, size = dist.get_rank(), dist.get_world_size()

    def steps(count: int) -> None:
        for index in itertools.islice(orders, count):
            optimizer.zero_grad()
            (module(images[index.chunk(size)[rank]]) * size).backward()  # it takes the mean of gradients
            optimizer.step()

    steps(3)
    return steps


def reduction(count: int) -> Steps:
    """The reduction alone, of so many numbers."""
    numbers = torch.zeros(count)

    def steps(times: int) -> None:
        for _ in range(times):
            dist.all_reduce(numbers)

    return steps


def share_of_reduction(run: Steps, steps: int) -> float:
    """The share of the time of a step that its reduction takes, in a profile."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        began = time.perf_counter()
        run(steps)
        whole = time.perf_counter() - began
    names = ("all_reduce", "wait_tensor", "allreduce")
    own = sum(e.self_cpu_time_total for e in recorded.key_averages() if any(name in e.key for name in names))
    return own / 1e6 / whole


def worker(rank: int, size: int, folder: str, pipe: Any, problem: Problem) -> None:
    """One of the processes: builds the contenders, and runs them when it is told."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(Path(folder) / "store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    weights = sum(p.numel() for p in network_and_batches(replace(problem, size=1000))[0].parameters())
    ready: dict[str, Steps] = {
        OURS: compiled(problem, DataParallel("images")),
        DDP: data_parallel(problem),
        "reduction": reduction(weights),
        "latency": reduction(1),
    }
    pipe.send(weights)
    while (told := pipe.recv()) is not None:
        name, steps = told
        dist.barrier()
        began, used = time.perf_counter(), time.process_time()
        if name == "profile":
            pipe.send((share_of_reduction(ready[OURS], steps), 0.0))
        else:
            ready[name](steps)
            pipe.send(((time.perf_counter() - began) / steps, (time.process_time() - used) / steps))
    dist.destroy_process_group()


def measure(problem: Problem, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds a step of each contender, round by round, by the clock and of all processors; share of the reduction."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ends = [context.Pipe() for _ in range(2)]
        processes = [context.Process(target=worker, args=(r, 2, folder, ends[r][1], problem)) for r in range(2)]
        for process in processes:
            process.start()
        weights, _ = [end.recv() for end, _ in ends]
        torch.set_num_threads(2)
        alone = compiled(problem, None)

        def told(name: str) -> tuple[float, float]:
            if name == ALONE:
                began, before = time.perf_counter(), time.process_time()
                alone(steps)
                return (time.perf_counter() - began) / steps, (time.process_time() - before) / steps
            for end, _ in ends:
                end.send((name, steps))
            walls, used = zip(*(end.recv() for end, _ in ends), strict=True)
            return max(walls), sum(used)

        names = (OURS, ALONE, DDP, "reduction", "latency")
        times: dict[str, list[float]] = {name: [] for name in names}
        processor: dict[str, list[float]] = {name: [] for name in names}
        for turn, name in itertools.product(range(rounds + 1), names):
            wall, used = told(name)
            if turn:  # the first round warms up
                times[name].append(wall)
                processor[name].append(used)
        share, _ = told("profile")
        for end, _ in ends:
            end.send(None)
        for process in processes:
            process.join(30)
    return {"weights": weights, "times": times, "processor": processor, "share": share}


def ratio(times: dict[str, list[float]], name: str) -> tuple[float, float, float]:
    """Median, least and largest ratio of a contender's time to ours, over rounds."""
    found = [other / ours for other, ours in zip(times[name], times[OURS], strict=True)]
    return statistics.median(found), min(found), max(found)


def growth(alone: float, reduced: float, latency: float) -> dict[str, float]:
    """Speed of N processes relative to one, by a model and not by measurement.

    A step takes alone / N for its work, and for the reduction in a ring 2 (N - 1) messages of latency and 2 (N - 1) / N
    of the bytes at the rate that two processes had here. Two processes are the measured point of both. What every
    process does for the whole batch, the draws of random numbers, is left out.

    Args:
        alone: Seconds of a step of one process with one thread.
        reduced: Seconds of a reduction between two processes.
        latency: The same of a single number.
    """
    of_bytes = max(reduced - latency, 0.0)  # two processes: 2 (N - 1) / N = 1
    return {str(n): alone / (alone / n + latency * (n - 1) + of_bytes * 2 * (n - 1) / n) for n in (2, 4, 8, 16, 32, 64)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows = []
    for batch in options.batches:
        found = measure(Problem(batch=batch), options.steps, options.rounds)
        times = found["times"]
        middle: Callable[[str], float] = lambda name: statistics.median(times[name])  # noqa: E731, B023
        reduced, latency = middle("reduction"), middle("latency")
        one_thread = max(2 * (middle(OURS) - reduced), 1e-9)
        row = {
            "global_batch": batch,
            "weights": found["weights"],
            "images_per_second": {name: round(batch / middle(name)) for name in (OURS, ALONE, DDP)},
            "times_slower_than_ours": {name: [round(x, 3) for x in ratio(times, name)] for name in (ALONE, DDP)},
            "milliseconds": {name: round(1e3 * middle(name), 4) for name in times},
            "milliseconds_of_processors": {
                name: round(1e3 * statistics.median(used), 4) for name, used in found["processor"].items()
            },
            "share_of_reduction_in_profile": round(found["share"], 3),
            "model_of_speed_up": {n: round(s, 2) for n, s in growth(one_thread, reduced, latency).items()},
        }
        rows.append(row)
        print(json.dumps(row, indent=1, ensure_ascii=False), flush=True)
    busy = math.fsum(os.getloadavg()) / 3
    about = {"rounds": options.rounds, "steps": options.steps, "load_average": round(busy, 1), "cores": os.cpu_count()}
    RESULTS.write_text(json.dumps({**surroundings(), **about, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
