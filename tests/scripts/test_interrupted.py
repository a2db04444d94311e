"""Ctrl-C at any moment of a command ends in one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyrovae.cli.command import repeatable, run_command
from pyrovae.cli.interrupted import say_instead_of_traceback
from pyrovae.training import Interrupted

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["scripts/study.py", "--only", "[4, 5]"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_nobody_caught_is_one_line(capsys) -> None:
    say_instead_of_traceback()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "study.py: interrupted\n"
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # more of them change nothing
    sys.excepthook(ZeroDivisionError, ZeroDivisionError("a bug"), None)
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [(KeyboardInterrupt(), 130, "study.py: interrupted\n"), (Interrupted(signal.SIGHUP), 129, "")],
)
def test_a_stopped_command_says_how_to_go_on(error: BaseException, status: int, line: str, capsys) -> None:
    def command() -> None:
        with repeatable():
            raise error

    with pytest.raises(SystemExit) as stopped:
        run_command(command)
    assert stopped.value.code == status
    out, err = capsys.readouterr()
    assert out == "what was trained is kept; go on with: python scripts/study.py --only '[4, 5]'\n"
    assert err == line


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.0, 3.0])
def test_many_interrupts_during_the_imports(tmp_path: Path, seconds: float) -> None:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "svi_train.py"), "--data", "digits", "--epochs", "100000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)  # until Python itself has started, and imports ours
    time.sleep(seconds)
    for _ in range(5):
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
        time.sleep(0.02)
    out, err = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in out + err
    assert err.count("\n") <= 1, err
