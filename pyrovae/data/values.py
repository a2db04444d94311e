"""Your own arrays as a set: vectors, sequences and images of any numbers, with values missing or not.

A set of values is an ``ImageSet`` whose images are float32 and scaled by a policy that it keeps (`Scaling`). Everything
that works on images works on it:

* a vector of D numbers, such as a row of a table, is an image one pixel high, (1, 1, D);
* a sequence of T steps of C numbers is an image one pixel high with C channels, (C, 1, T);
* NaN is what is missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.images import HIDDEN, UNLABELLED, VALIDATION_SHARE, ImageSet, draw_splits
from pyrovae.data.scaling import Scaling, ScalingPolicy

Kind = Literal["vectors", "sequences", "images"]
_SHAPES = {"vectors": "(N, D)", "sequences": "(N, steps) or (N, steps, numbers)", "images": "(N, H, W) or (N, C, H, W)"}


def from_values(
    values: Any,
    labels: Any = None,
    *,
    kind: Kind = "vectors",
    scaling: ScalingPolicy = "standard",
    columns: Sequence[str] = (),
    name: str = "values",
    splits: Mapping[str, Tensor] | None = None,
    validation: float | int = VALIDATION_SHARE,
) -> ImageSet:
    """Makes a set of your own numbers: whole or real, NaN where one is missing.

    Args:
        values: NumPy or torch array: (N, D) vectors, (N, steps) or (N, steps, numbers) sequences, (N, H, W) or
            (N, C, H, W) images.
        labels: Class of each row, (N,): any whole numbers or words, NaN or None where one is not known; none for a set
            without labels.
        kind: What the values are.
        scaling: How they become x; by the training rows alone, and kept. Counts stay what they are with "none".
        columns: Names of the numbers of a vector; their places, "0", "1", ..., if left out.
        name: What to call the set.
        splits: Sorted indices of the rows of each split; drawn as `pyrovae.data.images` says if left out.
        validation: Share or number of the training rows kept for validation; only without ``splits``.

    Returns:
        The set, (N, 1, 1, D), (N, numbers, 1, steps) or (N, C, H, W).

    Raises:
        ValueError: If a shape or a type is not as above, a value is infinite, a column has no value among the training
            rows, or a class has one row only.

    Example:
        >>> data = from_values([[1.0, 200.0], [3.0, float("nan")], [2.0, 100.0], [0.0, 400.0]], validation=0)
        >>> data.image_shape, data.has_missing
        ((1, 1, 2), True)
    """
    x = shaped(name, values, kind)
    if kind == "vectors":
        columns = tuple(columns) or tuple(map(str, range(x.shape[-1])))
        if len(columns) != x.shape[-1] or len(set(columns)) != len(columns):
            raise ValueError(
                f"columns of {name} must be {x.shape[-1]} different names, one for each column, got "
                f"{len(columns)} of which {len(set(columns))} differ"
            )
    check_finite(name, x, columns)
    coded, class_names = encode_labels(name, labels, len(x))
    index = draw_splits(len(x), validation=validation) if splits is None else dict(splits)
    _check_seen(name, x[index["train"]], columns)
    scale = Scaling.of(x[index["train"]], scaling, tuple(columns))
    images = scale.apply(x)
    if not bool(scale.scale.isfinite().all()) or bool(images.isinf().any()):
        raise ValueError(
            f"values of {name} must fit into float32 when they are scaled ({scaling}), got one of "
            f"{float(x.nan_to_num(0.0).abs().max()):.1e}: divide the column, or choose another --data_scaling"
        )
    return ImageSet(name, images, coded, class_names, index, scaling=scale)


def row_kind(axes: int, whole_bytes: bool, kind: Kind | None) -> tuple[Kind, bool]:
    """What rows are if nobody says, and whether they are grey images, which no scaling is for.

    Args:
        axes: Number of axes of a row.
        whole_bytes: Whether their numbers are uint8.
        kind: What was said.
    """
    grey = whole_bytes and axes in (2, 3) and kind in (None, "images")
    return kind or ("vectors" if axes == 1 else "images"), grey


def encode_labels(name: str, labels: Any, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers classes from 0 in the order of their whole numbers or words.

    Args:
        name: What the set is called, for messages.
        labels: Whole numbers, words or truth values, (N,), NaN or None where one is not known; None for a set without
            labels.
        count: Number of rows, N.

    Returns:
        Labels, int64 (N,), ``HIDDEN`` where one is not known, and the names of the classes.

    Raises:
        ValueError: If there are not so many labels, they are neither, none is known, or a class has one row only.
    """
    if labels is None:
        return torch.zeros(count, dtype=torch.int64), UNLABELLED
    given = labels.numpy(force=True) if isinstance(labels, Tensor) else np.asarray(labels)
    if given.shape != (count,):
        raise ValueError(f"labels of {name} must be of shape ({count},), one for each row, got {given.shape}")
    known = _known(given)
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


