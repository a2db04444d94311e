"""The training script as its user meets it: a process, its words, its folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pyrovae

SCRIPT = Path(__file__).parents[2] / "scripts" / "svi_train.py"
QUICK = ["--data", "digits", "--engine", "pyro"]
FIGURES = {"loss", "reconstructions", "samples", "codes", "manifold"}


def run(*argv: str, cwd: Path, status: int = 0, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_a_run_leaves_a_folder_worth_looking_at(tmp_path: Path) -> None:
    done = run(*QUICK, "--epochs", "3", "--model", "CVAE", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("data: digits (1,372 train, 125 validation, 300 test images of 1×8×8)")
    assert lines[1].startswith("pixels: dynamic, chosen from the images")
    assert lines[2] == "run: runs/digits-cvae-2d"  # nothing to note
    assert any(line.startswith("test: -ELBO") for line in lines)
    assert "\r" not in done.stdout
    folder = tmp_path / "runs" / "digits-cvae-2d"
    for name in (
        "config.yaml",
        "metrics.csv",
        "model.safetensors",
        "model.best.safetensors",
        "checkpoint.pt",
        "test.json",
    ):
        assert (folder / name).stat().st_size > 0
    assert {p.stem for p in (folder / "figures").glob("*.png")} == FIGURES
    assert len((folder / "metrics.csv").read_text().splitlines()) == 4
    assert isinstance(pyrovae.load(folder), pyrovae.CVAE)
    refused = run(*QUICK, "--epochs", "3", "--name", "digits-cvae-2d", cwd=tmp_path, status=2)
    assert "already holds a run" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path: Path, how: signal.Signals) -> None:
    settings = [*QUICK, "--epochs", "40", "--checkpoint_every", "0.2"]
    run(*settings, "--name", "whole", cwd=tmp_path)
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *settings, "--name", "cut"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    checkpoint = tmp_path / "runs" / "cut" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.7)
    process.send_signal(how)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how), out
    if how == signal.SIGINT:
        assert f"resume with: python {SCRIPT} --resume runs/cut" in out
    assert torch.load(checkpoint, weights_only=True)["epoch"] < 40
    run("--resume", "runs/cut", cwd=tmp_path)
    for name in ("model.safetensors", "model.best.safetensors"):
        whole, cut = (load_file(tmp_path / "runs" / r / name) for r in ("whole", "cut"))
        assert all(torch.equal(whole[k], cut[k]) for k in whole)
    csv = [(tmp_path / "runs" / r / "metrics.csv").read_text().splitlines() for r in ("whole", "cut")]
    timeless = [[line.rsplit(",", 2)[0] for line in lines] for lines in csv]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "mnits"], "did you mean mnist?"),
        (["--data", "folder:nowhere"], "nowhere"),
        (["--data", "kmnist", "--data-dir", "here"], "kmnist not found"),
        (["--device", "cuda:9"], "device 'cuda:9' does not exist here"),
        (["--data", "digits", "--pixels", "none"], "Bernoulli scores pixels that are 0 or 1"),
        (["--resume", "runs/none"], "runs/none does not exist"),
        (["--data", "digits", "--optimizer", "SGD", "--optimizer.lr", "-1"], "cannot be made: Invalid learning rate"),
        (["--data", "digits", "--seed", "10000000000000000000"], "seed must be a whole number from 0 to 4294967295"),
        (["--model", "CVAE", "--data", "folder:flat"], "needs images of at least two classes, got 1: use a VAE"),
        (["--data", "digits", "--data.labels", "105"], "must be a multiple of the 10 classes of digits"),
        (["--data", "folder:flat", "--data_labels", "2"], "labels can be kept of a set with at least two classes"),
        (["--data", "digits", "--data_labels", "100"], "and VAE sums over no classes: choose --model SemiSupervised"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_line_and_status_2(tmp_path: Path, argv: list[str], message: str) -> None:
    from PIL import Image

    (tmp_path / "flat").mkdir()
    for i in range(12):
        Image.new("L", (8, 8), i).save(tmp_path / "flat" / f"{i}.png")
    done = run(*argv, cwd=tmp_path, status=2, env={"https_proxy": "http://127.0.0.1:9", "http_proxy": ""})
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_part_in_the_users_own_file(tmp_path: Path) -> None:
    """Trained, saved, refused by a cautious load, loaded by a trusting one, and looked at."""
    (tmp_path / "mypriors.py").write_text(
        "import pyro.distributions as dist\n"
        "import torch\n"
        "from pyrovae.priors import Prior\n\n\n"
        "class Wide(Prior):\n"
        "    def __init__(self, shapes, scale: float = 1.0):\n"
        "        super().__init__()\n"
        "        self.register_buffer('loc', torch.zeros(shapes.latent_dim))\n"
        "        self.scale = scale\n\n"
        "    def forward(self, y=None):\n"
        "        return dist.Laplace(self.loc, self.scale).to_event(1)\n"
    )
    own = ["--model.prior", "mypriors.Wide", "--model.prior.scale", "0.5"]
    run(*QUICK, "--epochs", "2", *own, "--name", "mine", cwd=tmp_path)
    folder = tmp_path / "runs" / "mine"
    assert {p.stem for p in (folder / "figures").glob("*.png")} == FIGURES
    with pytest.raises(ValueError, match="needs code that is not pyrovae's: mypriors"):
        pyrovae.load(folder)
    code = "import pyrovae; print(pyrovae.load('runs/mine', allow_code=True).prior.scale)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.5"
