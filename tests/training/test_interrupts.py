"""Signals while a training runs: noted here, and what they mean for processes that are forked meanwhile."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from pyrovae.training.interrupts import InterruptFlag

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
FORK = multiprocessing.get_context("fork")


def sleep_in_a_fork() -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=time.sleep, args=(60,), daemon=True)
    process.start()
    time.sleep(0.2)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_fork_ends_when_it_is_told_to(number: int, depth: int) -> None:
    before = signal.getsignal(number)
    with InterruptFlag() as flag:
        if depth == 2:
            with InterruptFlag():
                process = sleep_in_a_fork()
        else:
            process = sleep_in_a_fork()
        os.kill(process.pid or 0, number)
        process.join(20)
        assert process.exitcode == -number
        assert flag.signal is None
        os.kill(os.getpid(), number)
        assert flag.signal == number
    assert signal.getsignal(number) is before


def test_ctrl_c_is_the_parent_s_business() -> None:
    """A terminal sends it to all processes, and the parent has the others write their checkpoints."""
    with InterruptFlag():
        process = sleep_in_a_fork()
        os.kill(process.pid or 0, signal.SIGINT)
        process.join(0.5)
        assert process.exitcode is None
        process.kill()
        process.join()


def test_a_pool_that_breaks_meanwhile_can_be_shut_down() -> None:
    """Its thread waits for its idle processes, which it has told to end, and holds the lock of `shutdown`."""
    with InterruptFlag():
        pool = ProcessPoolExecutor(3, mp_context=FORK)
        futures = [pool.submit(time.sleep, 0.01) for _ in range(8)]
        assert all(future.result() is None for future in futures)
        os.kill(next(iter(pool._processes)), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            pool.submit(time.sleep, 20).result()
        began = time.monotonic()
        pool.shutdown()
        assert time.monotonic() - began < 20
