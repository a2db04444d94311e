"""The sweep: its runs, its table and its picture, and what it refuses."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "beta_sweep.py"
SMALL = (
    "--data",
    "digits",
    "--epochs",
    "1",
    "--engine",
    "pyro",
    "--model.encoder.hidden",
    "[8]",
    "--progress",
    "false",
)


def sweep(monkeypatch: pytest.MonkeyPatch, *argv: str) -> None:
    monkeypatch.setattr(sys, "argv", ["beta_sweep.py", *argv])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.slow
def test_a_log_grid_is_trained_measured_and_drawn(tmp_path: Path, monkeypatch, capsys) -> None:
    argv = ["--low", "0.1", "--high", "10", "--points", "3", *SMALL, "--runs_dir", str(tmp_path)]
    sweep(monkeypatch, *argv, "--objective.reconstruction_weight", "2")
    out = capsys.readouterr().out
    assert "rate (KL)" in out
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {"sweep-beta0.1", "sweep-beta1", "sweep-beta10"}
    assert (tmp_path / "sweep-rate-distortion.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((tmp_path / "sweep-rate-distortion.json").read_text())
    assert numbers["betas"] == pytest.approx([0.05, 0.5, 5.0])  # over the weight of the reconstruction
    assert len(numbers["rates"]) == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--low", "0"], "low must be a number above 0, got 0.0"),
        (["--points", "x"], "points must be a whole number, got 'x'"),
        (["--betas", "[-1]"], "each of betas must be a number of at least 0, got -1"),
        (["--epochz", "3"], "there is no option --epochz; did you mean --epochs?"),
        (["--betas", "[1]", "--model", "Autoencoder"], "and so no rate: use --model VAE or CVAE"),
    ],
)
def test_mistakes_get_one_line(argv: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        sweep(monkeypatch, *argv, *SMALL, "--runs_dir", str(tmp_path))
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
