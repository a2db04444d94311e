"""A process of its own for each piece of work, whatever executor carries it."""

import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from pyrovae import child_processes
from pyrovae.child_processes import KilledError, Task, carry, end_children


@pytest.fixture(autouse=True)
def _no_child_is_left() -> object:
    yield
    end_children()


def test_work_is_done_elsewhere_and_a_child_is_used_again() -> None:
    first, second = (carry(Task.of(os.getpid)).value for _ in range(2))
    assert first == second != os.getpid()


def test_children_work_side_by_side() -> None:
    with ThreadPoolExecutor(2) as pool:
        pids = [future.result().value for future in [pool.submit(carry, Task.of(slow_pid)) for _ in range(2)]]
    assert len({*pids, os.getpid()}) == 3


def slow_pid() -> int:
    time.sleep(0.5)
    return os.getpid()


def test_what_is_raised_comes_back_with_its_place() -> None:
    outcome = carry(Task.of(partial(int, "x")))
    assert isinstance(outcome.error, ValueError)
    assert "invalid literal" in str(outcome.error)
    assert "Traceback" in outcome.error.__notes__[0]


@pytest.mark.parametrize(
    ("death", "words"),
    [
        (partial(os._exit, 3), "its process ended with status 3"),
        (partial(signal.raise_signal, signal.SIGKILL), "killed by SIGKILL, as Linux does where memory runs out"),
        (partial(signal.raise_signal, signal.SIGSEGV), "killed by SIGSEGV"),
    ],
)
def test_a_death_is_an_outcome(death, words: str) -> None:
    outcome = carry(Task.of(death))
    assert isinstance(outcome.error, KilledError)
    assert words in str(outcome.error)
    assert carry(Task.of(os.getpid)).error is None


def test_a_killed_child_that_is_idle_is_no_trouble() -> None:
    pid = carry(Task.of(os.getpid)).value
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert carry(Task.of(os.getpid)).value != pid


def test_threads_and_folder_are_those_of_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = carry(Task.of(torch.get_num_threads)).value
    assert carry(Task.of(torch.get_num_threads, threads=3)).value == 3
    assert carry(Task.of(torch.get_num_threads)).value == usual
    monkeypatch.chdir(tmp_path)
    assert carry(Task.of(os.getcwd)).value == str(tmp_path)


def test_a_child_ends_when_it_is_idle_or_nobody_is_there(tmp_path: Path) -> None:
    """A forked pool has children of its own, which end with it, whatever the parent has."""
    mine = carry(Task.of(os.getpid)).value
    with ProcessPoolExecutor(1) as pool:
        theirs = pool.submit(carry, Task.of(os.getpid)).result().value
        assert theirs != mine
    wait_for_end(theirs)
    assert carry(Task.of(os.getpid)).value == mine


def wait_for_end(pid: int) -> None:
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_all_work_is_cut_off() -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(carry, Task.of(partial(time.sleep, 60)))
        while not child_processes._at_work:
            time.sleep(0.02)
        time.sleep(0.2)
        end_children()
        assert isinstance(future.result(timeout=10).error, KilledError)


def wait_for_stop(place: str) -> str:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    Path(place).touch()
    return "told to end" if stopped.wait(30) else "forgotten"


def test_work_ends_when_its_ticket_is_gone(tmp_path: Path) -> None:
    ticket, begun = tmp_path / "ticket", tmp_path / "begun"
    ticket.touch()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(carry, Task.of(partial(wait_for_stop, str(begun)), ticket=ticket))
        while not begun.exists():
            time.sleep(0.02)
        assert f"process {os.getpid()} on" in ticket.read_text()
        ticket.unlink()
        assert future.result(timeout=20).value == "told to end"


def test_a_machine_that_cannot_do_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is not shared, or its pyrovae is another one."""
    monkeypatch.setattr(child_processes, "UNSEEN", 0.3)
    ticket = tmp_path / "ticket"
    ticket.touch()
    task = Task.of(os.getpid, ticket=ticket)
    for other, words in (
        (replace(task, folder=str(tmp_path / "nowhere")), f"does not see the folder {tmp_path / 'nowhere'}: runs are"),
        (replace(task, ticket=str(tmp_path / "other")), f"does not see the files in {tmp_path}: runs are kept in"),
        (replace(task, ticket=str(tmp_path / "a" / "b")), f"does not see the folder {tmp_path / 'a'}: runs are kept"),
        (replace(task, version="0.0.1"), "and 0.0.1 asks for the work: install the same there"),
    ):
        error = carry(other).error
        assert isinstance(error, ValueError)
        assert words in str(error)
        assert "\n" not in str(error)


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot be sent to another process \(.*\): define its classes"):
        Task.of(lambda: 3)
