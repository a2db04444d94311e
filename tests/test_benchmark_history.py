"""The history of the benchmark: every line is whole, and the command finds a newest line that is slower."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import history


def measured(ours: list[float], eager: list[float], numpyro: list[float], **machine: Any) -> dict[str, Any]:
    """What `svi_speed.py` would write of these milliseconds in rounds."""
    rows = {}
    for name, values in {"pyrovae compiled": ours, "PyTorch eager": eager, "NumPyro fori_loop": numpyro}.items():
        ordered, ratios = sorted(values), sorted(a / b for a, b in zip(values, ours, strict=True))
        count = len(values)
        rows[name] = {
            "median_ms": ordered[count // 2],
            "spread_ms": (ordered[3 * count // 4] - ordered[count // 4]) / 2,
            "ratio_to_ours": ratios[count // 2],
        }
    table = {"rounds": len(ours), "rows": rows}
    return {"machine": {"device": "a CPU", "threads": 2, "torch": "2"} | machine, "tables": [table]}


def rounds(seed: int, ours: float, eager: float, numpyro: float, noise: float = 0.03) -> dict[str, Any]:
    drawn = random.Random(seed)
    return measured(*([mean * drawn.gauss(1, noise) for _ in range(15)] for mean in (ours, eager, numpyro)))


def added(folder: Path, release: str, content: dict[str, Any]) -> int:
    (folder / "svi-speed-cpu.json").write_text(json.dumps(content))
    return history.main(["--add", release, "--results", str(folder), "--history", str(folder / "history.jsonl")])


@pytest.mark.parametrize("seed", range(20))
def test_slower_is_found_and_noise_is_not(seed: int, tmp_path: Path) -> None:
    assert added(tmp_path, "1", rounds(seed, 1.0, 2.5, 1.0)) == 0
    assert added(tmp_path, "2", rounds(seed + 100, 1.0, 2.5, 1.0)) == 0, "noise"
    assert added(tmp_path, "3", rounds(seed + 200, 3.0, 7.5, 3.0)) == 0, "a machine of a third of the speed"
    assert added(tmp_path, "4", rounds(seed + 300, 1.3, 2.5, 1.0)) == 1, "30 % slower"
    assert added(tmp_path, "5", rounds(seed + 400, 1.0, 2.5, 1.0)) == 0, "faster again"


def test_one_contender_alone_is_no_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    added(tmp_path, "1", rounds(0, 1.0, 3.5, 1.0))
    assert added(tmp_path, "2", rounds(1, 1.0, 2.2, 1.0)) == 0
    assert "in doubt" in capsys.readouterr().out


def test_other_machines_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    added(tmp_path, "1", measured([1.0] * 9, [3.0] * 9, [2.0] * 9))
    assert added(tmp_path, "2", measured([1.0] * 9, [1.0] * 9, [1.0] * 9, threads=1)) == 0
    assert "not measured before on a CPU with 1 threads" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--add", "1"], "has a line of 1 already"),
        (["--add", "2", "--results", "nowhere"], "run svi_speed.py first"),
        (["--history", "broken"], "line 2 is no line of a history"),
    ],
)
def test_what_is_wrong_is_said(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    added(tmp_path, "1", rounds(0, 1.0, 3.5, 1.0))
    before = (tmp_path / "history.jsonl").read_text()
    (tmp_path / "broken").write_text(before + "{}\n")
    with pytest.raises(SystemExit) as stopped:
        history.main(["--history", "history.jsonl", *words])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "history.jsonl").read_text() == before


def test_the_history_that_is_kept() -> None:
    lines = history.read(history.HISTORY)
    names = [line["release"] for line in lines]
    assert len(set(names)) == len(names)
    for line in lines:
        assert line["measured"].keys() <= set(history.MEASUREMENTS)
        for found in line["measured"].values():
            assert all(ratio > 0 and error > 0 for ratio, error in found["ratios"].values())
    said, slower = history.compare(*lines[-2:])
    assert not slower, said
