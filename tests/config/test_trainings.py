"""Many trainings: the same bits as one by one, what is there is skipped, and what was cut off goes on."""

import json
from pathlib import Path

import pytest
import torch

import pyrovae
from pyrovae import config
from pyrovae.config.trainings import train_run
from pyrovae.training import RunFolder

SMALL = ("--data", "digits", "--epochs", "2", "--engine", "pyro", "--model.encoder.hidden", "[8]")


def command(folder: Path, name: str, *more: str) -> list[str]:
    return [*SMALL, "--runs_dir", str(folder), "--name", name, *more]


def weights(path: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for value in pyrovae.load(path, which="last").state_dict().values()])


@pytest.mark.slow
def test_a_run_is_trained_once_and_is_the_same_in_a_pool(tmp_path: Path, capsys) -> None:
    alone = train_run(command(tmp_path / "alone", "a"))
    paths = config.train_runs([command(tmp_path / "pool", name) for name in ("a", "b")], workers=2)
    assert [path.name for path in paths] == ["a", "b"]
    assert torch.equal(weights(alone), weights(paths[0]))
    assert json.loads((paths[1] / "test.json").read_text())["images"] == 300
    capsys.readouterr()
    stamps = [(path / "model.safetensors").stat().st_mtime_ns for path in paths]
    assert config.train_runs([command(tmp_path / "pool", name) for name in ("a", "b")], workers=2) == paths
    assert [(path / "model.safetensors").stat().st_mtime_ns for path in paths] == stamps
    assert capsys.readouterr().out == ""


def test_what_was_cut_off_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = train_run(command(tmp_path, "whole"))
    first = command(tmp_path, "cut")
    first[first.index("--epochs") + 1] = "1"
    cut = train_run(first)
    (cut / "test.json").unlink()
    train_run(command(tmp_path, "cut"))  # epochs may differ when a run goes on
    assert torch.equal(weights(whole), weights(cut))
    # Stopped before the first checkpoint: begun again.
    for file in (cut / "checkpoint.pt", cut / "model.safetensors", cut / "test.json"):
        file.unlink()
    assert torch.equal(weights(train_run(command(tmp_path, "cut"))), weights(whole))


def test_a_folder_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    train_run(command(tmp_path, "a"))
    with pytest.raises(ValueError, match=r"beta: 4\.0 would change"):
        config.train_runs([command(tmp_path, "a", "--objective.beta", "4")])
    with pytest.raises(ValueError, match="needs a --name"):
        config.train_runs([["--data", "digits"]])


@pytest.mark.slow
def test_a_training_that_fails_ends_the_others_with_its_words(tmp_path: Path) -> None:
    broken = command(tmp_path, "broken", "--optimizer.lr", "1e30")
    with pytest.raises(ValueError, match="training broke in epoch"):
        config.train_runs([broken], progress=False)
    assert RunFolder(tmp_path / "broken").config.exists()


def test_a_command_line_is_divided() -> None:
    own, others = config.divide_words(
        ["--betas", "[1,2]", "--epochs", "3", "--workers=2", "--data", "digits"], ["--betas", "--workers"]
    )
    assert own == ["--betas", "[1,2]", "--workers=2"]
    assert others == ["--epochs", "3", "--data", "digits"]
