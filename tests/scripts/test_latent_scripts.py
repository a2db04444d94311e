"""The scripts that look at a run: each draws its picture, and says in one line what it cannot do."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from made_runs import make_run

from pyrovae.data import ImageSet

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits: ImageSet) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    made = {
        "vae": make_run(folder, digits),
        "cvae": make_run(folder, digits, "--model", "CVAE"),
        "five": make_run(folder, digits, "--model.latent_dim", "5"),
        "one": make_run(folder, digits, "--model.latent_dim", "1"),
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
        ("interpolate.py", "autoencoder", ["--classes", "[[3,7]]", "--path", "spherical"], "interpolation.png"),
        ("latent_space.py", "vae", ["--masses", "[0.5,0.9]"], "class_ellipses.png"),
        ("latent_space.py", "vae", ["--images", "200", "--colours", "viridis"], "class_ellipses.png"),
        ("marginals.py", "five", ["--images", "[0,1]", "--dims", "[0,4]"], "marginals.png"),
        ("arithmetic.py", "five", ["--attribute", "class:3-vs:5", "--measured", "20"], "arithmetic-class-3-vs-5.png"),
        ("arithmetic.py", "cvae", ["--share", "0.2", "--alphas", "[-1,0,1]"], "arithmetic-slant.png"),
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


def test_runs_of_different_images_are_not_mixed(runs: dict[str, str], tmp_path, monkeypatch, capsys) -> None:
    other = tmp_path / "other"
    shutil.copytree(runs["five"], other)
    settings = (other / "config.yaml").read_text()
    meant = re.sub("  digest: .*\n", "", settings).replace("format: 2", "format: 1")
    (other / "config.yaml").write_text(meant.replace("data: digits", "data: mnist"))
    for script, argv in {
        "side_by_side.py": [f"[{runs['vae']},{other}]"],
        "interpolate.py": [runs["vae"], "--more", f"[{other}]"],
    }.items():
        with pytest.raises(SystemExit) as stopped:
            run_script(script, *argv, monkeypatch=monkeypatch)
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert f"{runs['vae']} is of digits (1, 8, 8) and {other} of mnist (1, 8, 8)" in err
        assert err.count("\n") == 1


def test_the_numbers_of_the_ellipses_are_kept(runs: dict[str, str], monkeypatch, capsys) -> None:
    run_script("latent_space.py", runs["vae"], monkeypatch=monkeypatch)
    out = capsys.readouterr().out
    assert "inside 0.5" in out
    assert "Bayes rule" in out
    numbers = json.loads((Path(runs["vae"]) / "figures" / "class_ellipses.json").read_text())
    assert len(numbers["classes"]) == 10
    assert 0 <= numbers["bayes_accuracy"] <= 1


def test_one_image_has_a_place_and_no_error(runs: dict[str, str], tmp_path: Path, monkeypatch, capsys) -> None:
    run_script(
        "latent_space.py", runs["vae"], "--images", "1", "--output", str(tmp_path / "one.png"), monkeypatch=monkeypatch
    )
    assert "nan" not in capsys.readouterr().out


def test_two_sets_of_codes_are_compared(runs: dict[str, str], monkeypatch, capsys) -> None:
    for against in ("halves", "train"):
        run_script("latent_space.py", runs["vae"], "--against", against, monkeypatch=monkeypatch)
        assert f"test against {against}: " in capsys.readouterr().out
        numbers = json.loads((Path(runs["vae"]) / "figures" / "class_ellipses.json").read_text())
        assert 0 <= numbers["agreement"]["p_value"] <= 1


def test_an_effect_is_printed_and_kept(runs: dict[str, str], monkeypatch, capsys) -> None:
    run_script("arithmetic.py", runs["vae"], "--alphas", "[0,1]", "--measured", "30", monkeypatch=monkeypatch)
    assert "slant, degrees" in capsys.readouterr().out
    numbers = json.loads((Path(runs["vae"]) / "figures" / "arithmetic-slant.json").read_text())
    assert numbers["effect"]["alphas"] == [0, 1]
    assert len(numbers["vector"]["vector"]) == 2


def test_codes_of_several_runs_side_by_side(runs: dict[str, str], tmp_path, monkeypatch, capsys) -> None:
    three, output = f"[{runs['autoencoder']},{runs['vae']},{runs['five']}]", tmp_path / "panels.pdf"
    argv = [three, "--titles", "[a,b,c]", "--images", "50", "--limit", "3", "--output", str(output)]
    run_script("side_by_side.py", *argv, monkeypatch=monkeypatch)
    assert output.read_bytes().startswith(b"%PDF")
    with pytest.raises(SystemExit):
        run_script("side_by_side.py", three, "--titles", "[a]", monkeypatch=monkeypatch)
    assert "each run needs its own title, got 3 runs and 1 titles" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "run", "argv", "message"),
    [
        ("generate.py", "vae", ["--classes", "[3]"], "cannot draw a chosen class: use a CVAE"),
        (
            "generate.py",
            "cvae",
            ["--classes", "[-1]"],
            "there is no class -1; did you mean 1?; the classes are 0",
        ),
        ("generate.py", "cvae", ["--classes", "[3,10]"], "labels of this model are 0 to 9, got 10"),
        ("generate.py", "cvae", ["--classes", "[]"], "classes must be a list of at least one value, got []"),
        ("generate.py", "vae", ["--rows", "0"], "rows must be a whole number of at least 1, got 0"),
        ("side_by_side.py", "[]", [], "runs must be a list of at least one value, got []"),
        ("traverse.py", "vae", ["--label", "1"], "this model does not look at labels, so label 1 would change nothing"),
        ("latent_space.py", "vae", ["--colours", "[red]"], "10 classes need as many colours to be told apart, got 1"),
        ("side_by_side.py", "[x]", ["--limit", "-1"], "limit must be a number above 0, got -1"),
        ("traverse.py", "cvae", ["--label", "10"], "labels of this model are 0 to 9, got 10"),
        ("reconstruct.py", "vae", ["--images", "[1000]"], "this split has images 0 to 299, got 1000"),
        ("traverse.py", "vae", ["--around", "class:x"], "there is no class x; the classes are 0, 1, 2"),
        ("traverse.py", "vae", ["--around", "class:12"], "class 12 has no images here; there are classes 0, 1"),
        ("traverse.py", "cvae", [], "conditional on a label: choose one from 0 to 9"),
        ("traverse.py", "vae", ["--every_class", "true"], "so a code has one image: use a CVAE"),
        ("interpolate.py", "vae", ["--path", "bent"], "path must be one of linear, spherical, quantile"),
        ("latent_space.py", "vae", ["--masses", "[1.5]"], "each of masses must be a number between 0 and 1, got 1.5"),
        ("latent_space.py", "vae", ["--classes", "[11]"], "class 11 has no images here"),
        ("latent_space.py", "five", ["--dims", "[0,5]"], "two different dimensions from 0 to 4"),
        ("latent_space.py", "vae", ["--output", "ellipses.gif"], "output must be a file that ends in .png, .svg, .pdf"),
        ("latent_space.py", "vae", ["--colours", "[nocolour]"], "colours must be names such as teal or #44AA99"),
        ("latent_space.py", "vae", ["--images", "0"], "images must be a whole number of at least 1, got 0"),
        ("latent_space.py", "autoencoder", ["--images", "15"], "is singular: it has 1 images in 2 dimensions"),
        ("latent_space.py", "autoencoder", ["--estimate", "averaged"], "is singular: it has"),
        ("latent_space.py", "one", [], "needs a code of at least two dimensions, this one has 1"),
        ("traverse.py", "one", [], "a grid needs a code of at least two dimensions, this one has 1: traverse its axes"),
        ("marginals.py", "autoencoder", [], "an autoencoder's code is a point"),
        ("marginals.py", "vae", ["--dims", "[2]"], "this code has dimensions 0 to 1, got"),
        ("arithmetic.py", "vae", ["--attribute", "smile"], "attribute must be one of thickness, slant"),
        ("arithmetic.py", "vae", ["--attribute", "class:11"], "class 11 has no images here"),
        ("arithmetic.py", "vae", ["--share", "0.9"], "above 0 and at most 0.5, got 0.9"),
        ("interpolate.py", "vae", ["--classes", "[[3,12]]"], "class 12 has no images here"),
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
