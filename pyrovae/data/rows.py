"""Where the rows of a pack come from: a source is read some rows at a time, and says all else of them beforehand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.datasets import first_item, item_of
from pyrovae.data.image_files import ImageFiles
from pyrovae.data.images import ImageSet, as_images, draw_splits
from pyrovae.data.labels import encode_labels
from pyrovae.data.scaling import Scaling
from pyrovae.data.values import Kind, row_kind, shaped
from pyrovae.digests import digest


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of images or values.

    Args:
        name: What the source is called.
        count: Number of rows, N.
        read: Reads rows by their numbers: uint8 or floating point (n, C, H, W), and their labels if these are not known
            beforehand.
        splits: Sorted numbers of the rows of each split.
        labels: Class of each row, int64 (N,); None if `read` gives them.
        class_names: One name per class; none if `read` gives the labels.
        attributes: What is true of each row, bool (N, A).
        attribute_names: One name per attribute.
        official_validation: Whether the validation rows are those of the set's makers.
        columns: Names of a table's columns.
        scaling: Of values that are scaled already; None for grey values, and for values that are not.
        factors: What each row was rendered from, float64 (N, F).
        factor_names: One name per factor.
        content: What shows that a source is still the same, when a pack of it is gone on with.
    """

    name: str
    count: int
    read: Callable[[Sequence[int]], tuple[Tensor, list[Any] | None]]
    splits: Mapping[str, Tensor]
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    official_validation: bool = False
    columns: tuple[str, ...] = ()
    scaling: Scaling | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    content: dict[str, Any] = field(default_factory=dict)


def of_files(files: ImageFiles) -> Rows:
    """Image files, decoded when they are read."""

    def stamp(path: Path) -> tuple[str, int, int]:
        return str(path), path.stat().st_size, path.stat().st_mtime_ns

    return Rows(
        files.name,
        len(files.paths),
        lambda numbers: (files.decode(numbers), None),
        files.splits,
        files.labels,
        files.class_names,
        files.attributes,
        files.attribute_names,
        files.official_validation,
        content={"files": digest([stamp(path) for path in files.paths])},
    )


def of_images(data: ImageSet, own_validation: bool = False) -> Rows:
    """A set in memory, with its own splits.

    Args:
        data: The set.
        own_validation: Whether its validation rows stay so whatever the share that is asked for.
    """

    def read(numbers: Sequence[int]) -> tuple[Tensor, None]:
        return data.images[torch.as_tensor(numbers)], None

    return Rows(
        data.name,
        len(data),
        read,
        data.splits,
        data.labels,
        data.class_names,
        data.attributes,
        data.attribute_names,
        own_validation,
        columns=data.columns,
        scaling=data.scaling,
        factors=data.factors,
        factor_names=data.factor_names,
        content={"images": digest(data.images)},
    )


def of_array(
    array: np.ndarray,
    labels: Any,
    kind: Kind | None,
    name: str,
    validation: float | int,
    content: dict[str, Any],
    columns: tuple[str, ...] = (),
) -> Rows:
    """An array, such as one that is mapped into memory; of uint8 with three or four axes grey values, else values.

    Args:
        array: The array, rows first.
        labels: Class of each row, or None.
        kind: What the rows are; by their number of axes if left out.
        name: What the source is called.
        validation: Share or number of the training rows kept for validation.
        content: What shows that it is still the same.
        columns: Names of the columns of vectors; their places if left out.

    Raises:
        ValueError: If it holds no numbers, or its shape is of no kind.
    """
    if array.dtype.kind not in "biuf" or array.ndim < 2 or 0 in array.shape:
        raise ValueError(
            f"an array to pack must hold numbers in at least two axes, rows first, got {array.dtype} of shape "
            f"{array.shape} in {name}"
        )
    kind, grey = row_kind(array.ndim - 1, array.dtype == np.uint8, kind)

    def read(numbers: Sequence[int]) -> tuple[Tensor, None]:
        some = array[np.asarray(numbers)]
        return as_images(name, some) if grey else shaped(name, some, kind), None

    coded, class_names = encode_labels(name, labels, len(array))
    columns = (columns or tuple(map(str, range(array.shape[1])))) if kind == "vectors" else ()
    splits = draw_splits(len(array), validation=validation)
    return Rows(name, len(array), read, splits, coded, class_names, columns=columns, content=content)


def of_dataset(dataset: Any, kind: Kind | None, name: str, validation: float | int) -> Rows:
    """A map-style Dataset, whose labels come with its items; see `from_dataset`.

    Raises:
        ValueError: If it is empty, or its first item is no array.
    """
    count, first, _ = first_item(dataset, name)
    kind, grey = row_kind(first.ndim, first.dtype == torch.uint8, kind)

    def read(numbers: Sequence[int]) -> tuple[Tensor, list[Any]]:
        items = [item_of(dataset, int(i), name, like=first) for i in numbers]
        x = torch.stack([item for item, _ in items])
        return as_images(name, x) if grey else shaped(name, x, kind), [label for _, label in items]

    splits = draw_splits(count, validation=validation)
    columns = tuple(map(str, range(first.numel()))) if kind == "vectors" else ()
    return Rows(name, count, read, splits, columns=columns, content={"type": type(dataset).__name__})
