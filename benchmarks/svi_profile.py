"""Where the time of a compiled step goes: matrix products, update, sampling, gather, the rest, and between kernels.

    python benchmarks/svi_profile.py                    # 784-256-2, batch 128
    python benchmarks/svi_profile.py --small-batch      # 784-200-200-50, batch 20
    python benchmarks/svi_profile.py --one-thread

Kernels are timed by torch's profiler, and shares are of the time that the profiled steps took. The profiler's own cost,
a microsecond or two for each of some thirty kernels, counts as between them.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ["TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE"] = "1"  # before torch reads them
os.environ.setdefault("KINETO_LOG_LEVEL", "5")

import torch
from svi_contenders import Problem, Steps, engine
from svi_speed import SMALL_BATCH, use_one_thread
from torch.profiler import ProfilerActivity, profile

# The first group with a word in the kernel's name, which Inductor makes of the operations that it fused.
GROUPS = {
    "matrix products": ("pyrovae_product", "mm_out", "aten::mm", "aten::addmm"),
    "update of the weights": ("lerp", "addcdiv", "addcmul"),
    "sampling": ("aten::normal", "aten::randn", "aten::bernoulli", "aten::rand"),
    "gather of the batch": ("fused_index",),
    "likelihood, activations, sums": ("cpp_fused", "graph_"),
}


def kernels(run: Steps, steps: int) -> tuple[float, dict[str, tuple[float, float]]]:
    """Milliseconds a step; and the same and calls a step by kernel, without what a kernel calls in its turn."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        start = time.perf_counter()
        run(steps)
        whole = (time.perf_counter() - start) / steps * 1e3
    events = recorded.key_averages()
    return whole, {event.key: (event.self_cpu_time_total / steps / 1e3, event.count / steps) for event in events}


def group_of(kernel: str) -> str | None:
    """The group of a kernel, or None for bookkeeping."""
    return next((group for group, words in GROUPS.items() if any(word in kernel for word in words)), None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small-batch", action="store_true")
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    if options.one_thread:
        use_one_thread()
    problem = SMALL_BATCH if options.small_batch else Problem()
    run = engine("compiled")(problem)
    run(20)
    whole, found = kernels(run, options.steps)
    shares = dict.fromkeys(GROUPS, 0.0)
    for kernel, (milliseconds, _) in found.items():
        if group := group_of(kernel):
            shares[group] += milliseconds
    shares["between kernels: calls, allocation, Python"] = whole - sum(shares.values())
    print(f"{problem}\n{torch.get_num_threads()} threads, {whole:.3f} ms/step under the profiler")
    for group, milliseconds in shares.items():
        print(f"{group:44} {milliseconds:7.3f} ms {milliseconds / whole:6.1%}")
    print(f"\n{'kernels that take longest':76} {'ms/step':>8} {'calls':>6}")
    for kernel, (milliseconds, calls) in sorted(found.items(), key=lambda item: -item[1][0])[:12]:
        print(f"{kernel[:75]:76} {milliseconds:8.3f} {calls:6.1f}")


if __name__ == "__main__":
    main()
