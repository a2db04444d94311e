"""Training with few labels: the batches, what reads no label, engines, resume, the run and its report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrovae
from pyrovae import CVAE, VAE, SemiSupervisedVAE, Trainer
from pyrovae.cli import classify as classify_command
from pyrovae.cli import evaluate as evaluate_command
from pyrovae.cli import impute as impute_command
from pyrovae.data import HIDDEN, ImageSet, keep_labels
from pyrovae.inference import predict_labels
from pyrovae.runs import build_training, finish_run, load_training_data, open_run, open_training, parse_training
from pyrovae.training import RunFolder
from pyrovae.training import loop as loop_module
from pyrovae.training.order import order_of


@pytest.fixture(scope="module")
def few(digits: ImageSet) -> ImageSet:
    whole = ImageSet.from_arrays(digits.images[:300], digits.labels[:300], name="few", validation=50)
    return keep_labels(whole, 20, seed=0)


def fit(data: ImageSet, folder: object = None, resume: bool = False, **settings: object):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SemiSupervisedVAE(data.image_shape, data.num_classes, 3)
    trainer = Trainer(**{"engine": "pyro", "batch_size": 64, "epochs": 2, **settings})
    history = trainer.fit(model, data, folder, resume=resume, progress=False)
    return model, history


def assert_equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


@pytest.mark.parametrize("size", [2, 7, 64, 1000])
def test_each_batch_has_labelled_images_first_and_each_other_image_comes_once(few: ImageSet, size: int) -> None:
    order = order_of(few, size, seed=4)
    batches = order.batches(3)
    known = order.few.known
    assert len(batches) == order.per_epoch
    assert sum(map(len, batches)) == order.images(order.per_epoch)
    assert 1 <= known <= max(1, size // 4 + 1)
    for number, batch in enumerate(batches):
        assert (few.labels[batch[:known]] != HIDDEN).all()
        assert (few.labels[batch[known:]] == HIDDEN).all()
        assert len(batch) <= size
        assert order.images(number + 1) - order.images(number) == len(batch)
    index = few.splits["train"]
    others = torch.cat([batch[known:] for batch in batches]).sort().values
    assert torch.equal(others, index[few.labels[index] == HIDDEN])
    labelled = torch.cat([batch[:known] for batch in batches]).bincount(minlength=len(few))
    counts = labelled[index[few.labels[index] != HIDDEN]]
    assert int(counts.max() - counts.min()) <= 1
    assert all(torch.equal(*pair) for pair in zip(batches, order_of(few, size, seed=4).batches(3), strict=True))
    assert not all(torch.equal(*pair) for pair in zip(batches, order.batches(4), strict=True))


def test_a_training_reads_no_other_label(few: ImageSet) -> None:
    """Those of training and validation images are gone; others of the test images give the same bits."""
    assert int((few.split("train").labels != HIDDEN).sum()) == 20
    assert (few.split("validation").labels == HIDDEN).all()
    wrong = replace(few, labels=few.labels.clone())
    wrong.labels[few.splits["test"]] = (few.labels[few.splits["test"]] + 3) % 10
    (one, first), (other, second) = fit(few, patience=1), fit(wrong, patience=1)
    assert_equal_weights(one, other)
    for name in first.rows[0]:
        if name not in ("images_per_second", "seconds"):
            assert list(first.column(name)) == list(second.column(name)), name


@pytest.mark.parametrize("engine", ["graph", "auto", pytest.param("compiled", marks=pytest.mark.full)])
def test_engines_have_equal_losses(few: ImageSet, engine: str) -> None:
    _, expected = fit(few)
    _, found = fit(few, engine=engine)
    for name in ("loss", "loss_reconstruction", "loss_kl", "validation_negative_elbo"):
        assert list(found.column(name)) == pytest.approx(list(expected.column(name)), rel=1e-4), name


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_a_resumed_run_ends_bit_equal(few: ImageSet, tmp_path, monkeypatch, engine: str) -> None:
    settings = {"engine": engine, "checkpoint_every": 0.0}
    monkeypatch.setattr(loop_module, "READ_EVERY", 0.0)
    whole, expected = fit(few, RunFolder.create(tmp_path / "whole"), **settings)
    folder = RunFolder.create(tmp_path / "cut")
    steps, update = iter(range(100)), loop_module.Loop._update

    def dies(self, chunk):
        if next(steps) == expected.rows[0]["step"] + 1:
            raise MemoryError("killed")
        return update(self, chunk)

    monkeypatch.setattr(loop_module.Loop, "_update", dies)
    with pytest.raises(MemoryError):
        fit(few, folder, **settings)
    monkeypatch.setattr(loop_module.Loop, "_update", update)
    resumed, history = fit(few, folder, resume=True, **settings)
    assert_equal_weights(whole, resumed)
    assert list(history.column("loss")) == list(expected.column("loss"))


def test_few_labels_teach_the_classifier(digits: ImageSet) -> None:
    """A hundred labels of the digits: far below the 90 % of guessing."""
    data = keep_labels(digits, 100, seed=0)
    model, history = fit(data, epochs=8, batch_size=128, engine="graph",
                         optimizer=lambda p: torch.optim.Adam(p, lr=3e-3))  # fmt: skip
    assert history.column("loss")[-1] < history.column("loss")[0] - 5
    assert predict_labels(model, data.split("test")).error.value < 0.3


def test_all_labels_are_no_special_case(few_digits: ImageSet) -> None:
    _, history = fit(few_digits)
    assert len(history) == 2
    assert history.column("validation_negative_elbo")[1] < history.column("validation_negative_elbo")[0]


# -- runs ------------------------------------------------------------------------------------------------------------

RUN = ["--data", "digits", "--model", "SemiSupervisedVAE", "--epochs", "1", "--engine", "pyro", "--progress", "false"]


def train(tmp_path: Path, *words: str) -> tuple[RunFolder, list]:
    arguments = parse_training([*RUN, "--runs_dir", str(tmp_path), "--name", "m2", *words])
    data = load_training_data(arguments)
    trainer, model = build_training(arguments, data)
    with open_training(arguments, data) as (folder, resume):
        trainer.fit(model, data, folder, resume=resume, progress=False)
        return folder, finish_run(folder, trainer, data)[1]


def test_a_run_is_kept_loaded_and_reported(tmp_path: Path) -> None:
    folder, found = train(tmp_path, "--data.labels", "100", "--model.alpha", "0.2", "--seed", "3")
    bound, labels = found
    assert str(bound).startswith("-ELBO")
    assert str(labels).startswith("q(y | x) names the class of")
    told = json.loads(folder.test.read_text())
    assert told["labels"]["error"] == labels.error.value
    assert told["labels"]["error_error"] == labels.error.sampling
    assert "expected_calibration_error" in told["labels"]
    run = open_run(folder.path)
    assert isinstance(run.model, SemiSupervisedVAE)
    assert run.model.alpha == 0.2
    assert int((run.data.split("train").labels != HIDDEN).sum()) == 100
    expected = keep_labels(pyrovae.load_images("digits"), 100, seed=3)
    assert torch.equal(run.data.labels, expected.labels)
    filled = run.split("train").labels
    assert (filled != HIDDEN).all()
    known = expected.split("train").labels
    assert torch.equal(filled[known != HIDDEN], known[known != HIDDEN])
    with pytest.raises(ValueError, match=r"labels of all 125 validation images are hidden from .*--split test"):
        run.true_labels("validation")
    with pytest.raises(ValueError, match="a resumed run keeps its settings, and here data_labels: 50 would change"):
        parse_training(["--resume", str(folder.path), "--data_labels", "50"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data_labels", "0"], "data_labels must be a multiple of the 10 classes of digits, from 10 to the 1,372"),
        (["--data_labels", "105"], "got 105: give 100, for example"),
        (["--data_labels", "2000"], "got 2000: give 1370, for example"),
        (["--data_labels", "1370"], "digits has 1[0-9]+ training images of class"),
        (
            ["--data_labels", "100", "--model", "CVAE"],
            "are missing or hidden, and CVAE sums over no classes: choose --model Semi",
        ),
        (["--data_labels", "100", "--model", "VAE"], "are missing or hidden, and VAE sums over no classes"),
        (["--data_labels", "100", "--batch_size", "1"], "batch_size must be at least 2 where few images have labels"),
        (["--data_labels", "100", "--objective", "ImportanceWeighted"], "no sum over the classes .* use TraceELBO"),
        (["--model.alpha", "-1"], "alpha, the weight of the classifier's term, must be at least 0, got -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        train(tmp_path, *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m2").exists()


def test_a_class_without_a_label_and_a_table_with_holes_are_refused(few: ImageSet) -> None:
    labels = torch.where(few.labels == 4, HIDDEN, few.labels)
    model = SemiSupervisedVAE(few.image_shape, few.num_classes, 2)
    with pytest.raises(ValueError, match="each class of few must have a labelled training image, and '4' has none"):
        Trainer().check(model, replace(few, labels=labels))
    for other in (VAE(few.image_shape), CVAE(few.image_shape, 10)):
        with pytest.raises(ValueError, match="choose --model SemiSupervisedVAE, or leave those rows"):
            Trainer().check(other, few)
    rows = torch.randn(60, 4)
    rows[3, 1] = torch.nan
    table = keep_labels(pyrovae.data.from_values(rows, torch.arange(60) % 3, name="table"), 6)
    without = SemiSupervisedVAE(table.image_shape, 3, 2, likelihood=pyrovae.likelihoods.Normal)
    with pytest.raises(ValueError, match="values that are missing, and the model was not built for them"):
        Trainer().check(without, table)
    model = SemiSupervisedVAE(table.image_shape, 3, 2, likelihood=pyrovae.likelihoods.Normal, missing="mask")
    history = Trainer(epochs=1, batch_size=16, engine="pyro").fit(model, table, progress=False)
    assert history.column("loss")[0] < 1e6


# -- a table of which some labels are missing ------------------------------------------------------------------------


def partly_labelled(path: Path, seed: int, kept: float = 0.3) -> list[str]:
    """A table of three classes far apart with fields that are empty, and its labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 240)
    x = np.where(rng.random((240, 4)) < 0.05, np.nan, 5.0 * np.stack([y == 0, y == 1, y == 2, y > 0], 1)
                 + rng.normal(size=(240, 4)))  # fmt: skip
    labels = [f"kind {k}" if rng.random() < kept else "" for k in y]
    fields = [["" if np.isnan(value) else f"{value:.4f}" for value in row] for row in x]
    rows = [",".join([*row, label]) for row, label in zip(fields, labels, strict=True)]
    path.write_text("\n".join(["a,b,c,d,kind", *rows]) + "\n")
    return [f"kind {k}" for k in y]


