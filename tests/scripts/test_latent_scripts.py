"""The scripts that look at a run: each draws its picture, and says in one line what it cannot do."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from pyrovae import config
from pyrovae.data import ImageSet
from pyrovae.training import RunFolder
from pyrovae.training.run_folder import save_weights

SCRIPTS = Path(__file__).parents[2] / "scripts"


def make_run(folder: Path, digits: ImageSet, *argv: str) -> RunFolder:
    arguments = config.parse_training(["--runs_dir", str(folder), "--data", "digits", *argv])
    run = config.create_run(arguments, digits)
    model = config.build_model(config.instantiate(arguments).model, digits.image_shape, digits.num_classes, 0)
    save_weights(run.last_weights, model.state_dict())
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits: ImageSet) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    made = {
        "vae": make_run(folder, digits),
        "cvae": make_run(folder, digits, "--model", "CVAE"),
        "five": make_run(folder, digits, "--model.latent_dim", "5"),
        "autoencoder": make_run(folder, digits, "--model", "Autoencoder"),
    }
    return {name: str(run.path) for name, run in made.items()}


def run_script(name: str, *argv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *argv])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


@pytest.mark.parametrize(
    ("script", "run", "argv", "picture"),
    [
        ("generate.py", "vae", ["--rows", "2", "--columns", "3"], "generated.png"),
        ("generate.py", "cvae", ["--classes", "[9,9]"], "generated.png"),
        ("generate.py", "autoencoder", [], "generated.png"),
        ("reconstruct.py", "cvae", ["--images", "[0,5]", "--split", "train"], "reconstructed.png"),
        ("traverse.py", "vae", ["--around", "class:9", "--rows", "3"], "traversal.png"),
        ("traverse.py", "five", ["--around", "image:12", "--axes", "true", "--columns", "5"], "traversal.png"),
        ("traverse.py", "cvae", ["--label", "9", "--columns", "2"], "traversal.png"),
        ("traverse.py", "cvae", ["--every_class", "true", "--rows", "3"], "traversal.png"),
        ("interpolate.py", "cvae", ["--pairs", "[[3,7]]", "--path", "quantile"], "interpolation.png"),
        ("latent_space.py", "vae", ["--masses", "[0.5,0.9]"], "class_ellipses.png"),
        ("latent_space.py", "five", ["--plane", "lda", "--split", "train"], "class_ellipses.png"),
        ("latent_space.py", "cvae", ["--estimate", "averaged", "--classes", "[3,8]"], "class_ellipses.png"),
    ],
)
def test_a_picture_is_drawn(
    script: str, run: str, argv: list[str], picture: str, runs: dict[str, str], monkeypatch, capsys
) -> None:
    expected = Path(runs[run]) / "figures" / picture
    expected.unlink(missing_ok=True)
    run_script(script, runs[run], *argv, monkeypatch=monkeypatch)
    assert expected.read_bytes().startswith(b"\x89PNG")
    assert str(expected) in capsys.readouterr().out


def test_several_runs_side_by_side_and_files_by_their_ending(runs: dict[str, str], tmp_path, monkeypatch) -> None:
    output = tmp_path / "lines.svg"
    more = f"[{runs['autoencoder']}]"
    run_script("interpolate.py", runs["vae"], "--more", more, "--output", str(output), monkeypatch=monkeypatch)
    assert output.read_text().startswith("<?xml")


def test_the_numbers_of_the_ellipses_are_kept(runs: dict[str, str], monkeypatch, capsys) -> None:
    run_script("latent_space.py", runs["vae"], monkeypatch=monkeypatch)
    out = capsys.readouterr().out
    assert "inside 0.5" in out
    assert "Bayes rule" in out
    numbers = json.loads((Path(runs["vae"]) / "figures" / "class_ellipses.json").read_text())
    assert len(numbers["classes"]) == 10
    assert 0 <= numbers["bayes_accuracy"] <= 1


def test_an_evaluation_is_printed_and_kept(runs: dict[str, str], monkeypatch, capsys) -> None:
    argv = ["--images", "20", "--samples", "50", "--points", "20"]
    for _ in range(2):
        run_script("evaluate.py", runs["vae"], *argv, monkeypatch=monkeypatch)
    first, second = capsys.readouterr().out.strip().split("digits, split test, pixels dynamic, seed 0\n")[1:]
    assert first.strip() == second.strip()
    assert "importance-weighted, k = 50, 20 images" in first
    assert "quadrature, 20 x 20 points" in first
    kept = json.loads((Path(runs["vae"]) / "evaluation-test.json").read_text())
    assert [e["images"] for e in kept["likelihood"]] == [20, 20]
    run_script("evaluate.py", runs["autoencoder"], monkeypatch=monkeypatch)
    assert "no log p(x): an autoencoder has no density of codes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "run", "argv", "message"),
    [
        ("generate.py", "vae", ["--classes", "[3]"], "cannot draw a chosen class: use a CVAE"),
        ("reconstruct.py", "vae", ["--images", "[1000]"], "this split has images 0 to 299, got 1000"),
        ("traverse.py", "vae", ["--around", "class:x"], "around must be origin, class:LABEL or image:NUMBER"),
        ("traverse.py", "vae", ["--around", "class:12"], "no test image is of class 12; the classes are 0 to 9"),
        ("traverse.py", "cvae", [], "conditional on a label: choose one from 0 to 9"),
        ("traverse.py", "vae", ["--every_class", "true"], "so a code has one image: use a CVAE"),
        ("interpolate.py", "vae", ["--path", "bent"], "path must be one of linear, spherical, quantile"),
        ("latent_space.py", "vae", ["--masses", "[1.5]"], "must be a probability between 0 and 1, got 1.5"),
        ("latent_space.py", "vae", ["--classes", "[11]"], "class 11 has no images here"),
        ("latent_space.py", "five", ["--dims", "[0,5]"], "two different dimensions from 0 to 4"),
        ("latent_space.py", "vae", ["--output", "ellipses.gif"], "a figure is saved as .png, .svg, .pdf"),
        ("latent_space.py", "nowhere", [], "does not exist; runs are folders that"),
    ],
)
def test_mistakes_get_one_line(
    script: str, run: str, argv: list[str], message: str, runs: dict[str, str], monkeypatch, capsys
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_script(script, runs.get(run, run), *argv, monkeypatch=monkeypatch)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
