"""Time several trainings as one program beside the same trainings one after the other, in one run, as ratios.

    python benchmarks/ensembles.py                  # one thread and two, three models
    python benchmarks/ensembles.py --only digits --threads 1

Both take turns, round after round, so that a busy machine slows both. A ratio is (one after the other / together)
within a round, and its bounds are those of the mean of its logarithm over the rounds (95 %, Student's t). Wall-clock
time and the process's own time are both kept: the second one is less disturbed by others. Both ways run compiled;
making the graphs is not counted, and is kept as `ready_s`. Results go to `benchmarks/results/ensembles-cpu.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student
from svi_speed import machine
from torch import Tensor

from pyrovae import SVI, VAE, TraceELBO
from pyrovae.engine.ensemble import Ensemble
from pyrovae.networks import MLPDecoder, MLPEncoder

RESULTS = Path(__file__).parent / "results" / "ensembles-cpu.json"
WARM_UP = 12


@dataclass(frozen=True)
class Problem:
    """Members of one model on random grey images, drawn black or white at each step."""

    side: int
    hidden: tuple[int, ...]
    latent: int
    batch: int

    def images(self) -> Tensor:
        return torch.randint(0, 256, (2000, 1, self.side, self.side), dtype=torch.uint8)

    def member(self, number: int, images: Tensor) -> SVI:
        torch.manual_seed(number)
        encoder, decoder = partial(MLPEncoder, hidden=self.hidden), partial(MLPDecoder, hidden=self.hidden)
        model = VAE((1, self.side, self.side), self.latent, encoder=encoder, decoder=decoder)
        programs = TraceELBO().programs(model)

        def prepare(beta: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            return beta, torch.bernoulli(images[index].float() / 255)

        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        return SVI(
            programs.model, programs.guide, optimizer, programs.elbo, engine="compiled", prepare=prepare,
            check_every=None,
        )  # fmt: skip

    def batches(self, number: int, count: int) -> list[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(number)
        beta = torch.tensor(0.5 + number / 4)
        return [(beta, torch.randint(0, 2000, (self.batch,), generator=generator)) for _ in range(count)]


PROBLEMS = {
    "784-200-200-50, batch 20": Problem(28, (200, 200), 50, 20),
    "784-256-2, batch 128": Problem(28, (256,), 2, 128),
    "digits 64-128-2, batch 20": Problem(8, (128,), 2, 20),
}


def times(action: Any) -> tuple[float, float]:
    """Wall-clock and process seconds of a call."""
    wall, own = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - own


def measured(problem: Problem, members: int, rounds: int, steps: int) -> dict[str, Any]:
    """Both ways, in turn."""
    images = problem.images()
    ensemble = Ensemble(
        [problem.member(k, images) for k in range(members)], seeds=range(members), engine="compiled", check_every=None
    )
    batches = [problem.batches(k, steps) for k in range(members)]
    warm = [own[:WARM_UP] for own in batches]
    ready_together, _ = times(lambda: ensemble.run(warm))
    alone = [problem.member(k, images) for k in range(members)]

    def one_after_another(of_each: list[list[tuple[Tensor, Tensor]]]) -> None:
        for svi, own in zip(alone, of_each, strict=True):
            svi.run(own)

    ready_alone, _ = times(lambda: one_after_another(warm))
    together, turns = [], []
    for _ in range(rounds):
        together.append(times(lambda: ensemble.run(batches)))
        turns.append(times(lambda: one_after_another(batches)))
    found: dict[str, Any] = {"ready_s": {"together": ready_together, "one after the other": ready_alone}}
    for place, kind in enumerate(("wall", "process")):
        ratios = [b[place] / a[place] for a, b in zip(together, turns, strict=True)]
        found[kind] = {
            "ms_a_step_of_all_together": 1e3 * statistics.median(a[place] for a in together) / steps,
            "ms_a_step_of_all_in_turn": 1e3 * statistics.median(b[place] for b in turns) / steps,
            "ratio": math.exp(statistics.fmean(map(math.log, ratios))),
            "ratio_95": bounds(ratios),
        }
    return found


def bounds(ratios: list[float]) -> list[float]:
    logs = [math.log(ratio) for ratio in ratios]
    half = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return [math.exp(statistics.fmean(logs) + sign * half) for sign in (-1, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="part of a problem's name")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    chosen = {name: problem for name, problem in PROBLEMS.items() if given.only in name}
    if given.child:
        rows = {name: measured(p, given.members, given.rounds, given.steps) for name, p in chosen.items()}
        print(json.dumps(rows))
        return
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for threads in given.threads:
        for name in chosen:
            words = [sys.executable, __file__, "--child", "--only", name, "--members", str(given.members)]
            words += ["--rounds", str(given.rounds), "--steps", str(given.steps)]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            output = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
            row = json.loads(output.splitlines()[-1])[name]
            place = found.setdefault(f"{threads} threads", {}).setdefault(name, {})
            place[f"{given.members} members"] = row | {"load": os.getloadavg()[0]}
            found["machine"] = machine("cpu") | {"cores": os.cpu_count()}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{threads} threads, {name}: {json.dumps(row)}", flush=True)


if __name__ == "__main__":
    main()