TABLE = ["--epochs", "60", "--batch_size", "32", "--model.likelihood", "Normal",
         "--model.likelihood.noise", "per_pixel", "--model.missing", "mask", "--data.label", "kind"]  # fmt: skip


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_missing_labels_of_a_table_are_hidden_ones(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file to test.json, the commands and the completed table."""
    truth = partly_labelled(tmp_path / "mine.csv", seed)
    folder, (_, labels) = train(tmp_path, "--data", f"table:{tmp_path / 'mine.csv'}", *TABLE)
    run = open_run(folder.path)
    test = run.data.split("test")
    known = int((test.labels != HIDDEN).sum())
    assert 0 < known < len(test)
    assert json.loads(folder.test.read_text())["labels"]["images"] == known == len(labels.labels)
    assert labels.error.value < 0.2
    assert len(run.true_labels("test")) == known
    assert (run.split("test").labels != HIDDEN).all()
    monkeypatch.setattr("sys.argv", ["classify", str(folder.path), "--samples", "5"])
    classify_command.main()
    assert json.loads((folder.figures / "reliability.json").read_text())["images"] == known
    monkeypatch.setattr("sys.argv", ["impute", str(folder.path), "--samples", "50"])
    impute_command.main()
    written = [line.rsplit(",", 1)[1] for line in (tmp_path / "mine.csv").read_text().splitlines()[1:]]
    filled = [line.rsplit(",", 1)[1] for line in (folder.figures / "imputed.csv").read_text().splitlines()[1:]]
    assert all(one == other for one, other in zip(filled, written, strict=True) if other)
    assert sum(one == other for one, other in zip(filled, truth, strict=True)) > 0.85 * len(truth)
    monkeypatch.setattr("sys.argv", ["evaluate", str(folder.path), "--images", "5", "--samples", "5"])
    evaluate_command.main()
    report = json.loads((folder.path / "evaluation-test.json").read_text())
    row = next(row for row in report["rows"] if row["name"] == "error of q(y | x)")
    assert row["images"] == known
    accuracies = [row["how"] for row in report["rows"] if "classified correctly" in row["how"]]
    assert accuracies
    assert all("predicted labels" in how for how in accuracies)


def test_a_test_split_without_a_label_has_no_error(tmp_path: Path) -> None:
    data = ImageSet.from_arrays(torch.arange(240, dtype=torch.uint8).reshape(60, 2, 2), torch.arange(60) % 2, name="it")
    labels = data.labels.clone()
    labels[data.splits["test"]] = HIDDEN
    data = replace(data, labels=labels)
    path = tmp_path / "few.npz"
    np.savez(path, x=data.images.numpy(), y=np.where(labels == HIDDEN, np.nan, labels))
    folder, found = train(tmp_path, "--data", f"array:{path}", "--data.label", "y", "--model.likelihood", "Bernoulli",
                          "--pixels", "dynamic")  # fmt: skip
    assert len(found) == 1
    assert "labels" not in json.loads(folder.test.read_text())
    with pytest.raises(ValueError, match=r"the labels of all 10 test images are hidden .*--split train"):
        open_run(folder.path).true_labels("test")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "CVAE"], "images of table.*are missing or hidden, and CVAE sums .*or leave those rows"),
        (["--model", "VAE"], "are missing or hidden, and VAE sums over no classes: choose --model SemiSupervisedVAE"),
        (["--data_labels", "30"], "has rows without a label already, .*: leave --data_labels"),
    ],
    ids=str,
)
def test_a_table_with_missing_labels_is_refused_by_other_models(tmp_path: Path, words: list[str], message: str) -> None:
    partly_labelled(tmp_path / "mine.csv", 0)
    with pytest.raises(ValueError, match=message) as caught:
        train(tmp_path, "--data", f"table:{tmp_path / 'mine.csv'}", *TABLE, *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m2").exists()
