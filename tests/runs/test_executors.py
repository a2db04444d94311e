"""Trainings on any executor are those of this machine, whatever dies on the way."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import when_it_trains

import pyrovae
from pyrovae import child_processes, lock
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference import importance_weighted
from pyrovae.runs.executors import chosen_executor, dask_cluster, local_processes
from pyrovae.runs.jobs import Job, UnfinishedError, train_runs
from pyrovae.training import RunFolder

SMALL = ("--data", "digits", "--epochs", "2", "--engine", "pyro", "--model.encoder.hidden", "[8]")
BETAS = ("0.1", "0.3", "1", "2", "3", "5", "10")


def sweep(folder: Path, *more: str, betas: tuple[str, ...] = BETAS) -> list[Job]:
    return [Job(RunFolder(folder / f"beta{b}"), (*SMALL, *more, "--objective.beta", b)) for b in betas]


def weights(job: Job) -> torch.Tensor:
    state = pyrovae.load(job.folder.path, which="last").state_dict()
    return torch.cat([value.flatten() for value in state.values()])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """The sweep, trained on this machine."""
    jobs = sweep(tmp_path_factory.mktemp("alone"))
    train_runs(jobs, workers=2, threads=1, progress=False)
    return jobs


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, each made by Dask's own command."""
    with started("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard") as scheduler:
        address = said(scheduler, r"Scheduler at:\s+(tcp://\S+)")
        with worker(address), worker(address), dask_cluster(address) as client:
            client.wait_for_workers(2, timeout=60)
            yield address


def started(*words: str) -> subprocess.Popen:
    """A command of Dask's; its context ends it."""
    command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
    return Ending(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Ending(subprocess.Popen):
    def __exit__(self, *error: object) -> None:
        self.terminate()
        threading.Thread(target=self.stdout.read, daemon=True).start()
        self.wait()


def worker(address: str) -> subprocess.Popen:
    return started("worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard")


def said(process: subprocess.Popen, pattern: str) -> str:
    for line in process.stdout:
        if found := re.search(pattern, line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found[1]
    raise AssertionError("it ended")


@pytest.mark.slow
def test_a_sweep_on_a_cluster_of_which_a_worker_is_killed(cluster: str, alone: list[Job], tmp_path: Path) -> None:
    """Each run is the one that this machine has trained, to the bit."""
    jobs = sweep(tmp_path)
    killed: list[int] = []
    with dask_cluster(cluster) as client:
        pids = set(client.run(os.getpid).values())

        def kill() -> None:
            """The first Dask worker that has begun a third run."""
            while not killed:
                signed = []
                for signature in tmp_path.glob(".*.job"):
                    with contextlib.suppress(FileNotFoundError):  # a run that ends takes its own away
                        signed.append(re.findall(r"process (\d+) on", signature.read_text()))
                if sum(job.finished for job in jobs) >= 2 and any(signed):
                    killed.append(int(next(each for each in signed if each)[0]))
                    os.kill(killed[0], signal.SIGKILL)
                time.sleep(0.01)

        killer = threading.Thread(target=kill)
        killer.start()
        train_runs(jobs, executor=client.get_executor(pure=False), progress=False, threads=1)
        killer.join()
        assert killed[0] in pids
        assert all(job.finished for job in jobs)
        client.wait_for_workers(2, timeout=60)
        assert killed[0] not in client.run(os.getpid).values()
    for one, other in zip(alone, jobs, strict=True):
        assert torch.equal(weights(one), weights(other))
        assert one.folder.test.read_text() == other.folder.test.read_text()
    assert not list(tmp_path.glob(".*.job"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["thread", "process", "dask"])
def test_every_executor_trains_the_same(kind: str, alone: list[Job], tmp_path: Path, request) -> None:
    jobs = sweep(tmp_path, betas=BETAS[:2])
    if kind == "dask":
        with chosen_executor(None, request.getfixturevalue("cluster")) as executor:
            assert executor.width == 2
            train_runs(jobs, executor=executor, threads=1, progress=False)
    else:
        with {"thread": ThreadPoolExecutor, "process": ProcessPoolExecutor}[kind](2) as pool:
            train_runs(jobs, executor=pool, threads=1, progress=False)
    for one, other in zip(alone, jobs, strict=False):
        assert torch.equal(weights(one), weights(other))


@pytest.mark.slow
def test_a_cluster_estimates_the_same_bits(cluster: str, digits: ImageSet) -> None:
    torch.manual_seed(0)
    model, split = pyrovae.VAE((1, 8, 8), 2), fixed_split(digits.split("test"), "dynamic").take(range(45))
    here = importance_weighted(model, split, 50)
    with chosen_executor(None, cluster) as executor:
        there = importance_weighted(model, split, 50, executor=executor)
    assert np.array_equal(here.log_likelihood, there.log_likelihood)


def break_when_it_trains(job: Job) -> threading.Thread:
    """Kill the process of the pool that has the job, as soon as that has a checkpoint."""

    def kill() -> None:
        ticket = job.folder.path.with_name(f".{job.name}.job").read_text()
        os.kill(int(re.search(r"process (\d+) on", ticket)[1]), signal.SIGKILL)

    return when_it_trains(job, kill)


@pytest.mark.slow
def test_a_broken_pool_is_replaced_by_a_function_that_makes_one(tmp_path: Path) -> None:
    long = ("--epochs", "12", "--checkpoint_every", "0")
    jobs, whole = sweep(tmp_path, *long, betas=BETAS[:2]), sweep(tmp_path / "whole", *long, betas=BETAS[:1])
    made = []

    def make() -> ProcessPoolExecutor:
        made.append(ProcessPoolExecutor(2))
        return made[-1]

    killer = break_when_it_trains(jobs[0])
    train_runs(jobs, executor=make, threads=1, progress=False)
    killer.join()
    assert len(made) == 2
    train_runs(whole, workers=1, threads=1, progress=False)
    assert torch.equal(weights(jobs[0]), weights(whole[0]))


@pytest.mark.full
def test_a_broken_pool_that_nobody_can_replace_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "--epochs", "12", "--checkpoint_every", "0", betas=BETAS[:1])
    killer = break_when_it_trains(jobs[0])
    with ProcessPoolExecutor(1) as pool, pytest.raises(ValueError, match=r"the executor has broken \(.*give the same"):
        train_runs(jobs, executor=pool, threads=1, progress=False)
    killer.join()
    assert jobs[0].folder.can_resume
    train_runs(jobs, workers=1, threads=1, progress=False)
    assert jobs[0].finished


def test_an_executor_that_is_shut_down_or_none_is_refused(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, betas=BETAS[:1])
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    for wrong, words in (
        ({"executor": pool}, "takes no more work"),
        ({"executor": 3}, "executor must be a concurrent.futures.Executor, or a function that makes one, got int"),
        ({"workers": 0}, "workers must be a whole number of at least 1, got 0"),
        ({"workers": -1}, "workers must be a whole number of at least 1, got -1"),
        ({"workers": True}, "workers must be a whole number of at least 1, got True"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"workers": 1, "executor": pool}, "give one of both"),
    ):
        with pytest.raises(ValueError, match=words):
            train_runs(jobs, **wrong, progress=False)
    assert not list(tmp_path.glob(".*.job"))


class Unshared(Executor):
    """An executor whose machine has another folder in that place."""

    def submit(self, function, task):
        future: Future = Future()
        future.set_result(function(replace(task, ticket=task.ticket.replace("shared", "not-there"))))
        return future


def test_a_folder_that_is_not_shared_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_processes, "UNSEEN", 0.2)
    jobs = sweep(tmp_path / "shared", betas=BETAS[:1])
    with pytest.raises(
        UnfinishedError, match=r"^1 of 1 trainings .*does not see the folder .*not-there: runs are kept"
    ):
        train_runs(jobs, executor=Unshared(), progress=False)


