"""Time one training step of this package beside its peers, in one run on one machine, as ratios.

    python benchmarks/svi_speed.py                      # 784-256-2, batch 128: the first table
    python benchmarks/svi_speed.py --small-batch        # 784-200-200-50, batch 20, where overhead rules
    python benchmarks/svi_speed.py --scaling            # how the time grows with batch, width, latent size and data
    python benchmarks/svi_speed.py --device cuda        # the GPU column
    python benchmarks/svi_speed.py --one-thread         # processor time of one thread: for a machine that others use

Contenders take turns, round after round, so that a busy machine slows all of them; a ratio is the median over rounds
of (contender / compiled engine) within the round. Times are milliseconds a step. Results are printed and written as
JSON to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from svi_contenders import Problem, Steps, contenders

OURS = "pyrovae compiled"
RESULTS = Path(__file__).parent / "results"
SMALL_BATCH = Problem(hidden=(200, 200), latent=50, batch=20, activation="tanh")
SCALED = [OURS, "pyro.infer.SVI, in memory", "PyTorch eager", "NumPyro fori_loop", "matrix products alone"]
SCALING = {
    "batch": (32, 128, 512, 2048, 8192),
    "hidden": ((64,), (256,), (1024,)),
    "latent": (2, 32, 128),
    "size": (6_000, 60_000, 240_000),
}


def machine(device: str) -> dict[str, object]:
    """Hardware and versions, for the record."""
    versions = {name: _version(name) for name in ("torch", "pyro", "numpyro", "jax", "numpy")}
    cpu = next((x.split(":")[1].strip() for x in _read("/proc/cpuinfo") if x.startswith("model name")), "")
    name = torch.cuda.get_device_name() if device == "cuda" else f"{cpu or platform.processor()}"
    return {"device": name, "threads": torch.get_num_threads(), "python": platform.python_version(), **versions}


def _version(package: str) -> str | None:
    try:
        return str(__import__(package).__version__)
    except ImportError:
        return None


def _read(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def build(problem: Problem, names: list[str]) -> tuple[dict[str, Steps], dict[str, float]]:
    """Make the contenders, and say how long each took to be ready, from the images in memory to three steps done."""
    ready, seconds = {}, {}
    problem.images()
    for name, make in contenders(problem).items():
        if names and name not in names:
            continue
        start = time.perf_counter()
        ready[name] = make(problem)
        ready[name](3)
        seconds[name] = time.perf_counter() - start
    if "NumPyro fori_loop" not in ready and (not names or "NumPyro fori_loop" in names):
        print("NumPyro is not among the contenders (pip install numpyro)")
    return ready, seconds


def use_one_thread() -> None:
    """Restrict torch and XLA to one thread each; before either starts its own."""
    torch.set_num_threads(1)
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def measure(ready: dict[str, Steps], device: str, steps: int, rounds: int, one_thread: bool) -> dict[str, list[float]]:
    """Milliseconds a step, for each contender and round."""
    times: dict[str, list[float]] = {name: [] for name in ready}
    clock = time.process_time if one_thread else time.perf_counter
    for turn in range(rounds + 1):
        for name, run in ready.items():
            start = clock()
            run(steps)
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first round warms up, and compiles NumPyro's loop of this length
                times[name].append((clock() - start) / steps * 1e3)
    return times


def peak_memory(problem: Problem, name: str) -> float | None:
    """Peak memory, in MiB, of a process that runs this contender alone for 20 steps: resident, or on the GPU."""
    command = [sys.executable, __file__, "--memory-of", name, "--problem", json.dumps(asdict(problem))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"no peak memory of {name}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
        return None
    return float(done.stdout.split()[-1])


def _report_memory(problem: Problem, name: str) -> None:
    build(problem, [name])[0][name](20)
    on_gpu = torch.cuda.max_memory_allocated() / 2**20 if problem.device == "cuda" else 0
    # On Linux not from getrusage, whose peak a child inherits from the process that started it.
    resident = next((float(line.split()[1]) for line in _read("/proc/self/status") if line.startswith("VmHWM")), None)
    print(on_gpu or (resident or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024)


def table(
    problem: Problem, steps: int, rounds: int, names: list[str], memory: bool, one_thread: bool
) -> dict[str, object]:
    """Measure one problem, print its table, and return it."""
    ready, compile_seconds = build(problem, names)
    times = measure(ready, problem.device, steps, rounds, one_thread)
    rows = {}
    print(
        f"\n{problem}\n{'contender':28} {'ms/step':>8} {'min':>8} {'spread':>8} {'ratio':>7} {'ready s':>8} {'MiB':>7}"
    )
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times.get(OURS, values), strict=True)]
        row = {
            "median_ms": statistics.median(values),
            "min_ms": min(values),
            "spread_ms": _spread(values),
            "ratio_to_ours": statistics.median(ratios),
            "ratio_of_minima": min(values) / min(times.get(OURS, values)),
            "ready_seconds": compile_seconds[name],
            "peak_mib": peak_memory(problem, name) if memory else None,
        }
        rows[name] = row
        peak = f"{row['peak_mib']:7.0f}" if row["peak_mib"] else "      -"
        print(
            f"{name:28} {row['median_ms']:8.3f} {row['min_ms']:8.3f} {row['spread_ms']:8.3f}"
            f" {row['ratio_to_ours']:7.2f} {row['ready_seconds']:8.1f} {peak}",
            flush=True,
        )
    return {"problem": asdict(problem), "steps": steps, "rounds": rounds, "rows": rows}


def _spread(values: list[float]) -> float:
    """Half the distance between the quartiles."""
    if len(values) < 4:
        return (max(values) - min(values)) / 2
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def scaling(base: Problem, steps: int, rounds: int, one_thread: bool) -> list[dict[str, object]]:
    """One short table for each value of each size, and all of them in one at the end."""
    tables: dict[Problem, dict[str, object]] = {}
    lines = []
    for field, values in SCALING.items():
        for value in values:
            problem = replace(base, **{field: value})
            if problem not in tables:  # the base is among the values of every size
                count = max(3, steps * 128 // max(128, problem.batch))
                tables[problem] = table(problem, count, rounds, SCALED, memory=False, one_thread=one_thread)
            lines.append(_scaling_line(field, problem, tables[problem]["rows"]))
    print("\n" + " ".join(["size          ", f"{OURS:>24}", *(f"{name:>26}" for name in SCALED[1:])]))
    print("                      ms/step (us/image)" + "ratio".rjust(27) * (len(SCALED) - 1))
    print("\n".join(lines))
    return list(tables.values())


def _scaling_line(field: str, problem: Problem, rows: dict[str, dict[str, float]]) -> str:
    """Our milliseconds a step and microseconds an image, and the others' ratios."""
    value = getattr(problem, field)
    ours = rows[OURS]["median_ms"]
    ratios = (f"{rows[name]['ratio_to_ours']:26.2f}" if name in rows else "-".rjust(26) for name in SCALED[1:])
    shown = f"{field:7}{value[0] if isinstance(value, tuple) else value:7}"
    return " ".join([shown, f"{ours:14.3f} ({ours / problem.batch * 1e3:7.1f})", *ratios])


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--small-batch", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--steps", type=int, help="steps in each contender's turn (100; with --scaling 40)")
    parser.add_argument("--rounds", type=int, help="turns of each contender (15; with --scaling 5)")
    parser.add_argument("--only", nargs="*", default=[], help="names of contenders")
    parser.add_argument("--one-thread", action="store_true", help="one thread each, and its processor time")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON file; by default one named after the run")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--problem", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        values = json.loads(options.problem)
        _report_memory(Problem(**{**values, "hidden": tuple(values["hidden"])}), options.memory_of)
        return
    if options.one_thread:
        use_one_thread()
    problem = replace(SMALL_BATCH if options.small_batch else Problem(), device=options.device)
    steps = options.steps or (40 if options.scaling else 100)
    rounds = options.rounds or (5 if options.scaling else 15)
    if options.scaling:
        tables = scaling(problem, steps, rounds, options.one_thread)
    else:
        memory = not options.no_memory
        tables = [table(problem, steps, rounds, options.only, memory, options.one_thread)]
    kind = "scaling" if options.scaling else "small-batch" if options.small_batch else "speed"
    output = options.output or RESULTS / f"svi-{kind}-{options.device}{'-one-thread' * options.one_thread}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(
        json.dumps({"machine": machine(options.device), "load": os.getloadavg(), "tables": tables}, indent=1) + "\n"
    )
    print(f"written to {output}")


if __name__ == "__main__":
    main()