def _known(labels: np.ndarray) -> np.ndarray:
    """Which labels are neither NaN nor None, bool (N,)."""
    if labels.dtype.kind == "f":
        return ~np.isnan(labels)
    if labels.dtype.kind != "O":
        return np.ones(len(labels), dtype=bool)
    return np.array([label is not None and label == label for label in labels.tolist()], dtype=bool)


def _names(name: str, labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The labels that are known, as whole numbers or words.

    Raises:
        ValueError: If one is a number that is not whole.
    """
    given = labels[known]
    if given.dtype.kind == "O" and all(isinstance(label, int | np.integer) for label in given):
        given = np.array(given.tolist())
    if given.dtype.kind == "f":
        wrong = np.flatnonzero(given != np.round(given))
        if len(wrong):
            raise ValueError(
                f"labels of {name} must be whole numbers or words, got {given[wrong[0]]:g} in row "
                f"{np.flatnonzero(known)[wrong[0]] + 1}; leave such rows out, or choose another column"
            )
        return given.astype(np.int64)
    return given if given.dtype.kind in "biu" else np.array([str(label) for label in given])


def shaped(name: str, values: Any, kind: Kind) -> Tensor:
    """Values as float64 (N, C, H, W).

    Raises:
        ValueError: If there is no such kind, or they are no real numbers of its shape.
    """
    if kind not in _SHAPES:
        raise ValueError(f"kind must be one of {', '.join(_SHAPES)}, got {kind!r}")
    try:
        x = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values.cpu())
    except (TypeError, ValueError) as error:
        raise ValueError(f"values of {name} must be an array of numbers: {' '.join(str(error).split())}") from error
    if x.is_complex():
        raise ValueError(f"values of {name} must be real numbers, got {x.dtype}")
    x = x.double()
    found = tuple(x.shape)
    if kind == "vectors" and x.ndim == 2:
        x = x[:, None, None]
    elif kind == "sequences" and x.ndim in (2, 3):
        x = x.reshape(*found[:2], -1).permute(0, 2, 1).unsqueeze(2) if 0 not in found else x
    elif kind == "images" and x.ndim == 3:
        x = x.unsqueeze(1)
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"{kind} of {name} must have the shape {_SHAPES[kind]} and hold something, got {found}")
    return x.contiguous()


def _where(flat: int, shape: tuple[int, ...], columns: Sequence[str], first: int) -> str:
    """The place of a value in words, from its number among all values of (N, C, H, W)."""
    row, *place = np.unravel_index(flat, shape)
    return f"row {first + row + 1}, " + (
        f"column {columns[int(place[-1])]!r}" if columns else f"at {tuple(map(int, place))}"
    )


def check_finite(name: str, x: Tensor, columns: Sequence[str], first: int = 0) -> None:
    """Refuse infinite values.

    Args:
        name: What the set is called, for messages.
        x: Rows, (n, C, H, W).
        columns: Names of the columns of a table.
        first: Number of the first of these rows in the set.

    Raises:
        ValueError: If there is one.
    """
    wrong = x.isinf().flatten().nonzero()
    if len(wrong):
        raise ValueError(
            f"values of {name} must be finite, or NaN where they are missing, got an infinite one in "
            f"{_where(int(wrong[0]), tuple(x.shape), columns, first)}: write NaN there, or leave it out"
        )


def _check_seen(name: str, train: Tensor, columns: Sequence[str]) -> None:
    """Refuse columns, or channels, of which no training row has a value."""
    empty = train.isnan().all(0)
    empty = empty[0, 0] if columns else empty.flatten(1).all(1)
    if bool(empty.any()):
        i = int(empty.nonzero()[0])
        what, cure = (
            (f"column {columns[i]!r}", f"leave it out (--data_skip [{columns[i]}])")
            if columns
            else (f"channel {i}", "leave it out")
        )
        raise ValueError(f"{what} of {name} has no value among the training rows: {cure}")
