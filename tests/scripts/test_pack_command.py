"""A folder of pictures to a pack, a trained model and its figures, by the commands."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run_script(name: str, *argv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *argv])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    for i in range(60):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_a_packed_folder_is_trained_on_and_analysed(photos: Path, monkeypatch, capsys) -> None:
    run_script("pack.py", "photos", "packed", "--image_size", "8", "--progress", "false", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "ImageSet('pack:packed': 46 train, 4 validation, 10 test images of 3×8×8, 2 classes)" in printed
    assert f"train on it: python {SCRIPTS}/svi_train.py --data pack:packed" in printed
    training = ("--epochs", "2", "--engine", "pyro", "--progress", "false", "--model.likelihood", "DiscretizedLogistic")
    run_script("svi_train.py", "--data", "pack:packed", *training, monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "mapped into memory" in printed
    assert "pixels: none, chosen from the images" in printed
    assert {path.stem for path in Path("runs/pack-packed-vae-2d-discretizedlogistic-likelihood/figures").iterdir()} >= {
        "codes",
        "manifold",
        "samples",
    }
    run_script("latent_space.py", "runs/pack-packed-vae-2d-discretizedlogistic-likelihood", monkeypatch=monkeypatch)
    assert (
        Path("runs/pack-packed-vae-2d-discretizedlogistic-likelihood/figures/class_ellipses.png").stat().st_size > 1000
    )
    run_script("pack.py", "packed", "--check", "true", monkeypatch=monkeypatch)
    assert "packed is as it was written" in capsys.readouterr().out


DATASET = """
import numpy as np
class Few:
    def __len__(self): return 30
    def __getitem__(self, i): return np.full((4, 4), 8 * i, np.uint8), i % 2
class Broken(Few):
    def __getitem__(self, i): return 1 / (i - 17)
"""


def test_a_dataset_of_a_module_is_packed(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "own_datasets.py").write_text(DATASET)
    monkeypatch.chdir(tmp_path)
    run_script("pack.py", "dataset:own_datasets.Few", "few", "--progress", "false", monkeypatch=monkeypatch)
    assert "images of 1×4×4, 2 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos"], f"OUT, the folder of the pack, must be given: python {SCRIPTS}/pack.py photos OUT"),
        (["photos", "photos"], "photos exists already: remove it, or pack to another folder"),
        (["nowhere", "out"], "data must be one of"),
        (["folder:nowhere", "out"], "there is no such folder; check the path"),
        (["photos", "out", "--labels", "y.npy"], "labels go with an array or a .npy file"),
        (["dataset:no.Such", "out"], "in a module of the working folder, got dataset:no.Such"),
        (["digits", "out", "--scaling", "log"], "scaling must be one of standard, unit, none, got 'log'"),
        (["nowhere", "--check", "true"], f"nowhere does not exist; make it (python {SCRIPTS}/pack.py SOURCE nowhere)"),
        (["photos", "--check", "true"], "photos has no manifest.json: it is no pack"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(words, message, photos: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        run_script("pack.py", *words, monkeypatch=monkeypatch)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.strip().count("\n") == 0
    assert not Path("out").exists()
