"""CSV and Parquet: files that other programs write, and files that would be misread."""

import csv
from pathlib import Path

import numpy as np
import pytest

from pyrovae.data import HIDDEN, load_table

pandas = pytest.importorskip("pandas")

EMPTY = ("", "NaN", "nan", "NA", "null", "#N/A")


def written(path: Path, seed: int) -> tuple[np.ndarray, list[str | None], list[str]]:
    """A table in the manner of some other program: its numbers, NaN where they are missing, labels and names."""
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(1, 5))
    x = rng.normal(size=(30, columns)) * 10.0 ** rng.integers(-6, 9, columns)
    x[:, 0] = rng.integers(0, 2**40, 30)
    x = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    words = ["oak", "new\nline", "with, comma", 'with "quotes"', "semi;colon", "none"]
    labels = [None if i > 11 and rng.random() < 0.3 else words[i % 6] for i in range(30)]
    names = [str(word) for word in rng.permutation(["a", "width, cm", "1990", "x;y", "label"])[:columns]]
    place = int(rng.integers(0, columns + 1))
    rows = [[*names[:place], "kind", *names[place:]]]
    for row, label in zip(x, labels, strict=True):
        fields = [rng.choice(EMPTY) if np.isnan(v) else rng.choice([repr(float(v)), f"{v:.17g}", f" {v!r}".replace(
            "np.float64(", "").replace(")", "")]) for v in row]  # fmt: skip
        rows.append([*fields[:place], (label or "") + rng.choice(["", " "]), *fields[place:]])
    sign = rng.choice([",", ";", "\t"]) if not any(";" in name or "," in name for name in names) else ","
    path = path.with_suffix(".tsv" if sign == "\t" and rng.random() < 0.5 else ".csv")
    with path.open("w", newline="", encoding=rng.choice(["utf-8", "utf-8-sig"])) as file:
        end = rng.choice(["\n", "\r\n"])
        quoting = csv.QUOTE_MINIMAL if rng.random() < 0.7 else csv.QUOTE_ALL
        csv.writer(file, delimiter=str(sign), lineterminator=str(end), quoting=quoting).writerows(rows)
        file.write(str(end) if rng.random() < 0.3 else "")
    return x, labels, [str(path), *names]


