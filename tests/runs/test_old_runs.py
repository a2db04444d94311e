"""Runs that an older version wrote load, and resume, through the table of old names."""

from pathlib import Path

import torch
import yaml

import pyrovae
from pyrovae.factory.old_names import renewed
from pyrovae.runs import Job, parse_training, read_config
from pyrovae.training import RunFolder

OPTIONS = (
    *("--data", "digits", "--engine", "pyro", "--epochs", "2", "--model.encoder.hidden", "[8]"),
    *("--model.prior", "GaussianMixture"),
)


def aged(folder: RunFolder) -> None:
    """Write a run's settings as version 0.1 did."""
    raw = yaml.safe_load(folder.config.read_text())
    arguments = raw["model"]["init_args"]["prior"]["init_args"]
    arguments["spread"] = arguments.pop("init_scale")
    del raw["run"]["digest"]
    raw["run"]["format"] = 1
    folder.config.write_text(yaml.safe_dump(raw, sort_keys=False))


def test_an_old_run_loads_and_goes_on(tmp_path: Path) -> None:
    job = Job(RunFolder(tmp_path / "old"), (*OPTIONS, "--model.prior.init_scale", "0.5"))
    job.train()
    before = pyrovae.load(job.folder.path, which="last").state_dict()
    aged(job.folder)
    assert read_config(job.folder)["model"]["init_args"]["prior"]["init_args"]["init_scale"] == 0.5
    after = pyrovae.load(job.folder.path, which="last").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    resumed = parse_training(["--resume", str(job.folder.path), "--epochs", "3"])
    assert resumed.model.init_args.prior.init_args.init_scale == 0.5


def test_old_options_and_files_of_settings_are_taken(tmp_path: Path) -> None:
    found = parse_training([*OPTIONS, "--model.prior.spread", "0.25"])
    assert found.model.init_args.prior.init_args.init_scale == 0.25
    settings = tmp_path / "my.yaml"
    prior = {"class_path": "pyrovae.priors.GaussianMixture", "init_args": {"spread": 2.0}}
    settings.write_text(yaml.safe_dump({"model": {"class_path": "pyrovae.VAE", "init_args": {"prior": prior}}}))
    found = parse_training(["--config", str(settings)])
    assert found.model.init_args.prior.init_args.init_scale == 2.0


def test_what_is_of_today_stays() -> None:
    today = {"class_path": "pyrovae.priors.GaussianMixture", "init_args": {"init_scale": 1.0, "components": 3}}
    assert renewed([today, 3, "spread"]) == [today, 3, "spread"]