@pytest.mark.parametrize(
    "address",
    ["", "x", "localhost:8786", "tcp:/localhost:1", "tcp://localhost", "http://localhost:1", "tcp://a b:1", "tcp://:1"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"^cluster must be the address of a"), chosen_executor(None, address):
        pass


def test_where_no_scheduler_is_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.runs.executors.PATIENCE", 1.0)
    words = r"^no Dask scheduler answers at tcp://127.0.0.1:9 within 1 seconds"
    with pytest.raises(ValueError, match=words), chosen_executor(None, "tcp://127.0.0.1:9"):
        pass


def test_workers_and_a_cluster_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="give one"), chosen_executor(2, "tcp://127.0.0.1:9"):
        pass


def test_more_processes_than_memory_has_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"100,000 processes.*choose fewer --workers"), local_processes(100_000):
        pass


@pytest.mark.full
def test_a_scheduler_that_goes_away_ends_in_one_line(tmp_path: Path) -> None:
    """And the trainings of its workers write their checkpoints."""
    with started("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard") as scheduler:
        address = said(scheduler, r"Scheduler at:\s+(tcp://\S+)")
        with worker(address), chosen_executor(None, address) as executor:
            jobs = sweep(tmp_path, "--epochs", "100000", betas=BETAS[:1])
            killer = when_it_trains(jobs[0], scheduler.kill)
            with pytest.raises(
                ValueError, match=r"has broken \(the scheduler of the Dask cluster is gone\).*same again"
            ):
                train_runs(jobs, executor=executor, threads=1, progress=False)
            killer.join()
            until = time.monotonic() + 60
            while lock.is_held(jobs[0].folder.path):
                assert time.monotonic() < until
                time.sleep(0.1)
    assert jobs[0].folder.can_resume
