"""Many trainings: the same bits as one by one, what is there is skipped, and what was cut off goes on."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from made_runs import when_it_trains

import pyrovae
from pyrovae.cli.options import divide_words
from pyrovae.runs.config_file import create_run, read_config
from pyrovae.runs.jobs import Job, UnfinishedError, train_runs
from pyrovae.runs.runner import DEATHS
from pyrovae.runs.training import build_training, load_training_data, open_training, parse_training
from pyrovae.training import Interrupted, RunFolder
from pyrovae.training.loop import Loop

SMALL = ("--data", "digits", "--epochs", "2", "--engine", "pyro", "--model.encoder.hidden", "[8]")


def job(folder: Path, name: str, *more: str, which: str | None = None) -> Job:
    return Job(RunFolder(folder / name), (*SMALL, *more), which)


def weights(job: Job) -> torch.Tensor:
    state = pyrovae.load(job.folder.path, which="last").state_dict()
    return torch.cat([value.flatten() for value in state.values()])


@pytest.mark.slow
def test_a_run_is_trained_once_and_is_the_same_in_a_pool(tmp_path: Path, capsys) -> None:
    alone = job(tmp_path / "alone", "a")
    alone.train()
    jobs = [job(tmp_path / "pool", name) for name in ("a", "b")]
    train_runs(jobs, workers=2, threads=torch.get_num_threads())
    assert torch.equal(weights(alone), weights(jobs[0]))
    assert json.loads(jobs[1].folder.test.read_text())["images"] == 300
    capsys.readouterr()
    stamps = [job.folder.last_weights.stat().st_mtime_ns for job in jobs]
    train_runs(jobs, workers=2)
    assert [job.folder.last_weights.stat().st_mtime_ns for job in jobs] == stamps
    assert capsys.readouterr().out == ""


def test_what_was_cut_off_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = job(tmp_path / "whole", "a"), job(tmp_path / "cut", "a")
    whole.train()
    update = Loop._update

    def interrupted(self, chunk):
        if self.epoch == 1:
            self._save()
            raise Interrupted(2)
        return update(self, chunk)

    monkeypatch.setattr(Loop, "_update", interrupted)
    with pytest.raises(Interrupted):
        cut.train()
    monkeypatch.undo()
    assert (cut.finished, cut.standing().step) == (False, whole.standing().step // 2)
    cut.train()
    assert cut.finished
    assert torch.equal(weights(whole), weights(cut))


def test_a_run_that_broke_before_its_first_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    broken = job(tmp_path, "a")
    broken.folder.path.mkdir()
    broken.folder.config.write_text("run: cut off")
    broken.train()
    assert broken.finished


def test_more_epochs_are_trained_and_the_weights_asked_for_are_tested(tmp_path: Path) -> None:
    job(tmp_path, "a").train()
    best = json.loads((tmp_path / "a" / "test.json").read_text())
    longer = job(tmp_path, "a", "--epochs", "3", which="last")
    assert not longer.finished
    longer.train()
    assert [row["epoch"] for row in longer.folder.rows()] == [1, 2, 3]
    assert read_config(longer.folder)["epochs"] == 3
    assert json.loads(longer.folder.test.read_text())["negative_elbo"] < best["negative_elbo"]


def test_a_folder_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    job(tmp_path, "a").train()
    with pytest.raises(ValueError, match=r"holds another run .*beta: 4\.0 would change.* remove that folder"):
        train_runs([job(tmp_path, "a", "--objective.beta", "4")])


@pytest.mark.slow
def test_a_training_that_fails_is_one_line_and_the_others_go_on(tmp_path: Path, capsys) -> None:
    others = [job(tmp_path, name, "--epochs", "1") for name in ("a", "b")]
    broken = job(tmp_path, "broken", "--optimizer.lr", "1e30")
    with pytest.raises(UnfinishedError, match=r"^1 of 3 trainings did not end \(broken: training broke in epoch 1"):
        train_runs([others[0], broken, others[1]], workers=2)
    assert [job.finished for job in (*others, broken)] == [True, True, False]
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("broken: training broke") and line.endswith("the others go on") for line in lines) == 1
    table = lines[-4:]
    assert [line.split()[:3] for line in table] == [
        ["run", "state", "epochs"],
        ["a", "done", "1/1"],
        ["broken", "failed", "0/2"],
        ["b", "done", "1/1"],
    ]


def trainer_of(job: Job) -> int:
    """The process that trains a job now."""
    return int(re.search(r"process (\d+) on", (job.folder.path / ".lock").read_text())[1])


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_its_run_ends_the_same(tmp_path: Path, capsys) -> None:
    long = ("--epochs", "12", "--checkpoint_every", "0")
    whole, killed, other = job(tmp_path / "whole", "a", *long), job(tmp_path, "a", *long), job(tmp_path, "b")
    killer = when_it_trains(killed, lambda: os.kill(trainer_of(killed), signal.SIGKILL))
    train_runs([killed, other], workers=2, threads=1)
    killer.join()
    assert (killed.finished, other.finished) == (True, True)
    out = capsys.readouterr().out
    assert "a: its process was killed by SIGKILL, as Linux does where memory runs out; it goes on in another one" in out
    assert "Traceback" not in out
    train_runs([whole], workers=1, threads=1, progress=False)
    assert torch.equal(weights(whole), weights(killed))


@pytest.mark.slow
def test_a_training_that_dies_again_and_again_is_given_up(tmp_path: Path, capsys, monkeypatch) -> None:
    """Its second layer is a module that ends the process; the other run is trained."""
    (tmp_path / "deadly.py").write_text(
        "import os, torch\nclass Deadly(torch.nn.Module):\n    def forward(self, x):\n        os._exit(7)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    deadly = job(tmp_path, "deadly", "--model.encoder.activation", "deadly.Deadly", "--engine", "pyro")
    other = job(tmp_path, "b", "--epochs", "1")
    with pytest.raises(UnfinishedError, match=rf"its process ended with status 7, {DEATHS} times without"):
        train_runs([deadly, other], workers=2, progress=False)
    assert other.finished


@pytest.mark.slow
def test_a_stop_has_all_trainings_write_their_checkpoints(tmp_path: Path) -> None:
    """Ctrl-C for this process alone; its children end, each at a checkpoint, and the same again goes on."""
    jobs = [job(tmp_path, name, "--epochs", "100000") for name in "abc"]

    def stop() -> None:
        when_it_trains(jobs[1], lambda: os.kill(os.getpid(), signal.SIGINT)).join()

    stopper = when_it_trains(jobs[0], stop)
    with pytest.raises(KeyboardInterrupt):
        train_runs(jobs, workers=2, progress=False)
    stopper.join()
    for each in jobs[:2]:
        assert not each.finished
        with each.folder.locked():  # by nobody else
            assert each.folder.can_resume
    assert not jobs[2].folder.path.exists()
    assert not list(tmp_path.glob(".*.job"))


@pytest.mark.slow
def test_a_run_whose_folder_goes_away_is_one_failure(tmp_path: Path) -> None:
    gone, other = job(tmp_path, "gone", "--epochs", "100000", "--checkpoint_every", "0"), job(tmp_path, "b")
    remover = when_it_trains(gone, lambda: gone.folder.path.rename(tmp_path / "elsewhere"))
    with pytest.raises(UnfinishedError, match=r"gone: cannot write .*gone"):
        train_runs([gone, other], workers=2, progress=False)
    remover.join()
    assert other.finished


def test_damaged_words_about_a_finished_training_are_no_trouble(tmp_path: Path) -> None:
    done = job(tmp_path, "a", "--epochs", "1")
    done.train()
    for damage in ("", "{", "3", '{"options": 3}'):
        done.folder.command.write_text(damage)
        assert not done.finished
    for damage in ("epoch\nx\n", "epoch\n1\n", "epoch,step\n1,nan\n"):
        done.folder.metrics.write_text(damage)
        assert done.standing().step == 0
    done.train()
    assert done.finished
    assert done.standing().step > 0


def test_a_run_that_was_moved_knows_its_place(tmp_path: Path, monkeypatch) -> None:
    done = job(tmp_path / "one", "a", "--epochs", "1")
    done.train()
    before = weights(done)
    (tmp_path / "two").mkdir()
    done.folder.path.rename(tmp_path / "two" / "b")
    moved = job(tmp_path / "two", "b", "--epochs", "2")
    moved.train()
    assert [read_config(moved.folder)[name] for name in ("name", "runs_dir")] == ["b", str(tmp_path / "two")]
    assert not torch.equal(weights(moved), before)
    monkeypatch.chdir(moved.folder.path)
    arguments = parse_training(["--resume", "."])
    with open_training(arguments, load_training_data(arguments)):
        pass
    assert [read_config(moved.folder)[name] for name in ("name", "runs_dir")] == ["b", str(tmp_path / "two")]


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    whole, cut = job(tmp_path / "whole", "a"), job(tmp_path / "cut", "a")
    whole.train()
    arguments = cut.parse()
    create_run(arguments, load_training_data(arguments))
    again = parse_training(["--resume", str(cut.folder.path)])
    data = load_training_data(again)
    trainer, model = build_training(again, data)
    with open_training(again, data) as (folder, resume):
        assert not resume
        trainer.fit(model, data, folder, resume=resume, progress=False)
    assert torch.equal(weights(whole), weights(cut))
    cut.folder.checkpoint.unlink()
    cut.folder.previous_checkpoint.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"has weights but no checkpoint\.pt .* any more"), open_training(again, data):
        pass


def test_two_trainings_have_two_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 of the trainings have the same folder"):
        train_runs([job(tmp_path, "a"), job(tmp_path, "a", "--objective.beta", "4")])


def test_a_command_line_is_divided() -> None:
    own, others = divide_words(
        ["--betas", "[1,2]", "--epochs", "3", "--workers=2", "--data", "digits"], ["--betas", "--workers"]
    )
    assert own == ["--betas", "[1,2]", "--workers=2"]
    assert others == ["--epochs", "3", "--data", "digits"]
