"""Labels of every kind, whole numbers or words, as classes that are numbered from 0."""

from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.arrays import is_missing, plain_tensor
from pyrovae.data.images import HIDDEN, UNLABELLED


def encode_labels(name: str, labels: Any, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers classes from 0 in the order of their whole numbers or words.

    Args:
        name: What the set is called, for messages.
        labels: Whole numbers, words or truth values, (N,), NaN, None, masked or an empty word where one is not known;
            None for a set without labels.
        count: Number of rows, N.

    Returns:
        Labels, int64 (N,), ``HIDDEN`` where one is not known, and the names of the classes.

    Raises:
        ValueError: If there are not so many labels, they are neither, none is known, or a class has one row only.
    """
    if labels is None:
        return torch.zeros(count, dtype=torch.int64), UNLABELLED
    given, known = _given(name, labels, count)
    if not known.any():
        raise ValueError(f"labels of {name} are missing in every row: leave them out, or choose another column")
    classes, numbers, rows = np.unique(_names(name, given, known), return_inverse=True, return_counts=True)
    if rows.min() < 2:
        raise ValueError(
            f"each label of {name} must have at least two rows, and {classes[rows.argmin()]!s} has one: "
            f"leave that row out, give it another label, or choose another column for labels"
        )
    coded = np.full(count, HIDDEN, dtype=np.int64)
    coded[known] = numbers
    return torch.from_numpy(coded), tuple(str(label) for label in classes)


def code_labels(name: str, labels: Any, class_names: tuple[str, ...], count: int) -> Tensor:
    """Labels of rows as the numbers of classes that are known already.

    Args:
        name: What the rows are called, for messages.
        labels: As for `encode_labels`.
        class_names: Names of the classes.
        count: Number of rows, N.

    Returns:
        Labels, int64 (N,), ``HIDDEN`` where one is not known; 0 for all where the classes are those of a set without.

    Raises:
        ValueError: If there are not so many labels, or one is no class's.
    """
    if labels is None:
        return torch.full((count,), 0 if class_names == UNLABELLED else HIDDEN, dtype=torch.int64)
    given, known = _given(name, labels, count)
    words = list(map(str, _names(name, given, known)))
    if unknown := sorted(set(words) - set(class_names)):
        raise ValueError(
            f"labels of {name} must be classes of the model, {', '.join(class_names[:12])}, got {unknown[0]}: correct "
            f"it, or leave it empty"
        )
    coded = torch.full((count,), HIDDEN, dtype=torch.int64)
    coded[torch.from_numpy(known)] = torch.tensor([class_names.index(word) for word in words], dtype=torch.int64)
    return coded


def plain_label(label: Any) -> Any:
    """A label as a number, a truth value or a word without blanks around it; None where it is missing.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(label, np.generic | np.ndarray | Tensor):
        label = label.item() if (label.numel() if isinstance(label, Tensor) else label.size) == 1 else label
    if isinstance(label, bytes):
        label = label.decode("utf-8", "backslashreplace")
    if isinstance(label, str):
        return label.strip() or None
    if isinstance(label, complex | list | tuple | dict | set | np.ndarray | Tensor):
        raise ValueError(f"a label must be a whole number or a word, got a value of type {type(label).__name__}")
    if is_missing(label):
        return None
    return label if isinstance(label, Integral | Real) else str(label)


def _given(name: str, labels: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels as an array, and which of them are known, bool; both (N,).

    Raises:
        ValueError: If there are not so many.
    """
    given = _as_array(labels)
    if given.shape != (count,):
        raise ValueError(f"labels of {name} must be of shape ({count},), one for each row, got {given.shape}")
    return given, ~_missing(given)


def _as_array(labels: Any) -> np.ndarray:
    """Labels as an array, whose entries of the type object are those of `plain_label`."""
    if isinstance(labels, Tensor):
        labels = plain_tensor(labels).numpy(force=True)
    if np.ma.isMaskedArray(labels):
        masked, labels = np.ma.getmaskarray(labels), labels.data.astype(object)
        labels[masked] = None
    elif not isinstance(labels, np.ndarray) and (hasattr(labels, "tolist") or hasattr(labels, "to_list")):
        labels = labels.tolist() if hasattr(labels, "tolist") else labels.to_list()  # series, of pandas or Polars
    if isinstance(labels, list | tuple):  # of which NumPy would make words where one is a word
        entries, labels = labels, np.empty(len(labels), dtype=object)
        for i, entry in enumerate(entries):
            labels[i] = entry
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind in "biufM":
        return array
    found = np.empty(len(array), dtype=object)
    for i, entry in enumerate(array.tolist()):
        found[i] = plain_label(entry)
    return found


def _missing(labels: np.ndarray) -> np.ndarray:
    """Which labels are not known, bool (N,)."""
    if labels.dtype.kind in "fM":
        return np.isnan(labels) if labels.dtype.kind == "f" else np.isnat(labels)
    if labels.dtype.kind != "O":
        return np.zeros(len(labels), dtype=bool)
    return np.array([label is None for label in labels.tolist()], dtype=bool)


def _names(name: str, labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The labels that are known, as whole numbers, truth values or words.

    Raises:
        ValueError: If one is a number that is not whole or not exact, or a number and a word have the same name.
    """
    given = labels[known]
    if given.dtype.kind == "O":
        given = _typed(name, given.tolist())
    if given.dtype.kind != "f":
        return given if given.dtype.kind in "biuU" else given.astype(str)
    # Whole numbers from here on are rounded, so that two labels may have become one.
    inexact = np.abs(given) >= 2.0 ** (np.finfo(given.dtype).nmant + 1)
    wrong = np.flatnonzero(~np.isfinite(given) | (given != np.round(given)) | inexact)
    if not len(wrong):
        return given.astype(np.int64)
    value, row = given[wrong[0]], np.flatnonzero(known)[wrong[0]] + 1
    if np.isfinite(value) and inexact[wrong[0]]:
        raise ValueError(
            f"labels of {name} must be exact, and {value:.17g} in row {row} is rounded, as a {given.dtype} holds it or "
            f"beside labels that are missing: give such large numbers as words"
        )
    raise ValueError(
        f"labels of {name} must be whole numbers or words, got {value:g} in row {row}; leave such rows out, or choose "
        f"another column"
    )


def _typed(name: str, labels: list[Any]) -> np.ndarray:
    """Labels of Python as an array of truth values, of whole numbers, of real ones or of words."""
    if all(isinstance(label, bool) for label in labels):
        return np.array(labels)
    if all(isinstance(label, Integral) for label in labels):
        low, high = int(min(labels)), int(max(labels))
        for kind in (np.int64, np.uint64):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return np.array(labels, dtype=kind)
    elif all(isinstance(label, Real) for label in labels):
        return np.array(labels, dtype=np.float64)
    words = {label for label in labels if isinstance(label, str)}
    twice = next((label for label in labels if not isinstance(label, str) and str(label) in words), None)
    if twice is not None:
        raise ValueError(
            f"labels of {name} must be whole numbers or words, got both {twice!r} and {str(twice)!r}, whose class "
            f"would be one: write all of them as words"
        )
    return np.array([str(label) for label in labels])
