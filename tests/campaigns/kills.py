"""Trainings that are killed at random moments, and resumed: nothing is lost, and the end is the same to the bit.

    python -m tests.campaigns.kills --seed 1 --cases 100

Each case trains a small model, kills it again and again (in the imports, in the first second, while a file is being
written, anywhere), and goes on as a user would: `--resume`, or the same command where there is no run yet. Signals are
SIGKILL, SIGTERM, SIGHUP, Ctrl-C and Ctrl-C many times. Most trainings are forks of a process that has imported
everything, so that a case takes a second; those that are killed in their imports are processes of their own.
"""

import contextlib
import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns import oracle

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "svi_train.py"
SMALL = ["--data", "digits", "--model.encoder.hidden", "[6]", "--model.decoder.hidden", "[6]", "--epochs", "6"]
SMALL += ["--batch_size", "300", "--progress", "false"]
KINDS = {
    "pyro": ["--engine", "pyro", "--checkpoint_every", "0"],
    "graph": ["--engine", "graph", "--checkpoint_every", "0.05"],
    "auto": ["--engine", "auto", "--checkpoint_every", "0", "--scheduler", "StepLR", "--scheduler.step_size", "2"],
}
MOMENTS = ("imports", "beginning", "making", "writing", "anywhere")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SOFT = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}


# A server that has imported everything and done nothing else, of which each training is a fork.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pyrovae.cli.train", "pyrovae.runs.figures", "sklearn.datasets"])


class Training:
    """A training in a process of its own: started, watched, killed."""

    def __init__(self, folder: Path, argv: list[str], fresh: bool) -> None:
        self.log = folder / "log.txt"
        self.log.write_text("")
        if fresh:
            with self.log.open("w") as file:
                command = [sys.executable, str(SCRIPT), *argv]
                env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
                process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, env=env)
            self._wait, self.pid = process.wait, process.pid
        else:
            process = FORKS.Process(target=_train, args=(folder, argv, self.log))
            process.start()
            self._wait, self.pid = (lambda: (process.join(), process.exitcode)[1]), process.pid

    def kill(self, number: int, times: int = 1) -> None:
        for _ in range(times):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            time.sleep(0.002 * (times > 1))

    def end(self) -> int:
        return self._wait()

    @property
    def is_over(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True


def _train(folder: Path, argv: list[str], log: Path) -> None:
    """What a fork does: the command, its words in a file."""
    from pyrovae.cli import run_command, train
    from pyrovae.runs import figures

    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), write_through=True) for number in (1, 2))
    sys.argv = ["svi_train.py", *argv]
    figures.save_run_figures = lambda *args: []  # seconds of drawing, of which nothing depends
    run_command(train.main, "A training.")


def wait_for(moment: str, training: Training, folder: Path, draw: random.Random, length: float) -> None:
    """Wait for the moment to kill."""
    if moment in ("imports", "beginning"):
        time.sleep(draw.random() * (4.0 if moment == "imports" else 0.3))
        return
    if moment == "anywhere":
        time.sleep(draw.random() * length)
        return
    time.sleep(draw.random() * (0.0 if moment == "making" else 0.5 * length))
    while not training.is_over:
        if moment == "making" and (folder / "runs" / "a").exists():
            time.sleep(draw.random() * 0.01)
            return
        if moment == "writing" and any(folder.glob("runs/a/.*.pyrovae-tmp*")):
            return


def one_case(
    folder: Path, kind: str, draw: random.Random, truth: dict, length: float, report: oracle.Report
) -> list[str]:
    """Kill a training up to three times, go on each time, and say what was wrong in the end."""
    run, trouble = folder / "runs" / "a", []
    begin, resume = [*SMALL, *KINDS[kind], "--name", "a"], ["--resume", "runs/a"]
    for _ in range(draw.choice((1, 1, 2, 3))):
        moment, number = draw.choice(MOMENTS), draw.choice(SIGNALS)
        times = draw.choice((1, 1, 10)) if number == signal.SIGINT else 1
        training = Training(folder, resume if (run / "config.yaml").exists() else begin, moment == "imports")
        wait_for(moment, training, folder, draw, length)
        training.kill(number, times)
        status, words = training.end(), training.log.read_text()
        killed = status == -number or status == SOFT.get(number)
        report.outcomes[f"{moment}, {signal.Signals(number).name}{' again and again' * (times > 1)}"] += 1
        report.outcomes["killed" if killed else "ended before"] += 1
        if "Traceback" in words or (status and not killed):
            trouble.append(f"{moment} {signal.Signals(number).name}: status {status}: {words[-600:]}")
    for attempt in range(2):
        training = Training(folder, resume if (run / "config.yaml").exists() else begin, fresh=False)
        status = training.end()
        if status or "Traceback" in training.log.read_text():
            trouble.append(f"going on, attempt {attempt}: status {status}: {training.log.read_text()[-600:]}")
        if attempt == 0 and not trouble and (left := oracle.leftovers(folder)):
            trouble.append(f"left behind: {left}")
        if draw.random() < 0.8:
            break  # otherwise a run that has ended is resumed once more, which changes nothing
    if not trouble:
        different = oracle.differences(oracle.result_of(run), truth)
        trouble += [f"{name} is not that of an undisturbed run" for name in different]
    return trouble


def main(seed: int, cases: int, say: bool = False) -> oracle.Report:
    """Run so many cases, drawn from a seed, and count what was done and what went wrong."""
    os.environ["OMP_NUM_THREADS"] = "1"
    draw, report = random.Random(f"kills {seed}"), oracle.Report()
    truths: dict[str, tuple[dict, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for case in range(cases):
            kind = draw.choice(list(KINDS))
            if kind not in truths:
                folder = Path(place) / kind
                folder.mkdir()
                began = time.monotonic()
                training = Training(folder, [*SMALL, *KINDS[kind], "--name", "a"], fresh=False)
                assert training.end() == 0, training.log.read_text()
                truths[kind] = oracle.result_of(folder / "runs" / "a"), time.monotonic() - began
            folder = Path(place) / f"case{case}"
            folder.mkdir()
            trouble = one_case(folder, kind, draw, *truths[kind], report)
            report.failures += [f"case {case} of seed {seed}, {kind}: {words}" for words in trouble]
            if say and case % 10 == 9:
                print(case + 1, dict(report.outcomes), report.failures[-1:], flush=True)
    return report


if __name__ == "__main__":
    oracle.run_from_command_line(main, 100)
