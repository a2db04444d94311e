"""Tables in files: CSV, Parquet and NumPy, as sets by name, and every way in which a file can be wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae.data import HIDDEN, from_values, load_images, load_table

GOOD = "a,b,kind\n" + "".join(f"{i},{i * 0.5 if i % 5 else ''},{'x' if i % 2 else 'y'}\n" for i in range(24))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(GOOD)
    return path


def test_a_csv_with_missing_values_and_words_as_labels(csv: Path) -> None:
    data = load_images(f"table:{csv}", label="kind")
    assert data.columns == ("a", "b")
    assert data.image_shape == (1, 1, 2)
    assert data.class_names == ("x", "y")
    assert data.labels.tolist() == [1, 0] * 12
    back = data.scaling.undo(data.images)[:, 0, 0].numpy()
    np.testing.assert_allclose(back[:, 0], np.arange(24), atol=1e-5)
    np.testing.assert_allclose(back[:, 1], [i * 0.5 if i % 5 else np.nan for i in range(24)], atol=1e-5)
    assert data.source.startswith(f"data: table:{csv} (18 train, 2 validation, 4 test rows of 2 columns, 10.4% of the")
    assert load_images(f"table:{csv}", label="kind", skip=["b"], scaling="none").images[3, 0, 0].tolist() == [3.0]


def test_a_table_is_found_below_the_data_folder(csv: Path) -> None:
    found = load_images("table:mine.csv", csv.parent, label="kind")
    assert torch.equal(found.images.nan_to_num(9), load_images(f"table:{csv}", label="kind").images.nan_to_num(9))
    assert found.name == "table:mine.csv"


def test_semicolons_and_a_byte_order_mark(csv: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text(GOOD.replace(",", ";"), encoding="utf-8-sig")
    other = load_table(tmp_path / "other.csv", "kind")
    assert other.columns == ("a", "b")
    torch.testing.assert_close(other.images, load_table(csv, "kind").images, equal_nan=True)


def test_every_format_gives_the_same_values(csv: Path, tmp_path: Path) -> None:
    wanted = load_table(csv, "kind")
    values = wanted.scaling.undo(wanted.images)[:, 0, 0].numpy()
    words = np.array(["y", "x"] * 12)
    np.save(tmp_path / "t.npy", values)
    np.savez(tmp_path / "t.npz", x=values, y=words)
    (tmp_path / "t.tsv").write_text(GOOD.replace(",", "\t"))
    for name, label in (("t.npy", None), ("t.npz", None), ("t.npz", "y"), ("t.tsv", "kind")):
        data = load_table(tmp_path / name, label)
        torch.testing.assert_close(data.images, wanted.images, equal_nan=True)
        assert data.class_names == (("unlabelled",) if name == "t.npy" else ("x", "y"))


def test_parquet(csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas

    pandas.read_csv(csv).to_parquet(tmp_path / "t.parquet")
    data = load_table(tmp_path / "t.parquet", "kind")
    torch.testing.assert_close(data.images, load_table(csv, "kind").images, equal_nan=True)


@pytest.mark.parametrize("seed", range(6))
def test_a_label_that_is_missing_is_hidden(seed: int, tmp_path: Path) -> None:
    """Whatever the labels are, in every format: the known ones are the classes that they would be in a whole table."""
    rng = np.random.default_rng(seed)
    words = seed % 2 == 0
    names = np.array(["ash", "fir", "oak"] if words else [3, 10, -2])
    chosen = np.concatenate([np.repeat(np.arange(3), 2), rng.integers(0, 3, 24)])
    hidden = np.concatenate([np.zeros(6, bool), rng.random(24) < 0.6])
    labels = names[chosen]
    fields = ["" if away else str(label) for label, away in zip(labels, hidden, strict=True)]
    (tmp_path / "t.csv").write_text("a,kind\n" + "".join(f"{i},{field}\n" for i, field in enumerate(fields)))
    found = load_table(tmp_path / "t.csv", "kind")
    order = np.argsort(names)
    assert found.class_names == tuple(map(str, names[order]))
    expected = np.where(hidden, HIDDEN, np.argsort(order)[chosen])
    assert found.labels.tolist() == expected.tolist()
    gaps = labels.astype(object)
    gaps[hidden] = None
    values = np.arange(30.0)[:, None]
    sets = [from_values(values, gaps)]
    if not words:
        np.savez(tmp_path / "t.npz", x=values, y=np.where(hidden, np.nan, labels))
        sets.append(load_table(tmp_path / "t.npz"))
    for other in sets:
        assert (other.class_names, other.labels.tolist()) == (found.class_names, expected.tolist())


def test_a_parquet_table_with_missing_labels(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas

    kinds = {"whole": pandas.array([3, 10, None] * 6, dtype="Int64"), "said": pandas.array([True, False, None] * 6)}
    pandas.DataFrame({"a": range(18), **kinds}).to_parquet(tmp_path / "t.parquet")
    for label, other, names in (("whole", "said", ("3", "10")), ("said", "whole", ("False", "True"))):
        found = load_table(tmp_path / "t.parquet", label, skip=[other])
        assert found.class_names == names
        assert found.labels.tolist() == ([0, 1, HIDDEN] if label == "whole" else [1, 0, HIDDEN]) * 6


def test_arrays_of_images_and_sequences(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (20, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "grey.npz", images=grey, labels=np.arange(20) % 4)
    data = load_images(f"array:{tmp_path / 'grey.npz'}")
    assert data.scaling is None
    assert torch.equal(data.images[:, 0], torch.from_numpy(grey))
    assert data.num_classes == 4
    np.save(tmp_path / "steps.npy", rng.normal(size=(20, 9, 2)))
    assert load_images(f"sequences:{tmp_path / 'steps.npy'}").image_shape == (2, 1, 9)
    assert load_images(f"array:{tmp_path / 'steps.npy'}").image_shape == (1, 9, 2)


def test_a_mask_beside_images_and_tables(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey, seen = rng.integers(0, 256, (20, 6, 6), dtype=np.uint8), rng.random((20, 6, 6)) < 0.7
    np.savez(tmp_path / "masked.npz", x=grey, seen=seen, y=np.arange(20) % 2)
    data = load_images(f"array:{tmp_path / 'masked.npz'}", scaling="none")
    assert data.has_missing
    assert np.array_equal(~data.images[:, 0].isnan().numpy(), seen)
    np.testing.assert_allclose(data.images[:, 0].numpy()[seen], grey[seen] / 255, rtol=1e-6)
    np.savez(tmp_path / "table.npz", x=grey[:, 0], seen=seen[:, 0])
    assert load_table(tmp_path / "table.npz").has_missing
    np.savez(tmp_path / "wrong.npz", x=grey, seen=seen[:5])
    with pytest.raises(ValueError, match=r"seen in .* must be bool of the values' shape \(20, 6, 6\)"):
        load_images(f"array:{tmp_path / 'wrong.npz'}")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (GOOD + "1,2\n", {}, "line 26 has 2 fields and the first line names 3 columns"),
        (GOOD + "1,2,x,4\n", {}, "line 26 has 4 fields and the first line names 3 columns"),
        (GOOD, {}, "column 'kind' of .* must hold numbers, got 'y' in row 1: .*--data_label kind.*--data_skip"),
        (GOOD + "oops,2,x\n", {"label": "kind"}, "column 'a' of .* must hold numbers, got 'oops' in row 25"),
        (GOOD + "inf,2,x\n", {"label": "kind"}, "must be finite.*row 25, column 'a'"),
        ("a,kind\n" + "1,\n" * 20, {"label": "kind"}, "labels of .* are missing in every row"),
        ("a,kind\n" + "1,1.5\n2,\n" * 20, {"label": "kind"}, "whole numbers or words, got 1.5 in row 1"),
        (GOOD + "1,2,z\n", {"label": "kind"}, "at least two rows, and z has one"),
        (GOOD, {"label": "kinds"}, "has no column 'kinds'; did you mean kind.; it has a, b, kind"),
        (GOOD, {"label": "kind", "skip": ["c"]}, "has no column 'c'"),
        (GOOD, {"label": "kind", "skip": ["a", "b"]}, "has no column left that holds values"),
        ("a,b\n" + "1,\n" * 20, {}, r"column 'b' of .* has no value among the training rows: .*--data_skip \[b\]"),
        ("a,a\n1,2\n", {}, "two columns have the same name, 'a'"),
        ("a,b\n", {}, "has a line of names and no rows"),
        ("", {}, "it is empty; the first line must name the columns"),
        ("a,b\n1,\x00\n", {}, "cannot be read as a table|must hold numbers|has no value"),
    ],
)
def test_bad_tables_get_one_line(text, settings, message, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_table(path, **settings)
    assert "\n" not in str(error.value)


def test_damaged_files_get_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    np.savez(whole, x=np.random.default_rng(0).normal(size=(200, 3)), y=np.arange(200) % 2)
    cut = tmp_path / "cut.npz"
    rng = np.random.default_rng(1)
    for size in rng.integers(0, whole.stat().st_size - 1, 10):
        cut.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(ValueError, match="is damaged, or holds Python objects") as error:
            load_table(cut)
        assert "\n" not in str(error.value)
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    for name, message in (
        ("objects.npy", "holds Python objects"),
        ("none.csv", "does not exist"),
        ("none.xlsx", "must be a file that ends in .csv, .tsv, .parquet, .npy, .npz"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            load_table(tmp_path / name)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("a,b\n1,é\n".encode("latin-1"))
    with pytest.raises(ValueError, match="cannot be read as a table"):
        load_table(latin)


def test_options_of_tables_go_with_tables_only() -> None:
    with pytest.raises(ValueError, match="go with table:FILE, array:FILE, sequences:FILE only, got digits"):
        load_images("digits", label="kind")


def test_a_missing_reader_says_how_to_get_it(csv: Path, monkeypatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'pyrovae\[tables\]'|cannot be read as a table"):
        load_table(tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match=r"needs pandas: pip install 'pyrovae\[tables\]'"):
        load_table(csv)


def test_fashion_mnist_as_a_distribution_packages_it(fake_idx_set, tmp_path: Path, monkeypatch) -> None:
    from pyrovae.data import mnist

    fake_idx_set("fashion-mnist")
    place = tmp_path / "packaged"
    (tmp_path / "FashionMNIST" / "raw").rename(place)
    monkeypatch.setitem(mnist._PACKAGED, "fashion-mnist", place)
    data = load_images("fashion-mnist", tmp_path / "elsewhere", download=False)
    assert data.source.endswith(f"from {place}")
    next(place.iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match="fashion-mnist not found"):
        load_images("fashion-mnist", tmp_path / "elsewhere", download=False)
