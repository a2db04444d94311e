"""Tables and arrays in files: CSV, Parquet, ``.npy`` and ``.npz`` as sets of values or of grey images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyrovae.data.frames import labels_of, numbers_of, quoted, read_frame, shown
from pyrovae.data.images import VALIDATION_SHARE, ImageSet
from pyrovae.data.labels import encode_labels
from pyrovae.data.scaling import ScalingPolicy
from pyrovae.data.values import from_values, row_kind
from pyrovae.hints import nearest

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".npy", ".npz")
_VALUES = ("x", "X", "values", "images", "data")
_LABELS = ("y", "Y", "labels", "label", "target", "targets")
_SEEN = "seen"


def load_table(
    path: str | Path,
    label: str | None = None,
    *,
    scaling: ScalingPolicy = "standard",
    skip: Sequence[str] = (),
    validation: float | int = VALIDATION_SHARE,
    name: str | None = None,
) -> ImageSet:
    """Loads a table: a row each case, a column each number, NaN or nothing where one is missing.

    Args:
        path: A file that ends in one of ``TABLE_SUFFIXES``; the first line of a CSV names its columns. A ``.npz``
            holds the values as ``x`` and the labels as ``y``, or names the labels in ``label``; bool ``seen`` says
            which values are not missing.
        label: The column of labels, whole numbers or words, empty where a row has none; left out for a table without.
        scaling: How columns are scaled; see `pyrovae.data.scaling`.
        skip: Columns that are left out.
        validation: Share or number of the training rows kept for validation.
        name: What to call the set; by default ``table:PATH``.

    Returns:
        The set, (N, 1, 1, columns).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, a row is longer or shorter than the first line, a column holds words, or
            there is no such column.
    """
    name = name or f"table:{path}"
    found = read_table(path, label, skip)
    return from_values(
        found.values, found.labels, scaling=scaling, columns=found.columns, name=name, validation=validation
    )


class Table(NamedTuple):
    """The columns of a table that hold values, (rows, columns), their names, and its labels, (rows,), or None."""

    values: np.ndarray
    columns: tuple[str, ...]
    labels: np.ndarray | None


def read_table(
    path: str | Path, label: str | None = None, skip: Sequence[str] = (), wanted: Sequence[str] = ()
) -> Table:
    """Reads a table from its file.

    Args:
        path: The file; see `load_table`.
        label: The column of labels.
        skip: Columns that are left out.
        wanted: The columns that it must have, in that order whatever their order in the file; the column of labels may
            lack then. All that it has if left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or has other columns.
    """
    file = _existing(Path(path).expanduser())
    if file.suffix in (".npy", ".npz"):
        values, labels = read_arrays(file, label)
        if values.ndim != 2:
            raise ValueError(
                f"a table must have two dimensions, rows and columns, got {values.shape} in {file}; "
                f"images and sequences are array:{path} and sequences:{path}"
            )
        names = [str(i) for i in range(values.shape[1])]
        kept = _kept(file, names, skip, wanted)
        return Table(values[:, list(map(int, kept))], kept, labels)  # columns are named by their places
    frame = read_frame(file)
    names = list(frame.columns)
    if label is not None and (label in names or not wanted):
        _known(file, [label], names)
    others = [column for column in names if column != label]
    kept = _kept(file, others, [column for column in skip if column != label], wanted)
    if not len(frame):
        raise ValueError(f"{file} has a line of names and no rows")
    values = np.stack([numbers_of(file, column, frame[column]) for column in kept], 1)
    return Table(values, kept, labels_of(file, label, frame[label]) if label in names else None)


def _kept(file: Path, names: list[str], skip: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The columns that are read.

    Raises:
        ValueError: If there is none, or they are not those that are wanted.
    """
    left_out = set(skip if wanted else _known(file, skip, names))
    kept = tuple(name for name in names if name not in left_out)
    if not kept:
        raise ValueError(f"{file} has no column left that holds values: it has {_listed(names)}")
    if not wanted:
        return kept
    must = f"{file} must have the columns {_listed(wanted)}"
    has, must_have = set(kept), set(wanted)
    if lacks := [name for name in wanted if name not in has]:
        raise ValueError(f"{must}, and lacks {_listed(lacks)}: add or name them")
    if others := [name for name in kept if name not in must_have]:
        words = quoted(f"[{','.join(others)}]")
        raise ValueError(f"{must}, and has {_listed(others)} too: leave them out (--skip {words})")
    return tuple(wanted)


