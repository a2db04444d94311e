"""Everything that a GPU must show, in one command of 25 minutes at most: what is right first, what is fast last.

    python benchmarks/gpu_acceptance.py                       # all sections; results/gpu_acceptance.json, and a table
    python benchmarks/gpu_acceptance.py --sections engines parts --steps 20

Each section has a limit of seconds. The file of results is written anew after each, so that a run that is cut off keeps
what it had. The exit status is 1 if a section failed. `tests/cuda` runs the sections on a simulated GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_checks
import gpu_speed
import torch
from surroundings import surroundings

RESULTS = Path(__file__).parent / "results" / "gpu_acceptance.json"


@dataclass(frozen=True)
class Section:
    """One part of the acceptance.

    Attributes:
        run: Given the number of steps; returns what it measured, and raises `AssertionError` if something is wrong.
        limit: Seconds.
    """

    run: Callable[[int], dict[str, Any]]
    limit: float


SECTIONS = {
    "versions": Section(gpu_checks.versions, 20),
    "engines": Section(gpu_checks.engines, 120),
    "together": Section(gpu_checks.together, 60),
    "parts": Section(gpu_checks.parts, 240),
    "failed recording": Section(gpu_checks.failed_recording, 60),
    "resumed": Section(gpu_checks.resumed, 60),
    "learning rate": Section(gpu_checks.learning_rate, 60),
    "not finite": Section(gpu_checks.not_finite, 60),
    "to the CPU": Section(gpu_checks.to_the_cpu, 30),
    "precision": Section(gpu_checks.precision, 60),
    "tests": Section(gpu_checks.marked_tests, 180),
    "speed": Section(gpu_speed.steps, 180),
    "contenders": Section(gpu_speed.contenders, 240),
    "epoch": Section(gpu_speed.epoch, 120),
}


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` after so many seconds."""

    def late(number: int, frame: Any) -> None:
        raise TimeoutError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def accept(names: Sequence[str], steps: int, output: Path) -> dict[str, dict[str, Any]]:
    """Run sections and write what they found.

    Args:
        names: Which sections.
        steps: Steps of each training; of timings a multiple.
        output: JSON file, written anew after each section.

    Returns:
        Of each section "passed", "seconds", and "found" or "error".
    """
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        began = time.monotonic()
        try:
            with at_most(SECTIONS[name].limit):
                results[name] = {"passed": True, "found": SECTIONS[name].run(steps)}
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            results[name] = {"passed": False, "error": f"{type(error).__name__}: {first}"}
        results[name]["seconds"] = round(time.monotonic() - began, 1)
        whole = json.dumps({"surroundings": surroundings(), "steps": steps, "sections": results}, indent=1)
        beside = output.with_suffix(".part")
        beside.write_text(whole + "\n", encoding="utf-8")
        beside.replace(output)
        print(f"{name}: {'passed' if results[name]['passed'] else results[name]['error']}", flush=True)
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = ["| section | passed | seconds | found |", "|---|---|---:|---|"]
    for name, result in results.items():
        found = result.get("found", {})
        words = result.get("error") or ", ".join(f"{key} {value}" for key, value in found.items())
        lines.append(f"| {name} | {'yes' if result['passed'] else 'NO'} | {result['seconds']} | {words} |")
    return "\n".join(lines)


def main() -> int:
    """Run, print the table, and say by the exit status whether all passed."""
    parser = argparse.ArgumentParser(description="Everything that a GPU must show.")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--steps", type=int, default=50, help="Steps of each training; at least 5.")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.steps < 5:
        parser.error(f"argument --steps: must be at least 5, got {options.steps}")
    if not torch.cuda.is_available():
        parser.error("this machine has no NVIDIA GPU that torch can use")
    results = accept(options.sections, options.steps, options.output)
    print(table(results))
    return 0 if all(result["passed"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
