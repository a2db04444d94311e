"""One model trained by several processes: the same losses as one, whatever the model, and the same end for all."""

import contextlib
import copy
import io
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from several import together
from trained_together import CASES, train_all

from pyrovae import VAE, Trainer
from pyrovae.cli.command import run_command
from pyrovae.cli.train import main
from pyrovae.data import ImageSet, load_images
from pyrovae.engine import LostProcessError
from pyrovae.runs import shared
from pyrovae.runtime import seeded
from pyrovae.training import Interrupted
from pyrovae.training import processes as processes_module
from pyrovae.training.interrupts import InterruptFlag
from pyrovae.training.loop import Loop
from pyrovae.training.processes import ALONE, Processes, Several
from pyrovae.training.progress import Progress

SHORT = ["broken", "vae", "few labels", "beta", "free bits", "dreg", "odd batches"]
TOLERANCE = {"bfloat16": 1e-4}
"""Relative, of losses; 1e-5 in float32."""


@pytest.fixture(scope="module")
def short() -> dict[int, list[dict[str, Any]]]:
    return {size: together(size, train_all, SHORT) for size in (1, 2, 4)}


def assert_alike(name: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    rel = TOLERANCE.get(name, 1e-5)
    if name == "broken":
        begin = "training broke in epoch 1, step 2 of 3: Expected parameter scale"
        assert one["error"].startswith(begin)
        assert other["error"].startswith(begin)
        return
    assert "error" not in one, one
    assert "error" not in other, other
    assert other["losses"] == pytest.approx(one["losses"], rel=rel)
    assert len(other["rows"]) == len(one["rows"])
    for mine, theirs in zip(one["rows"], other["rows"], strict=True):
        assert theirs == pytest.approx(mine, rel=10 * rel, abs=1e-4)
    assert other["weights"] == pytest.approx(one["weights"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_equal_one(name: str, size: int, short: dict[int, list[dict[str, Any]]]) -> None:
    """The last batch of 5 images is 2, 2, 1 and none for four processes."""
    (alone,) = short[1]
    for found in short[size]:
        assert isinstance(found, dict), found
        assert_alike(name, alone[name], found[name])


@pytest.mark.full
@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_case_of_several_processes_equals_one(size: int) -> None:
    names = [name for name in CASES if name not in SHORT]
    (alone,) = together(1, train_all, names)
    for found in together(size, train_all, names):
        assert isinstance(found, dict), found
        for name in names:
            assert_alike(name, alone[name], found[name])


def test_processes_are_of_one_opinion_to_the_bit(short: dict[int, list[dict[str, Any]]]) -> None:
    for found in short.values():
        assert all(other == found[0] for other in found)


# ---- another number of processes in the middle of a run


def few() -> ImageSet:
    whole = load_images("digits")
    return ImageSet.from_arrays(whole.images[:121], whole.labels[:121], name="few", validation=20)


def loop_of(trainer: Trainer, data: ImageSet, processes: Processes) -> Loop:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(data.image_shape, 2)
    return trainer._loop(model, data, torch.device("cpu"), None, False, processes)


def change_at(rank: int, size: int, step: int, path: str) -> dict[str, Any] | None:
    """Train to a step by all and on by one, without a stop; beside it by all, with a stop and a checkpoint."""
    data, several = few(), Several(dist.HashStore())
    trainer = Trainer(epochs=4, batch_size=32, engine="graph", seed=2)
    with seeded(2), Progress(1, enabled=False) as shown:
        loop = loop_of(trainer, data, several)
        while loop.steps_done < step:
            loop._chunk = 1
            loop._advance(shown)
            if loop.batch == loop.batches.per_epoch:
                loop._finish_epoch(shown)
        state = copy.deepcopy(loop.state_dict())
        several_weights = _run_on(loop_of(trainer, data, several), state, shown)
    stopping = Trainer(epochs=4, batch_size=32, engine="graph", seed=2, checkpoint_every=1000)
    decide = Loop._maybe_stop

    def stop(self: Loop, flag: InterruptFlag, progress: Progress) -> None:
        self._chunk = 1
        flag.signal = 15 if self.steps_done == step and rank == size - 1 else None  # one process alone is told
        decide(self, flag, progress)

    Loop._maybe_stop = stop  # type: ignore[method-assign]
    torch.manual_seed(0)
    try:
        stopping.fit(VAE(data.image_shape, 2), data, path, progress=False, processes=several)
    except Interrupted:
        pass
    else:
        raise AssertionError("nobody stopped")
    finally:
        Loop._maybe_stop = decide  # type: ignore[method-assign]
    if not rank:
        shutil.copytree(path, f"{path}-stopped")
    again = VAE(data.image_shape, 2)
    stopping.fit(again, data, path, resume=True, progress=False, processes=several)
    for name, value in again.state_dict().items():
        assert torch.equal(value, several_weights[name]), name
    if rank:
        return None
    with seeded(2), Progress(1, enabled=False) as shown:
        return {name: value.tolist() for name, value in _run_on(loop_of(trainer, data, ALONE), state, shown).items()}


def _run_on(loop: Loop, state: dict[str, Any], shown: Progress) -> dict[str, torch.Tensor]:
    state = copy.deepcopy(state)
    for part in (loop.learner, loop.logger, loop.stopping):
        part.load_state_dict(state)
    loop.epoch, loop.batch = state["epoch"], state["batch"]
    loop.run(shown, InterruptFlag())
    return {name: value.clone() for name, value in loop.learner.weights.items()}


def resumed_alone(path: str) -> dict[str, torch.Tensor]:
    model = VAE(few().image_shape, 2)
    Trainer(epochs=4, batch_size=32, engine="graph", seed=2).fit(model, few(), path, resume=True, progress=False)
    return model.state_dict()


def killed(rank: int, size: int, step: int, path: str) -> tuple[str, float, str] | None:
    """Train until the last process is killed at a step; how long and by what error the first one ended."""
    decide, at = Loop._maybe_stop, [0.0]

    def fall(self: Loop, flag: InterruptFlag, progress: Progress) -> None:
        self._chunk = 1
        at[0] = time.monotonic()
        if self.steps_done == step and rank == size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        decide(self, flag, progress)

    Loop._maybe_stop = fall  # type: ignore[method-assign]
    torch.manual_seed(0)
    trainer = Trainer(epochs=4, batch_size=32, engine="graph", seed=2, checkpoint_every=0)
    try:
        trainer.fit(VAE(few().image_shape, 2), few(), path, progress=False, processes=Several(dist.HashStore()))
    except LostProcessError as error:
        return type(error).__name__, time.monotonic() - at[0], str(error)
    return None


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    """Stopped by a signal to one of two, or by the death of one: equal to a run that changes in its midst, to the bit.

    With the same number of processes it is equal to the bit too.
    """
    changed = together(2, change_at, 5, str(tmp_path / "run"))[0]
    assert isinstance(changed, dict), changed
    alone = resumed_alone(f"{tmp_path / 'run'}-stopped")
    for name, value in changed.items():
        assert value == alone[name].tolist(), name

    survivor, dead = together(2, killed, 6, str(tmp_path / "killed"))
    assert dead == f"ended with {-signal.SIGKILL}"
    kind, seconds, message = survivor
    assert kind == "LostProcessError"
    assert seconds < 10
    assert "another process has ended" in message
    assert "\n" not in message
    found = resumed_alone(str(tmp_path / "killed"))
    for name, value in changed.items():
        assert value == found[name].tolist(), name


# ---- the command


def command(
    rank: int, size: int, port: int, words: list[list[str]], folders: list[str], patch: dict[int, str]
) -> tuple[int, str, str]:
    """Run `pyrovae train` in a folder; exit status and what was written, of one process."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.chdir(folders[rank])
    sys.argv = ["pyrovae train", *words[rank]]
    if rank in patch:
        shared.version = lambda name: patch[rank]
    output, errors = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            run_command(main, main.__doc__)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, output.getvalue(), errors.getvalue()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run_commands(
    folders: list[Path], words: list[list[str]], patch: dict[int, str] | None = None
) -> list[tuple[int, str, str]]:
    places = [str(folder) for folder in folders]
    return together(len(words), command, free_port(), words, places, patch or {}, meet=False)


TRAIN = ["--data", "digits", "--epochs", "1", "--engine", "pyro", "--name", "r", "--runs_dir", "runs"]


def one_line(found: list[tuple[int, str, str]]) -> str:
    """The one line that says what is wrong; all have the status of a user's error."""
    assert [status for status, _, _ in found] == [2] * len(found), found
    lines = [line for _, _, errors in found for line in errors.splitlines() if "usage:" not in line and line.strip()]
    assert len(lines) == 1, found
    return lines[0]


def test_the_command_by_two_processes(tmp_path: Path) -> None:
    found = run_commands([tmp_path] * 2, [TRAIN] * 2)
    (status, output, errors), (second, silent, nothing) = found
    assert (status, second, errors) == (0, 0, ""), found
    assert silent == nothing == ""
    assert output.splitlines()[3] == "2 processes, 1 thread each"
    bound = json.loads((tmp_path / "runs" / "r" / "test.json").read_text())["negative_elbo"]
    (tmp_path / "alone").mkdir()
    assert together(1, command, 0, [TRAIN], [str(tmp_path / "alone")], {}, meet=False)[0][0] == 0
    alone = json.loads((tmp_path / "alone" / "runs" / "r" / "test.json").read_text())["negative_elbo"]
    assert bound == pytest.approx(alone, rel=1e-5)
    # A process that does not find the run that all of them shall resume.
    (tmp_path / "elsewhere").mkdir()
    again = ["--resume", "runs/r", "--epochs", "2"]
    line = one_line(run_commands([tmp_path, tmp_path / "elsewhere"], [again, again]))
    assert "process 1 of 2" in line
    assert "does this machine see the same files?" in line
    assert run_commands([tmp_path] * 2, [again] * 2)[0][0] == 0


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 6))])
def test_processes_of_different_opinion_are_refused_in_one_line(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    size = draw.choice([2, 3])
    odd = draw.randrange(1, size)
    name, value = draw.choice(
        [("seed", "5"), ("batch_size", "64"), ("model.latent_dim", "3"), ("optimizer.lr", "0.1"), ("epochs", "9")]
    )
    words = [list(TRAIN) for _ in range(size)]
    words[odd] += [f"--{name}", value]
    line = one_line(run_commands([tmp_path] * size, words))
    assert f"process {odd} has settings {name.rpartition('.')[2]}: {value}, and process 0 has" in line
    assert not (tmp_path / "runs").exists()
    line = one_line(run_commands([tmp_path] * size, [TRAIN] * size, {odd: "0.0.1"}))
    assert f"process {odd} has pyrovae 0.0.1, and process 0 has" in line


def test_a_batch_smaller_than_the_number_of_processes_is_refused_in_one_line(tmp_path: Path) -> None:
    line = one_line(run_commands([tmp_path] * 3, [[*TRAIN, "--batch_size", "2"]] * 3))
    assert "batch_size must be at least the number of processes, 3" in line


def test_what_all_processes_get_wrong_is_said_once(tmp_path: Path) -> None:
    assert "nonsense" in one_line(run_commands([tmp_path] * 2, [[*TRAIN, "--nonsense", "1"]] * 2))
    words = [list(TRAIN), [*TRAIN, "--epochs", "many"]]
    assert "process 1 of 2" in one_line(run_commands([tmp_path] * 2, words))


def test_a_taken_port_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = together(1, _first_of_two, taken.getsockname()[1], str(tmp_path), meet=False)
    assert "is in use: set MASTER_PORT" in one_line(found)


def _first_of_two(rank: int, size: int, port: int, folder: str) -> tuple[int, str, str]:
    return command(0, 2, port, [TRAIN], [folder], {})


def test_without_an_address_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    refused = pytest.raises(ValueError, match="RANK and MASTER_ADDR and MASTER_PORT not set: start with torchrun")
    with refused, processes_module.joined():
        pass
