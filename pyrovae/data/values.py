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
from torch import Tensor

from pyrovae.data.arrays import column_names, to_tensor
from pyrovae.data.images import VALIDATION_SHARE, ImageSet, draw_splits, sorted_splits
from pyrovae.data.labels import encode_labels
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
    splits: Mapping[str, Tensor | np.ndarray | Sequence[int]] | None = None,
    validation: float | int = VALIDATION_SHARE,
) -> ImageSet:
    """Makes a set of your own numbers: whole or real, NaN where one is missing.

    Args:
        values: NumPy or torch array, or a data frame: (N, D) vectors, (N, steps) or (N, steps, numbers) sequences,
            (N, H, W) or (N, C, H, W) images. None and what is masked are missing too.
        labels: Class of each row, (N,): any whole numbers or words, NaN or None where one is not known; none for a set
            without labels.
        kind: What the values are.
        scaling: How they become x; by the training rows alone, and kept. Counts stay what they are with "none".
        columns: Names of the numbers of a vector; those of a data frame, or their places, "0", "1", ..., if left out.
        name: What to call the set.
        splits: Numbers of the rows of each split; drawn as `pyrovae.data.images` says if left out.
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
    if kind != "vectors" and len(columns):
        raise ValueError(
            f"columns of {name} are the names of the numbers of vectors, and these are {kind}: leave them out"
        )
    if kind == "vectors":
        columns = tuple(columns) or column_names(values) or tuple(map(str, range(x.shape[-1])))
        if len(columns) != x.shape[-1] or len(set(columns)) != len(columns):
            raise ValueError(
                f"columns of {name} must be {x.shape[-1]} different names, one for each column, got "
                f"{len(columns)} of which {len(set(columns))} differ"
            )
    check_finite(name, x, columns)
    coded, class_names = encode_labels(name, labels, len(x))
    index = draw_splits(len(x), validation=validation) if splits is None else sorted_splits(name, splits, len(x))
    _check_seen(name, x[index["train"]], columns)
    scale = Scaling.of(x[index["train"]], scaling, tuple(columns))
    images = scale.apply(x)
    check_fits(name, x, images, scale, scaling)
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


def shaped(name: str, values: Any, kind: Kind) -> Tensor:
    """Values as float64 (N, C, H, W).

    Raises:
        ValueError: If there is no such kind, or they are no real numbers of its shape.
    """
    if kind not in _SHAPES:
        raise ValueError(f"kind must be one of {', '.join(_SHAPES)}, got {kind!r}")
    try:
        x = to_tensor(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"values of {name} must be an array of numbers: {' '.join(str(error).split())}") from error
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
    if kind == "images" and x.shape[1] == x.shape[2] > 4 and x.shape[3] in (1, 3, 4):
        raise ValueError(
            f"images of {name} must have the channels before the pixels, (N, C, H, W), got {found}; "
            f"images.transpose(0, 3, 1, 2) of an array puts them there"
        )
    return x.contiguous()


def check_fits(name: str, x: Tensor, images: Tensor, scale: Scaling, policy: str) -> None:
    """Refuse values that overflow, or vanish, when they are scaled to float32.

    Args:
        name: What the set is called, for messages.
        x: Values, float64.
        images: The same, scaled.
        scale: How they were scaled.
        policy: By which policy.

    Raises:
        ValueError: If one does.
    """
    lost = x[(images == 0) & (x != 0)] if policy == "none" else x[:0]
    if not bool((scale.scale > 0).all()):
        what, cure = "a column that varies with a standard deviation of 0", "multiply"
    elif len(lost):
        what, cure = f"one of {float(lost[0]):.1e}", "multiply"
    elif not bool(scale.scale.isfinite().all()) or bool(images.isinf().any()):
        what, cure = f"one of {float(x.nan_to_num(0.0).abs().max()):.1e}", "divide"
    else:
        return
    raise ValueError(
        f"values of {name} must fit into float32 when they are scaled ({policy}), got {what}: {cure} the column, "
        f"or choose another scaling (--data_scaling)"
    )


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