def load_array(
    path: str | Path,
    label: str | None = None,
    *,
    sequences: bool = False,
    scaling: ScalingPolicy = "standard",
    validation: float | int = VALIDATION_SHARE,
) -> ImageSet:
    """Loads an array of NumPy: grey images as they are, anything else as values.

    Args:
        path: A ``.npy`` or ``.npz`` file: (N, D) vectors, (N, H, W) or (N, C, H, W) images, or sequences. Images of
            uint8 are grey levels, which no scaling is for. With bool ``seen`` in a ``.npz``, of the same shape, what
            is not seen is missing; grey levels are divided by 255 then, so that they are values.
        label: Name of the array of labels in a ``.npz``; ``y`` or ``labels`` if left out and there.
        sequences: Whether it holds sequences, (N, steps) or (N, steps, numbers).
        scaling: How values are scaled.
        validation: Share or number of the training rows kept for validation.

    Returns:
        The set.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or its shape is none of those.
    """
    file = _existing(Path(path).expanduser())
    if file.suffix not in (".npy", ".npz"):
        raise ValueError(f"an array must be in a .npy or .npz file, got {file}; CSV and Parquet are table:{path}")
    values, labels = read_arrays(file, label)
    name = f"{'sequences' if sequences else 'array'}:{path}"
    kind, grey = row_kind(values.ndim - 1, values.dtype == np.uint8, "sequences" if sequences else None)
    if grey:
        coded, class_names = encode_labels(name, labels, len(values))
        return ImageSet.from_arrays(values, coded, class_names=class_names, name=name, validation=validation)
    return from_values(values, labels, kind=kind, scaling=scaling, name=name, validation=validation)


def read_arrays(file: Path, label: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads values and labels, or None, from a ``.npy`` or ``.npz`` file; nothing is unpickled.

    Raises:
        ValueError: If it is damaged, holds objects, or has no array of such a name.
    """
    try:
        if file.suffix == ".npy":
            if label is not None:
                raise _RefusedError(f"{file} holds one array and no labels: put both into a .npz, as x and {label}")
            return _numeric(file, "", np.load(file, allow_pickle=False)), None
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays)
            wanted = (
                label if label is not None else _only(file, [n for n in _LABELS if n in names], "--data_label NAME")
            )
            if wanted is not None and wanted not in names:
                raise _RefusedError(f"{file} has no array {wanted!r}{nearest(wanted, names)}; it has {_listed(names)}")
            others = [name for name in names if name not in (wanted, _SEEN)]
            chosen = _only(file, [n for n in _VALUES if n in others], "save the values alone, as x") or (
                others[0] if len(others) == 1 else None
            )
            if chosen is None:
                raise _RefusedError(f"{file} must hold its values as x, and labels as y, got {_listed(names)}")
            values = _numeric(file, chosen, arrays[chosen])
            seen = arrays[_SEEN] if _SEEN in names else None
            return _hidden(file, values, seen), None if wanted is None else arrays[wanted]
    except _RefusedError as error:
        raise ValueError(str(error)) from None
    except OSError:
        raise
    except Exception as error:  # zipfile, NumPy and zlib each have their own
        reason = " ".join(str(error).split()).partition(" You ")[0]
        raise ValueError(f"{file} is damaged, or holds Python objects, which are not read: {reason}") from error


def _only(file: Path, names: list[str], cure: str) -> str | None:
    """The one array of a ``.npz`` that has such a name, or None."""
    if len(names) > 1:
        raise _RefusedError(f"{file} holds {_listed(names)}, and one of them is to be read: {cure}")
    return names[0] if names else None


def _hidden(file: Path, values: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """Values with NaN where a mask says that one is not seen; grey levels become values in [0, 1] then."""
    if seen is None:
        return values
    if seen.dtype != np.bool_ or seen.shape != values.shape:
        raise _RefusedError(
            f"{_SEEN} in {file} must be bool of the values' shape {values.shape}, true where one is seen, got "
            f"{seen.dtype} of shape {seen.shape}"
        )
    grey = values.dtype == np.uint8 and values.ndim > 2
    return np.where(seen, values / 255 if grey else values.astype(np.float64), np.nan)


class _RefusedError(ValueError):
    """A mistake that has its line already."""


def _numeric(file: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise _RefusedError(f"{file} must hold numbers{f' in {name!r}' if name else ''}, got {values.dtype}")
    return values


def _existing(file: Path) -> Path:
    if file.suffix not in TABLE_SUFFIXES:
        raise ValueError(f"a table must be a file that ends in {', '.join(TABLE_SUFFIXES)}, got {file}")
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist, or is no file: check the path of the table")
    return file


def _known(file: Path, wanted: Sequence[str], columns: Sequence[str]) -> Sequence[str]:
    for name in wanted:
        if name not in columns:
            raise ValueError(f"{file} has no column {name!r}{nearest(name, columns)}; it has {_listed(columns)}")
    return wanted


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "none"
