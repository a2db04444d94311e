"""CSV and Parquet files as pandas' data frames, and their columns as numbers or labels.

pandas is imported when it is needed. What it would do without a word is refused: rows of another length, a first line
that holds numbers, a column without a name, and words such as NA that may be labels or not.
"""

import csv
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pyrovae.data.arrays import is_missing
from pyrovae.data.labels import plain_label

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


def read_frame(file: Path) -> Any:
    """Reads a CSV or a Parquet file as pandas' DataFrame, whose columns are named by different words.

    Raises:
        ValueError: If it cannot be read, the rows of a CSV differ in length, or a column has no name.
    """
    pandas = _pandas(file)
    try:
        if file.suffix == ".parquet":
            frame = pandas.read_parquet(file)
        else:
            separator = _separator(file)
            _check_lines(file, separator)
            frame = pandas.read_csv(file, **_settings(separator), low_memory=False)
            _check_header(frame)
        frame.columns = list(map(str, frame.columns))
        _check_different(list(frame.columns))
        return frame
    except ImportError as error:
        raise ValueError(f"reading {file} needs pyarrow: pip install 'pyrovae[tables]'") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} cannot be read as a table: it must be encoded in UTF-8, and byte {error.start} is not; save it as "
            f"UTF-8, or: iconv -f latin1 -t utf-8 OLD > NEW"
        ) from error
    except OSError:
        raise
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        raise ValueError(f"{file} cannot be read as a table: {' '.join(str(error).split())}") from error


def numbers_of(file: Path, column: str, values: Any) -> np.ndarray:
    """A column as float64 with NaN where it is missing.

    Raises:
        ValueError: If it holds anything else than numbers and truth values.
    """
    if values.dtype.kind in "biuf":
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    found = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if is_missing(value):
            continue
        try:
            if isinstance(value, str) and "_" in value:  # Python reads 1_000 as a number
                raise ValueError
            found[row] = float(value)
        except (TypeError, ValueError):
            comma = isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value)
            cure = "write a point for its comma" if comma else "correct it"
            raise ValueError(
                f"column {column!r} of {file} must hold numbers, got {str(value)!r:.60} in row {row + 1}: {cure}, "
                f"name it as the label (--data_label {quoted(column)}), or leave it out "
                f"(--data_skip {quoted(f'[{column}]')})"
            ) from None
    return found


def labels_of(file: Path, column: str, values: Any) -> np.ndarray:
    """A column of labels: numbers, NaN where a field is empty, or words without blanks around them, None there.

    Raises:
        ValueError: If a word of a CSV may be a label or say that there is none.
    """
    missing = values.isna().to_numpy()
    if values.dtype.kind in "iuf" and not missing.any():
        return values.to_numpy()
    if values.dtype.kind == "f":
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if values.dtype.kind not in "iu" and missing.any() and file.suffix != ".parquet":
        _check_empty(file, column, missing)
    words = values.to_numpy(dtype=object) if values.dtype.kind in "iub" else values.astype(str).to_numpy(dtype=object)
    return np.array([None if gone else plain_label(word) for word, gone in zip(words, missing, strict=True)], object)


def shown(name: str) -> str:
    """A column's name in a message of one line: as it is, or in quotes where blanks or line breaks could mislead."""
    return name if name.isprintable() and name == name.strip() != "" else repr(name)


def quoted(word: str) -> str:
    """A word of a command line, in one line."""
    return shlex.quote(word) if word.isprintable() else "NAME"


def _pandas(file: Path) -> ModuleType:
    try:
        import pandas  # Imported here, as it takes half a second.
    except ImportError as error:
        raise ValueError(f"reading {file} needs pandas: pip install 'pyrovae[tables]'") from error
    return pandas


def _settings(separator: str) -> dict[str, Any]:
    return {"sep": separator, "skipinitialspace": True, "encoding": "utf-8-sig"}


def _separator(file: Path) -> str:
    """What stands between the columns: a tab in a TSV, else a comma, or what makes columns of a first line without."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline()
    if file.suffix == ".tsv":
        return "\t"
    fields = {sign: len(next(csv.reader([first], delimiter=sign, skipinitialspace=True), [])) for sign in _SEPARATORS}
    return next((sign for sign, count in fields.items() if count > 1), ",")


def _check_lines(file: Path, separator: str) -> None:
    """Refuse what pandas changes without a word: it fills up short rows and leaves out empty ones."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, delimiter=separator, skipinitialspace=True)
        names = next(rows, None)
        if not names:
            raise ValueError("it is empty; the first line must name the columns")
        _check_names(names)
        gap = 0
        for row in rows:
            if row and len(row) != len(names):
                raise ValueError(
                    f"line {rows.line_num} has {len(row)} fields and the first line names {len(names)} columns, "
                    f"separated by a {_SEPARATORS[separator]}: each line must have as many, with nothing between two "
                    f"of these signs where a value is missing"
                )
            if row and gap and len(names) == 1:
                raise ValueError(f"line {gap} is empty: write NaN there if its value is missing, or take it out")
            gap = gap if row else rows.line_num


def _check_names(names: Sequence[str]) -> None:
    """Refuse a first line that is none of names."""
    _check_different(names)
    if "" in map(str.strip, names):
        place = [name.strip() for name in names].index("")
        raise ValueError(
            f"column {place + 1} has no name in the first line: name it, or, if it only numbers the rows, write the "
            f"table without it (pandas: index=False, R: row.names=FALSE)"
        )


def _check_header(frame: Any) -> None:
    """Refuse a first line of numbers that could be a row: each lies among the numbers of its column, or near them.

    Columns may be named by numbers, such as years, wavelengths or their places.
    """
    named = {name: number for name in frame.columns if np.isfinite(number := _number(name))}
    numbers = list(named.values())
    if 2 * len(named) < len(frame.columns) or (all(n == round(n) for n in numbers) and numbers == sorted(numbers)):
        return
    if all(_is_near(number, frame[name]) for name, number in named.items()):
        raise ValueError(
            f"its first line holds numbers ({', '.join([*named][:3])}, ...) where the names of the columns must be: "
            f"put a line of names above it"
        )


def _is_near(number: float, column: Any) -> bool:
    """Whether a number is not farther from the middle of a column than its range."""
    if column.dtype.kind not in "iuf":
        return False
    low, high = float(column.min()), float(column.max())
    return abs(number - (low + high) / 2) <= high - low or number == low


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _check_different(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(f"two columns have the same name, {twice!r}: give each its own")


def _check_empty(file: Path, column: str, missing: np.ndarray) -> None:
    """Refuse fields of a column of words that pandas takes for missing though they are words, such as NA and None."""
    raw = _pandas(file).read_csv(
        file, **_settings(_separator(file)), usecols=[column], dtype=str, keep_default_na=False
    )[column]
    for row in np.flatnonzero(missing):
        word = str(raw.iloc[row]).strip()
        if word.lower() not in ("", "nan"):
            raise ValueError(
                f"column {column!r} of {file} has the label {word!r} in row {row + 1}, which may be a class or say "
                f"that there is none: leave the field empty if the label is missing, or give the class another name"
            )
