"""The acceptance for a GPU runs, section by section, on a simulated one: it is known to work before it meets one."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import FakeGpu

from pyrovae.engine import functions

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu_acceptance
from gpu_acceptance import SECTIONS, Section, accept, table

STEPS = 7
ELSEWHERE = {"parts": "tests/cuda/test_parts_on_gpu.py runs the same models", "tests": "they need a GPU"}


@pytest.mark.parametrize("name", [name for name in SECTIONS if name not in ELSEWHERE])
def test_every_section(gpu: FakeGpu, name: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(gpu_acceptance.SECTIONS, name, Section(SECTIONS[name].run, 600))
        results = accept([name], STEPS, tmp_path / "found.json")
    assert results[name]["passed"], results[name]
    assert json.loads((tmp_path / "found.json").read_text())["sections"] == results


@pytest.mark.full
def test_the_sweep_over_parts(gpu: FakeGpu) -> None:
    assert SECTIONS["parts"].run(STEPS)["models"] > 10


def test_what_fails_is_said_and_the_rest_goes_on(gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(steps: int) -> dict[str, Any]:
        raise AssertionError("a parameter did not move")

    def slow(steps: int) -> dict[str, Any]:
        time.sleep(30)
        return {}

    monkeypatch.setitem(gpu_acceptance.SECTIONS, "engines", Section(wrong, 60))
    monkeypatch.setitem(gpu_acceptance.SECTIONS, "parts", Section(slow, 0.2))
    results = accept(["engines", "parts", "versions"], STEPS, tmp_path / "found.json")
    assert [result["passed"] for result in results.values()] == [False, False, True]
    assert "a parameter did not move" in table(results)
    assert "took more than 0.2 s" in table(results)


@pytest.mark.parametrize("name", ["engines", "failed recording"])
def test_a_step_that_is_never_recorded_is_found(
    gpu: FakeGpu, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control: a library that replays nothing must not pass."""
    monkeypatch.setattr(functions.Graphs, "_recorded", lambda self, call, captured, tensors: call)
    assert not accept([name], STEPS, tmp_path / "found.json")[name]["passed"]
