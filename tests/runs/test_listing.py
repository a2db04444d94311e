"""Runs at a glance: what the small files say, and what they say when they are damaged."""

import inspect
import json
import os
import sys
from pathlib import Path

import pytest
from made_runs import make_run
from test_lock import another

from pyrovae import VAE
from pyrovae.cli.main import main
from pyrovae.lock import is_held, locked
from pyrovae.runs.listing import TAIL, list_runs
from pyrovae.runs.naming import USUAL_PARTS


def finish(run, epochs: int, bound: float | None = None) -> None:
    """Write what a training of so many epochs leaves of small files."""
    run.metrics.write_text("epoch,loss\n" + "".join(f"{i + 1},0.5\n" for i in range(epochs)))
    if bound is not None:
        numbers = {"score": "NLL", "negative_elbo": bound, "spread": {"negative_elbo": 0.25}}
        run.test.write_text(json.dumps(numbers))


@pytest.fixture
def folder(tmp_path: Path, digits) -> Path:
    runs = tmp_path / "runs"
    finish(make_run(runs, digits, "--name", "done", "--epochs", "3"), 3, 30.5)
    parts = ["--model.posterior", "Flow", "--model.encoder", "ConvEncoder", "--model.latent_dim", "5"]
    finish(make_run(runs, digits, "--name", "study/runs/stopped", "--epochs", "9", *parts), 4)
    patient = make_run(runs, digits, "--name", "patient", "--epochs", "9", "--model", "CVAE")
    finish(patient, 5, 28.0)
    return runs


def test_a_name_never_breaks_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (folder / "done").rename(folder / "do\nne")
    monkeypatch.setattr(sys, "argv", ["pyrovae", "list", str(folder)])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert any(line.startswith(r"do\nne ") for line in lines)


def test_what_the_files_say(folder: Path) -> None:
    found = {str(run.path.relative_to(folder)): run for run in list_runs(folder)}
    assert list(found) == ["done", "patient", "study/runs/stopped"]
    done, stopped = found["done"], found["study/runs/stopped"]
    assert (done.state, done.data, done.model, done.parts, done.latent_dim) == ("done", "digits", "VAE", {}, 2)
    assert (done.epoch, done.epochs, done.test, done.error, done.score) == (3, 3, 30.5, 0.25, "NLL")
    assert (stopped.state, stopped.epoch, stopped.test) == ("stopped", 4, None)
    assert stopped.parts == {"encoder": "ConvEncoder", "posterior": "Flow"}
    assert found["patient"].state == "done"
    assert [run.path for run in list_runs(folder / "done")] == [folder / "done"]


def test_a_run_that_was_resumed_and_stopped_again(folder: Path) -> None:
    checkpoint = folder / "patient" / "checkpoint.pt"
    checkpoint.touch()
    later = (folder / "patient" / "test.json").stat().st_mtime + 10
    os.utime(checkpoint, (later, later))
    assert {run.path.name: run.state for run in list_runs(folder)}["patient"] == "stopped"


def test_who_writes_there_runs(folder: Path) -> None:
    for place in ("done", "study/runs/stopped"):
        assert not is_held(folder / place)
        with locked(folder / place):
            assert is_held(folder / place)  # by ourselves, and the question did not give it back:
            assert is_held(folder / place)
        with another(folder / place):
            assert is_held(folder / place)
            assert next(run for run in list_runs(folder / place)).state == "running"
        assert not is_held(folder / place)


@pytest.mark.parametrize(
    ("name", "content", "trouble"),
    [
        ("config.yaml", b"model: [", "damaged"),
        ("config.yaml", b"", "no section 'run'"),
        ("config.yaml", b"\xff\xfe", "damaged"),
        ("config.yaml", None, "no config.yaml"),
        ("config.yaml", "seed: 0 -> seed: 1", "not as the training wrote it"),
        ("metrics.csv", b"epoch,loss\nx,1\n", "its last line begins with 'x'"),
        ("metrics.csv", b"epoch,loss\n" + b"\0" * 100, "metrics.csv is damaged"),
        ("test.json", b"{", "Expecting"),
        ("test.json", b"[1]", "has no attribute"),
        ("test.json", b"\x80", "can't decode"),
    ],
)
def test_a_damaged_run_is_listed_as_such(folder: Path, name, content, trouble: str, monkeypatch, capsys) -> None:
    path = folder / "done" / name
    if content is None:
        path.unlink()
    elif isinstance(content, str):
        path.write_text(path.read_text().replace(*content.split(" -> ")))
    else:
        path.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["pyrovae", "list", str(folder)])
    main()
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.startswith("done ")]
    assert "damaged" in line
    assert trouble in next(line for line in out.splitlines() if line.startswith("done: "))
    assert "stopped" in out  # the others are there


def test_a_long_log_is_read_from_its_end(folder: Path) -> None:
    metrics = folder / "done" / "metrics.csv"
    wide = "1," * (TAIL // 2 + 10)
    metrics.write_text(f"epoch,loss\n1,2\n2,{wide}\n")
    assert list_runs(folder / "done")[0].epoch == 2
    metrics.write_text("epoch,loss\n" + "".join(f"{i},0.5\n" for i in range(1, 20001)))
    assert list_runs(folder / "done")[0].epoch == 20000


def test_the_table(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["pyrovae", "list", str(folder), "--sort", "bound"])
    main()
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "data", "model", "z", "test", "-ELBO", "epochs", "state", "age"]
    assert [row.split()[0] for row in rows] == ["patient", "done", "study/runs/stopped"]
    assert "VAE, ConvEncoder, Flow" in rows[2]
    assert "30.50 ± 0.25" in rows[1]
    assert "4/9" in rows[2]
    monkeypatch.setattr(sys, "argv", ["pyrovae", "list", str(folder), "--json"])
    main()
    assert [run["state"] for run in json.loads(capsys.readouterr().out)] == ["done", "done", "stopped"]
    (folder / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["pyrovae", "list", str(folder / "empty")])
    main()
    assert "holds no runs; pyrovae train --runs_dir" in capsys.readouterr().out


def test_the_number_of_an_autoencoder_is_no_bound(tmp_path: Path, digits, monkeypatch, capsys) -> None:
    finish(make_run(tmp_path, digits, "--name", "plain", "--model", "Autoencoder"), 1, 30.5)
    monkeypatch.setattr(sys, "argv", ["pyrovae", "list", str(tmp_path)])
    main()
    assert "30.50 ± 0.25 (no KL)" in capsys.readouterr().out


def test_the_usual_parts_are_the_models_own() -> None:
    arguments = inspect.signature(VAE).parameters
    assert {slot: arguments[slot].default.__name__ for slot in USUAL_PARTS} == USUAL_PARTS


def test_an_order_that_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for given in ("--", "x", ""):
        monkeypatch.setattr(sys, "argv", ["pyrovae", "list", f"--sort={given}", str(folder)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "name, age, bound" in error.replace("'", "")
