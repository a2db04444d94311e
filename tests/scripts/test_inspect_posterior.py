"""The scripts that inspect: tables, pictures, numbers and netCDF; and one line for what they cannot do."""

import builtins
import hashlib
import json
import runpy
import sys
from pathlib import Path

import pytest

from pyrovae.data import ImageSet
from pyrovae.factory.build import build_model, instantiate
from pyrovae.runs.config_file import create_run
from pyrovae.runs.training import parse_training
from pyrovae.training.weights import save_weights

SCRIPTS = Path(__file__).parents[2] / "scripts"


def make_run(folder: Path, digits: ImageSet, *argv: str) -> str:
    arguments = parse_training(["--runs_dir", str(folder), "--data", "digits", *argv])
    run = create_run(arguments, digits)
    model = build_model(instantiate(arguments).model, digits.image_shape, digits.num_classes, 0)
    save_weights(run.last_weights, model.state_dict())
    return str(run.path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits: ImageSet) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    grey = ["--pixels", "none", "--model.likelihood", "CrossEntropy"]
    return {
        "vae": make_run(folder, digits),
        "grey": make_run(folder, digits, *grey),
        "cvae": make_run(folder, digits, "--model", "CVAE", "--model.latent_dim", "3"),
        "autoencoder": make_run(folder, digits, "--model", "Autoencoder"),
    }


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> object:
    def run(name: str, *argv: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *argv])
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")

    return run


def contents(folder: str) -> dict[str, str]:
    """A hash of every file of a run but its figures."""
    files = [f for f in Path(folder).rglob("*") if f.is_file() and "figures" not in f.parts]
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_a_posterior_is_inspected_twice_alike(runs, run_script, capsys) -> None:
    before = contents(runs["vae"])
    for _ in range(2):
        run_script("inspect_posterior.py", runs["vae"], "--images", "[3,7]", "--draws", "50")
    head = "digits, split test, pixels dynamic, seed 0\n"
    first, second = capsys.readouterr().out.split(head)[1:]
    assert first == second
    assert "KL(q||p) = approximation +" in first
    assert "of pixels inside their 90% intervals" in first
    figures = Path(runs["vae"]) / "figures"
    names = ("posteriors.png", "posteriors-predictive.png", "posteriors.json", "posteriors.nc")
    assert all(str(figures / name) in first for name in names)
    assert (figures / "posteriors-predictive.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((figures / "posteriors.json").read_text())
    assert kept["images"] == [3, 7]
    assert len(kept["comparison"]["approximation"]["value"]) == 2
    assert contents(runs["vae"]) == before


def test_nuts_says_how_far_it_can_be_trusted(runs, run_script, tmp_path, capsys) -> None:
    argv = ["--images", "[5]", "--draws", "10", "--warmup", "10", "--ais", "5", "--output", str(tmp_path / "a.svg")]
    run_script("inspect_posterior.py", runs["cvae"], *argv)
    out = capsys.readouterr().out
    assert "NUTS: 4 chains of 10 draws for each image, R-hat up to" in out
    assert "warning: the effective number of draws" in out
    assert "truth by NUTS, log p(x) annealed, 5 temperatures from the prior, 16 chains" in out
    assert {f.name for f in tmp_path.iterdir()} == {"a.svg", "a.json", "a.nc", "a-predictive.svg"}
    assert json.loads((tmp_path / "a.json").read_text())["truth"]["warnings"]


def test_grey_pixels_and_no_arviz(runs, run_script, tmp_path, capsys, monkeypatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "arviz":
            raise ModuleNotFoundError("No module named 'arviz'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    argv = ["--images", "[5]", "--draws", "10", "--output", str(tmp_path / "a.png")]
    with pytest.raises(SystemExit) as stopped:
        run_script("inspect_posterior.py", runs["grey"], *argv)
    assert stopped.value.code == 2
    told = capsys.readouterr()
    assert "Gibbs posterior exp(-cross-entropy) p(z) / Z" in told.out
    assert "ArviZ is not installed: pip install arviz h5netcdf h5py" in told.err
    assert {f.name for f in tmp_path.iterdir()} == {"a.png", "a.json"}


def test_the_other_scripts_draw_and_keep(runs, run_script, tmp_path, capsys) -> None:
    run_script("calibrate.py", runs["vae"], "--images", "60", "--output", str(tmp_path / "c.png"))
    run_script("inpaint.py", runs["vae"], "--images", "[1,2]", "--seen", "top", "--output", str(tmp_path / "i.png"))
    run_script("classify.py", runs["cvae"], "--images", "20", "--samples", "2", "--output", str(tmp_path / "r.png"))
    out = capsys.readouterr().out
    assert "calibrated on 60 images of the model (95% bands)" in out
    assert "quadrature: 1,000 independent draws" in out
    assert "p(y | x) names the class of" in out
    assert {f.name for f in tmp_path.iterdir()} == {"c.png", "c.json", "i.png", "r.png", "r.json"}


@pytest.mark.parametrize(
    ("script", "run", "argv", "message"),
    [
        ("inspect_posterior.py", "vae", ["--images", "[300]"], "this split has images 0 to 299, got 300"),
        ("inspect_posterior.py", "vae", ["--images", "[]"], "images must be a list of at least one value, got []"),
        ("inspect_posterior.py", "autoencoder", [], "an autoencoder's code is a point"),
        ("inspect_posterior.py", "cvae", ["--method", "quadrature"], "this model has 3: use nuts_posterior"),
        ("inspect_posterior.py", "vae", ["--method", "magic"], "method must be one of auto, quadrature, nuts"),
        ("inspect_posterior.py", "cvae", ["--draws", "1"], "draws must be a whole number of at least 4, got 1"),
        ("inspect_posterior.py", "vae", ["--ais", "-1"], "ais must be a whole number of at least 0, got -1"),
        ("inspect_posterior.py", "nowhere", [], "does not exist; runs are folders that"),
        ("calibrate.py", "grey", [], "which is no density, so there are no draws of x"),
        ("classify.py", "vae", [], "this model does not look at labels"),
        ("inpaint.py", "vae", ["--seen", "middle"], "seen must be one of left, right, top, bottom"),
    ],
)
def test_mistakes_get_one_line(script: str, run: str, argv: list[str], message: str, runs, run_script, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_script(script, runs.get(run, run), *argv)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