@pytest.mark.parametrize("seed", range(40))
def test_tables_of_other_programs(seed: int, tmp_path: Path) -> None:
    x, labels, (path, *names) = written(tmp_path / "t", seed)
    data = load_table(path, "kind")
    assert data.columns == tuple(names)
    found = data.scaling.undo(data.images)[:, 0, 0].numpy()
    assert np.array_equal(np.isnan(found), np.isnan(x))
    for own, wanted in zip(found.T, x.T, strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-6 * np.nanstd(wanted) + 1e-300, rtol=1e-6)
    classes = sorted({label for label in labels if label})
    assert data.class_names == tuple(classes)
    assert data.labels.tolist() == [HIDDEN if label is None else classes.index(label) for label in labels]


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (",a,b\n" + "1,2,3\n" * 20, {}, "column 1 has no name in the first line: .*index=False.*row.names=FALSE"),
        ("a,b,\n" + "1,2,\n" * 20, {}, "column 3 has no name in the first line"),
        ("a\n" + "1\n\n3\n" * 20, {}, "line 3 is empty: write NaN there"),
        ("a,k\n" + "1,None\n2,x\n" * 20, {"label": "k"}, "the label 'None' in row 1, which may be a class or say that"),
        ("a,k\n" + "1,x\n2,y\n3,NA\n" * 20, {"label": "k"}, "the label 'NA' in row 3, which may be a class"),
        ("a;b\n" + "1,5;2,5\n" * 20, {}, "got '1,5' in row 1: write a point for its comma"),
        ("a,b\n" + "1_000,2\n" * 20, {}, "column 'a' of .* must hold numbers, got '1_000' in row 1"),
        ("a|b\n" + "1|2\n" * 20, {}, "must hold numbers, got '1|2' in row 1"),
        ('"a\nb",c\n' + "1,2\n" * 20, {"label": "d"}, r"has no column 'd'; it has 'a\\nb', c"),
        ('"a\nb",c\n' + "x,2\n" * 20, {}, r"column 'a\\nb' of .* must hold numbers, got 'x'"),
        ("a b,c\n" + "x,2\n" * 20, {}, r"--data_label 'a b'\), .*--data_skip '\[a b\]'"),
        ("a ,c\n" + "1,2\n" * 20, {"label": "a"}, "has no column 'a'; did you mean a .; it has 'a ', c"),
    ],
)
def test_tables_that_would_be_misread_are_refused(text: str, settings, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_table(path, **settings)
    assert "\n" not in str(error.value)


def test_other_encodings_are_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    for encoding in ("latin-1", "utf-16"):
        path.write_bytes(("a,b\n" + "1,2\n" * 20 + "1,é\n").encode(encoding))
        with pytest.raises(ValueError, match=r"must be encoded in UTF-8, and byte .* is not; save it as UTF-8"):
            load_table(path)


@pytest.mark.parametrize("seed", range(6))
def test_a_first_line_of_numbers_is_no_line_of_names(seed: int, tmp_path: Path) -> None:
    """Neither with a class behind them; but years, wavelengths and places are names."""
    rng = np.random.default_rng(seed)
    x = rng.normal([5.8, 3.1, 3.8, 1.2], [0.8, 0.4, 1.7, 0.7], (40, 4)).round(1)
    path = tmp_path / "t.csv"
    pandas.DataFrame(x).to_csv(path, header=False, index=False)
    with pytest.raises(ValueError, match=r"its first line holds numbers .*: put a line of names above it"):
        load_table(path)
    pandas.DataFrame(x).assign(kind=["setosa", "other"] * 20).to_csv(path, header=False, index=False)
    with pytest.raises(ValueError, match="its first line holds numbers"):
        load_table(path, "setosa")
    for names in (["1990", "1995", "2000", "2010"], ["0", "1", "2", "3"], ["400.5", "410", "420.25", "430"]):
        pandas.DataFrame(x, columns=names).to_csv(path, index=False)
        assert load_table(path).columns == tuple(names)
        assert len(load_table(path)) == 40


def test_parquet_columns_of_every_kind(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    path = tmp_path / "t.parquet"
    x = rng.normal(size=(24, 3))
    pandas.DataFrame(x).to_parquet(path)  # whose names are whole numbers
    assert load_table(path, skip=["1"]).columns == ("0", "2")
    kinds = {
        "nullable": pandas.array([1, None, 5] * 8, dtype="Int64"),
        "words": pandas.array(["1.5", None, "2"] * 8, dtype="string"),
        "truth": pandas.array([True, None, False] * 8, dtype="boolean"),
        "category": pandas.Categorical([10, None, 9] * 8),
    }
    pandas.DataFrame(kinds).to_parquet(path)
    data = load_table(path)
    nan = np.nan
    found = data.scaling.undo(data.images)[:3, 0, 0]
    np.testing.assert_allclose(found, [[1, 1.5, 1, 10], [nan, nan, nan, nan], [5, 2, 0, 9]], atol=1e-6)
    for bad, message in (
        (pandas.date_range("2020", periods=24), "must hold numbers, got '2020-01-01 00:00:00' in row 1"),
        (pandas.Series([pandas.NaT] * 24), "column 'bad' of .* has no value among the training rows"),
        (pandas.Series([list(range(300))] * 24), "column 'bad' of .* must hold numbers, got "),
    ):
        pandas.DataFrame({"good": range(24), "bad": bad}).to_parquet(path)
        with pytest.raises(ValueError, match=message) as error:
            load_table(path)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
    large = pandas.array([2**60, 2**60 + 1, None] * 8, dtype="Int64")
    pandas.DataFrame({"a": range(24), "kind": large}).to_parquet(path)
    assert load_table(path, "kind").class_names == (str(2**60), str(2**60 + 1))


def test_two_arrays_that_could_be_meant_are_refused(tmp_path: Path) -> None:
    path, x, y = tmp_path / "t.npz", np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    np.savez(path, X=x, Y=y)
    assert load_table(path).class_names == ("0", "1")
    np.savez(path, x=x, X=x + 1)
    with pytest.raises(ValueError, match="holds x, X, and one of them is to be read: save the values alone, as x"):
        load_table(path)
    np.savez(path, x=x, y=y, target=1 - y)
    with pytest.raises(ValueError, match="holds y, target, and one of them is to be read: --data_label NAME"):
        load_table(path)
    assert load_table(path, "target").labels.tolist() == (1 - y).tolist()
