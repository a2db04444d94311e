"""One process at a time writes into a run: every other is refused, until the first has ended, however it ends."""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyrovae import VAE, Trainer
from pyrovae.data import ImageSet
from pyrovae.lock import InUseError, locked
from pyrovae.runs.config_file import create_run
from pyrovae.runs.jobs import Job, train_runs
from pyrovae.runs.training import open_training, parse_training

HOLD = """
import fcntl, os, sys, time
file = open(sys.argv[1], "r+" if os.path.exists(sys.argv[1]) else "w+")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("refused", flush=True)
    sys.exit()
file.write(f"process {os.getpid()} on elsewhere since today")
file.flush()
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen]:
    """A process without pyrovae that has the lock of a folder."""
    command = [sys.executable, "-c", HOLD, str(folder / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def can_hold(folder: Path) -> bool:
    """Whether another process could have the lock."""
    command = [sys.executable, "-c", HOLD, str(folder / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        held = process.stdout.readline() == "held\n"
        process.kill()
    return held


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    where = ["--runs_dir", str(tmp_path), "--name", "run", "--progress", "false"]
    return ["--data", "digits", "--engine", "pyro", "--epochs", "1", "--model.encoder.hidden", "[4]", *where]


def test_a_lock_keeps_other_processes_out_and_ends_with_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path):
        inode = (tmp_path / ".lock").stat().st_ino
        with locked(tmp_path):
            pass
        assert not can_hold(tmp_path)  # although the inner one has ended
        words = (tmp_path / ".lock").read_text()
        assert f"process {os.getpid()} on {platform.node()}" in words
    assert can_hold(tmp_path)
    with another(tmp_path) as process:
        with pytest.raises(InUseError, match=rf"is in use by process {process.pid} on elsewhere .*: wait until that"):
            locked(tmp_path).__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(tmp_path):
            assert (tmp_path / ".lock").stat().st_ino == inode  # never replaced


def test_another_thread_is_refused(tmp_path: Path) -> None:
    caught = []

    def intrude() -> None:
        try:
            locked(tmp_path).__enter__()
        except InUseError as error:
            caught.append(str(error))

    with locked(tmp_path):
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
    assert "in use by another thread of this process" in caught[0]


def test_whatever_would_write_is_refused(tmp_path: Path, few_digits: ImageSet, options: list[str]) -> None:
    folder = create_run(parse_training(options), few_digits)
    job = Job(folder, tuple(options[:8]))
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.path.iterdir())
    with another(folder.path):
        resume = parse_training(["--resume", str(folder.path)])
        overwrite = parse_training([*options, "--overwrite", "true"])
        for arguments in (resume, overwrite):
            with pytest.raises(InUseError), open_training(arguments, few_digits):
                pass
        with pytest.raises(InUseError):
            job.train()
        with pytest.raises(InUseError):
            Trainer(epochs=1, engine="pyro").fit(VAE((1, 8, 8), 2), few_digits, folder, progress=False)
        now = sorted((path.name, path.stat().st_mtime_ns) for path in folder.path.iterdir() if path.name != ".lock")
        assert now == [entry for entry in before if entry[0] != ".lock"]
    job.train()
    assert job.finished


@pytest.mark.slow
def test_a_sweep_waits_for_a_run_that_somebody_else_has(tmp_path: Path, few_digits: ImageSet, options) -> None:
    """And trains it when it was left before its end."""
    folder = create_run(parse_training(options), few_digits)
    job = Job(folder, tuple(options[:8]))
    with ThreadPoolExecutor(1) as pool:
        with another(folder.path):
            sweep = pool.submit(train_runs, [job], workers=1, progress=False)
            time.sleep(8)
            assert not sweep.done()
            assert not job.finished
        sweep.result(timeout=60)
    assert job.finished


def test_a_run_without_a_name_takes_the_next_one_that_is_free(tmp_path: Path, few_digits: ImageSet, options) -> None:
    arguments = parse_training([*options[:-4], "--progress", "false"])
    first = create_run(arguments, few_digits)
    (tmp_path / "few-vae-2d-2").mkdir()
    with another(tmp_path / "few-vae-2d-2"):  # another training that is just making its folder
        assert (first.path.name, create_run(arguments, few_digits).path.name) == ("few-vae-2d", "few-vae-2d-3")
