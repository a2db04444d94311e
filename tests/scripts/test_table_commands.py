"""From a table to a trained model and its pictures, by the commands."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyrovae
from pyrovae.cli import compare as compare_command
from pyrovae.cli import impute as impute_command
from pyrovae.data import from_values, load_images
from pyrovae.factory.build import build_model, instantiate
from pyrovae.inference import imputation
from pyrovae.runs import figures
from pyrovae.runs.config_file import create_run, run_info
from pyrovae.runs.loading import load_data, open_run
from pyrovae.runs.rows import load_rows
from pyrovae.runs.scaling_file import check_scaling, read_scaling, scaling_text
from pyrovae.runs.training import load_training_data, parse_training
from pyrovae.training import RunFolder
from pyrovae.training.weights import save_weights

SCRIPTS = Path(__file__).parents[2] / "scripts"
TRAIN = ("--engine", "pyro", "--epochs", "2", "--progress", "false", "--runs_dir", "runs")
NORMAL = ("--model.likelihood", "Normal", "--model.likelihood.noise", "per_pixel")


def run_script(name: str, *argv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *argv])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


def write_table(path: Path, rows: int = 90, missing: float = 0.0, shift: float = 0.0) -> Path:
    """Five columns, two of which go together, and words as labels."""
    rng = np.random.default_rng(0)
    code = rng.normal(size=(rows, 2))
    x = code @ rng.normal(size=(2, 5)) * [1, 10, 100, 1, 1] + [0, 50, -300, 1, 2] + 0.1 * rng.normal(size=(rows, 5))
    x[:, 0] += shift * np.arange(rows)
    hidden = rng.random(x.shape) < missing
    lines = ["a,b,c,d,e,kind"]
    for row, hide, z in zip(x, hidden, code, strict=True):
        numbers = ["" if h else f"{value:.6g}" for value, h in zip(row, hide, strict=True)]
        lines.append(",".join([*numbers, "up" if z[0] > 0 else "down"]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    table = write_table(folder / "mine.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_script(
            "svi_train.py", "--data", f"table:{table}", "--data.label", "kind", *NORMAL, *TRAIN, monkeypatch=patch
        )
    return folder / "runs" / "mine-vae-2d-normal-likelihood"


def test_titles_name_the_columns_that_are_bars_and_the_rows_that_are_drawn() -> None:
    values = np.random.default_rng(0).normal(size=(60, 3))
    data = from_values(values, columns=("a", "b", "c"))
    assert figures.with_columns("samples", data) == "samples\nbars: a, b, c, scaled"
    raw = from_values(values, columns=("a", "b" * 80, "c"), scaling="none")
    assert figures.with_columns("samples", raw) == "samples\nbars: the columns in their order"
    assert figures.with_columns("samples", from_values(np.zeros((60, 41)) + values[:, :1])) == "samples"
    assert figures._drawn(data) == "test rows"
    assert figures._drawn(replace(data, splits={**data.splits, "test": data.splits["test"][:0]})) == "train rows"
    assert figures._drawn(load_images("digits")) == "test images"


def test_a_table_leaves_a_run_with_its_scaling(run: Path) -> None:
    folder = RunFolder(run)
    data, scaling = load_data(run), read_scaling(folder)
    assert scaling is not None
    assert scaling.columns == ("a", "b", "c", "d", "e")
    assert torch.equal(scaling.shift, data.scaling.shift)
    assert yaml.safe_load(folder.config.read_text())["pixels"] == "none"
    assert {p.stem for p in folder.figures.glob("*.png")} == {
        "loss", "reconstructions", "samples", "columns", "codes", "manifold",
    }  # fmt: skip
    assert pyrovae.load(run).shapes.image_shape == (1, 1, 5)


@pytest.mark.parametrize(
    ("script", "argv", "picture"),
    [
        ("generate.py", ["--rows", "2", "--columns", "3"], "generated.png"),
        ("reconstruct.py", ["--images", "[0,1]"], "reconstructed.png"),
        ("traverse.py", [], "traversal.png"),
        ("latent_space.py", [], "class_ellipses.png"),
        ("arithmetic.py", ["--attribute", "class:0", "--images", "[0,1]"], "arithmetic-class-0.png"),
        ("marginals.py", ["--images", "[0,1]"], "marginals.png"),
        ("inpaint.py", ["--images", "[0,1]"], "inpainted.png"),
        ("inspect_posterior.py", ["--images", "[0]", "--method", "quadrature"], "posteriors.png"),
    ],
)
def test_the_pictures_of_a_table(run: Path, script: str, argv: list[str], picture: str, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    run_script(script, str(run), *argv, monkeypatch=monkeypatch)
    assert (run / "figures" / picture).stat().st_size > 1000


def test_the_report_of_a_table(run: Path, monkeypatch, capsys) -> None:
    run_script("evaluate.py", str(run), "--images", "10", "--samples", "50", "--points", "40", monkeypatch=monkeypatch)
    assert "log p(x) at least" in capsys.readouterr().out


def test_a_resumed_run_is_the_one_that_was_never_stopped(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = f"table:{run.parents[1] / 'mine.csv'}"
    argv = ("--data", table, "--data_label", "kind", *NORMAL, *TRAIN)
    run_script("svi_train.py", *argv, "--epochs", "4", "--name", "whole", monkeypatch=monkeypatch)
    run_script("svi_train.py", *argv, "--name", "parts", monkeypatch=monkeypatch)
    run_script("svi_train.py", "--resume", "runs/parts", "--epochs", "4", monkeypatch=monkeypatch)
    one, other = (pyrovae.load(f"runs/{name}", which="last").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--data_label kind"),
        (["--data.label", "kind"], "for values choose --model.likelihood Normal --model.likelihood.noise per_pixel"),
        (["--data.label", "sort"], "has no column 'sort'"),
        (["--data.label", "kind", "--data.scaling", "standart"], "did you mean standard?"),
        (["--data.label", "kind", *NORMAL, "--model.encoder", "ConvEncoder"], "use an MLP"),
    ],
)
def test_mistakes_get_one_line(argv: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "mine.csv")
    with pytest.raises(SystemExit) as stopped:
        run_script("svi_train.py", "--data", "table:mine.csv", *argv, *TRAIN, monkeypatch=monkeypatch)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_table_that_has_changed_is_refused(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ("--data", "table:mine.csv", "--data.label", "kind", *NORMAL, *TRAIN, "--name", "changed")
    write_table(tmp_path / "mine.csv")
    run_script("svi_train.py", *argv, monkeypatch=monkeypatch)
    write_table(tmp_path / "mine.csv", shift=0.01)
    with pytest.raises(ValueError, match=r"was trained on other values than table:mine\.csv now has: put back"):
        open_run("runs/changed")
    with pytest.raises(SystemExit):
        run_script("svi_train.py", "--resume", "runs/changed", "--epochs", "3", monkeypatch=monkeypatch)
    assert "was trained on other values" in capsys.readouterr().err
    (tmp_path / "runs/changed/scaling.json").write_text("{}")
    with pytest.raises(ValueError, match=r"scaling.json is damaged .* put back the file"):
        open_run("runs/changed")


@pytest.mark.parametrize("scaling", ["none", "unit", "standard"])
def test_other_values_are_noticed_under_every_scaling(scaling: str, tmp_path: Path) -> None:
    """Whatever their magnitude, and where the ends of their range are the same."""
    rng = np.random.default_rng(0)
    for magnitude in (1e-12, 1.0, 1e12):
        x = magnitude * rng.normal(size=(60, 3))
        data = from_values(x, scaling=scaling)
        folder = RunFolder(tmp_path)
        folder.scaling.write_text(scaling_text(data))
        check_scaling(folder, data)
        row, between = data.splits["train"][5], np.sort(x, 0)[25]
        other = x.copy()
        other[row] = between
        with pytest.raises(ValueError, match="was trained on other values than values now has"):
            check_scaling(folder, from_values(other, scaling=scaling))
        with pytest.raises(ValueError, match=r"was trained on other columns \(their order\)|other columns"):
            check_scaling(folder, from_values(x, columns=["2", "0", "1"], scaling=scaling))
        with pytest.raises(ValueError, match=r"was trained on values, and arrays now holds grey images: put back"):
            check_scaling(folder, pyrovae.ImageSet.from_arrays(np.zeros((60, 3, 3), np.uint8)))
    folder.scaling.unlink()
    with pytest.raises(ValueError, match=r"was trained on grey images, and values now holds values"):
        check_scaling(folder, data)


def test_another_table_is_imputed_with_the_columns_scaling_and_classes_of_the_run(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    """In whatever order its columns are: each value comes out in its own column, and each class under its own name."""
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    frame = pandas.read_csv(write_table(tmp_path / "mine.csv", missing=0.2)).assign(kind=["b", "a", "c"] * 30, id=7)
    frame.to_csv("mine.csv", index=False)
    argv = ("--data", "table:mine.csv", "--data.label", "kind", "--data.skip", "[id]", "--name", "m", *NORMAL, *TRAIN)
    run_script("svi_train.py", *argv, "--model", "CVAE", "--model.missing", "zeros", monkeypatch=monkeypatch)
    data = load_data("runs/m")
    rows = frame.iloc[[1, 2, 4, 5, 7, 8]]  # of two classes, whose numbers in a table of their own would be 0 and 1
    shuffled = rows[["e", "kind", "b", "id", "a", "d", "c"]]
    shuffled.to_csv("other.csv", index=False)
    split = load_rows("runs/m", "other.csv")
    assert torch.equal(split.images.nan_to_num(9), data.images[list(rows.index)].nan_to_num(9))
    assert split.labels.tolist() == data.labels[list(rows.index)].tolist() == [0, 2] * 3
    run_script("impute.py", "runs/m", "--table", "other.csv", "--samples", "50", monkeypatch=monkeypatch)
    found = pandas.read_csv("runs/m/figures/imputed-other.csv")
    assert list(found.columns) == ["a", "b", "c", "d", "e", "kind"]
    assert found["kind"].tolist() == rows["kind"].tolist()
    for column in "abcde":
        seen = rows[column].notna().to_numpy()
        np.testing.assert_allclose(found[column][seen], rows[column][seen], rtol=1e-5, atol=1e-5)
    for change, message in (
        (lambda t: t.rename(columns={"b": "bb"}), "must have the columns a, b, c, d, e, and lacks b: add or name them"),
        (lambda t: t.assign(f=1), r"must have the columns a, b, c, d, e, and has f too: leave them out (--skip '[f]')"),
        (lambda t: t.assign(kind="d"), "must be classes of the model, a, b, c, got d: correct it, or leave it empty"),
        (lambda t: t.drop(columns="kind"), "has 6 rows without a label, which this model needs: label them (kind)"),
        (lambda t: t.fillna(1), "other.csv has no value that is missing: there is nothing to impute"),
        (lambda t: t.assign(a=np.inf), "must be finite, or NaN where they are missing"),
    ):
        change(shuffled).to_csv("other.csv", index=False)
        with pytest.raises(SystemExit):
            run_script("impute.py", "runs/m", "--table", "other.csv", monkeypatch=monkeypatch)
        assert message in capsys.readouterr().err


def test_runs_of_other_units_columns_or_labels_are_not_compared(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "mine.csv")
    labelled = ("--data", "table:mine.csv", "--data.label", "kind")
    for name, argv in {
        "one": (*labelled,),
        "same": (*labelled, "--seed", "3"),
        "raw": (*labelled, "--data.scaling", "none"),
        "unlabelled": ("--data", "table:mine.csv", "--data.skip", "[kind]"),
        "cvae": (*labelled, "--model", "CVAE"),
        "b": (*labelled, "--data.skip", "[b]"),
        "a": (*labelled, "--data.skip", "[a]"),
    }.items():
        arguments = parse_training([*argv, *NORMAL, *TRAIN, "--name", name])
        data = load_training_data(arguments)
        run = create_run(arguments, data)
        model = build_model(instantiate(arguments).model, data.image_shape, data.num_classes, 0)
        save_weights(run.last_weights, model.state_dict())
    for pair, message in (
        (("one", "same"), None),
        (("one", "unlabelled"), None),  # neither of which reads them
        (("one", "raw"), "are looked at together on the same values: runs/one is of table:mine.csv scaled by standard"),
        (("a", "b"), "are looked at together on the same values"),
        (("unlabelled", "cvae"), "with the same labels: those of runs/unlabelled are none and those of runs/cvae kind"),
    ):
        monkeypatch.setattr(sys, "argv", ["compare", *(f"runs/{name}" for name in pair)])
        if message is None:
            compare_command.main()
            continue
        with pytest.raises(ValueError, match=message):
            compare_command.main()
    capsys.readouterr()


def test_columns_that_are_named_by_numbers_are_left_out_by_these(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.random.default_rng(0).normal(size=(30, 4)))
    arguments = parse_training(["--data", "table:a.npy", "--data.skip", "[0,2]", *NORMAL, *TRAIN, "--name", "a"])
    data = load_training_data(arguments)
    assert data.columns == ("1", "3")
    create_run(arguments, data)
    assert run_info("runs/a").skip == ("0", "2")
    assert load_data("runs/a").columns == ("1", "3")


def test_a_completed_table_has_the_digits_of_the_table() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([
        rng.integers(20200101, 20241231, 60), 1.6e9 + rng.integers(0, 9999, 60), rng.normal(size=60).round(3),
        rng.integers(0, 5, 60), np.full(60, 0.1), 1e-12 * rng.normal(size=60),
    ], 1).astype(float)  # fmt: skip
    for scaling in ("standard", "unit"):
        data = from_values(x, scaling=scaling)
        texts = impute_command._texts(data.images.flatten(1).numpy(), data.scaling)
        found = np.array(texts, dtype=float)
        assert np.array_equal(found[:, :5], x[:, :5])
        np.testing.assert_allclose(found[:, 5], x[:, 5], atol=1e-18)


def test_the_column_of_labels_has_a_name_of_its_own() -> None:
    assert impute_command._label_name("kind", ("a", "b")) == "kind"
    assert impute_command._label_name(None, ("label", "label_")) == "label__"


def test_counts_are_scored_as_counts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "counts.npy", np.random.default_rng(0).poisson(3, (60, 6)))
    likelihood = ("--model.likelihood", "NegativeBinomial", "--model.likelihood.levels", "1")
    argv = ("--data", "table:counts.npy", "--data.scaling", "none", *likelihood, *TRAIN)
    run_script("svi_train.py", *argv, monkeypatch=monkeypatch)
    assert open_run("runs/counts-vae-2d-negativebinomial-likelihood").model.likelihood.levels == 1


def test_three_commands_from_a_table_with_holes_to_imputations_and_a_picture(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "mine.csv", missing=0.3)
    argv = ("--data", "table:mine.csv", "--data.label", "kind", *NORMAL, "--model.missing", "mask", *TRAIN)
    run_script("svi_train.py", *argv, monkeypatch=monkeypatch)
    run_script(
        "impute.py", "runs/mine-vae-2d-normal-likelihood", "--samples", "100", "--draws", "5", monkeypatch=monkeypatch
    )
    assert "; intervals are the model's own, as the validation rows have " in capsys.readouterr().out
    run_script("latent_space.py", "runs/mine-vae-2d-normal-likelihood", monkeypatch=monkeypatch)
    figures = tmp_path / "runs/mine-vae-2d-normal-likelihood/figures"
    assert (figures / "imputed.png").stat().st_size > 1000
    assert (figures / "class_ellipses.png").stat().st_size > 1000
    before, after = ((p.read_text().splitlines()) for p in (tmp_path / "mine.csv", figures / "imputed.csv"))
    assert after[0] == "a,b,c,d,e,kind"
    for old, new in zip(before[1:], after[1:], strict=True):
        for one, other in zip(old.split(",")[:5], new.split(",")[:5], strict=True):
            assert np.isfinite(float(other))
            assert not one or float(other) == pytest.approx(float(one), rel=1e-5, abs=1e-5)
        assert old.split(",")[-1] == new.split(",")[-1]
    values = (figures / "imputed-values.csv").read_text().splitlines()
    assert values[0] == "row,column,mean,low 0.9,high 0.9"
    assert len(values) - 1 == sum(not cell for line in before[1:] for cell in line.split(","))
    assert all(float(low) < float(high) for *_, low, high in (line.split(",") for line in values[1:]))
    for module in (impute_command, imputation):
        monkeypatch.setattr(module, "LEAST_HELD_OUT", 5)
    for word in ("true", "false"):
        argv_of = ("runs/mine-vae-2d-normal-likelihood", "--samples", "100", "--calibrate", word)
        run_script("impute.py", *argv_of, monkeypatch=monkeypatch)
        out = capsys.readouterr().out
        assert ("by rows held out, where the model by itself says" in out) == (word == "true")
        assert "intervals are the model's own" not in out
    # A run with holes resumes like any other.
    run_script("svi_train.py", *argv, "--epochs", "4", "--name", "whole", monkeypatch=monkeypatch)
    run_script(
        "svi_train.py", "--resume", "runs/mine-vae-2d-normal-likelihood", "--epochs", "4", monkeypatch=monkeypatch
    )
    one, other = (
        pyrovae.load(f"runs/{name}", which="last").state_dict() for name in ("whole", "mine-vae-2d-normal-likelihood")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_to_impute_is_one_line(run: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        run_script("impute.py", str(run), monkeypatch=monkeypatch)
    assert "has no value that is missing: there is nothing to impute" in capsys.readouterr().err
