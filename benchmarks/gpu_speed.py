"""What is fast on a GPU: the sections of `gpu_acceptance.py` that measure time, by events of the GPU."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import pyro
import torch
from gpu_checks import GPU, digits
from svi_contenders import Problem, Steps, network_and_batches
from svi_contenders import contenders as all_contenders

from pyrovae import VAE, Trainer
from pyrovae.engine import SVI, cuda_graphs

REPEATS = 5
SHORT = 10
"""Below so many steps, sizes are small too: the sections are then only tried."""


def problem(steps: int) -> Problem:
    """MNIST's size; a small one where the sections are only tried."""
    if steps < SHORT:
        return Problem(hidden=(16,), batch=16, size=64, device=GPU)
    return Problem(device=GPU)


def microseconds(take: Steps, count: int) -> float:
    """Time of one step by the GPU's clock, the fastest of some repeats."""
    found = []
    for _ in range(REPEATS):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        take(count)
        last.record()
        torch.cuda.synchronize()
        found.append(1000 * first.elapsed_time(last) / count)
    return round(min(found), 1)


def steps(steps: int) -> dict[str, Any]:
    """Microseconds a step through `SVI.run`, for each precision, and where each step is a replay of its own."""
    count = steps if steps < SHORT else 20 * steps
    found = {name: microseconds(by_svi(problem(steps), name), count) for name in ("float32", "tf32", "bfloat16")}
    with mock.patch.object(cuda_graphs, "TOGETHER", ()):
        found["float32, one by one"] = microseconds(by_svi(problem(steps), "float32"), count)
    return found


def by_svi(given: Problem, precision: str) -> Steps:
    """The compiled engine of some precision."""
    network, images, orders = network_and_batches(given)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    svi = SVI(
        network.model,
        network.guide,
        optimizer,
        engine="compiled",
        precision=precision,
        prepare=lambda index: images[index],
    )

    def take(count: int) -> None:
        svi.run([(index,) for index in itertools.islice(orders, count)])

    take(5)
    return take


def contenders(steps: int) -> dict[str, Any]:
    """Microseconds a step of each contender; of one that fails, the reason."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes most of the GPU's memory
    found: dict[str, Any] = {}
    compiles = ("torch.compile", "NumPyro") if steps < SHORT else ()
    for name, build in all_contenders(problem(steps)).items():
        if not any(word in name for word in compiles):
            found[name] = attempt(build, steps)
    pyro.clear_param_store()
    assert isinstance(found["pyrovae compiled"], float), found["pyrovae compiled"]
    return found


def attempt(build: Callable[[Problem], Steps], count: int) -> float | str:
    """Microseconds a step, or why there are none."""
    try:
        take = build(problem(count))
        take(3)
        return microseconds(take, count)
    except (RuntimeError, ImportError, AssertionError) as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"


def epoch(steps: int) -> dict[str, Any]:
    """Images a second through `Trainer.fit`, evaluations and all."""
    torch.manual_seed(0)
    trainer = Trainer(epochs=3, batch_size=128, device=GPU, engine="compiled")
    history = trainer.fit(VAE((1, 8, 8), 2), digits(), progress=False)
    return {name: value for name, value in history.rows[-1].items() if "second" in name or "speed" in name}
