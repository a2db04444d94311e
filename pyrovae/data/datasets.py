"""Any ``torch.utils.data.Dataset`` of one size as a set: read once, item by item."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyrovae.data.images import VALIDATION_SHARE, ImageSet
from pyrovae.data.scaling import ScalingPolicy
from pyrovae.data.values import Kind, encode_labels, from_values, row_kind


def from_dataset(
    dataset: Any,
    *,
    kind: Kind | None = None,
    scaling: ScalingPolicy = "standard",
    name: str = "dataset",
    validation: float | int = VALIDATION_SHARE,
    progress: bool = False,
) -> ImageSet:
    """Makes a set of a map-style Dataset whose items are x, or begin with x and a label.

    Args:
        dataset: What has a length and gives x, or a pair of x and label, at each number; x is a tensor, a NumPy array
            or a picture of Pillow, always of one shape and type. Pictures and uint8 of two or three axes are grey
            images, (H, W) or (C, H, W).
        kind: What x is; by its number of axes if left out: vectors, or images from two axes on.
        scaling: How values that are no grey images become x.
        name: What to call the set.
        validation: Share or number of the training rows kept for validation.
        progress: Whether to show progress.

    Returns:
        The set, in memory.

    Raises:
        ValueError: If there is no item, one raises, or differs from the first in shape or type.
    """
    count, first, label = first_item(dataset, name)
    values = torch.empty(count, *first.shape, dtype=first.dtype)
    labels: list[Any] = []
    for i in tqdm(range(count), f"reading {name}", unit="item", leave=False, disable=not progress):
        values[i], own = item_of(dataset, i, name, like=first)
        labels.append(own)
    whole = None if label is None else np.asarray(labels)
    kind, grey = row_kind(first.ndim, first.dtype == torch.uint8, kind)
    if grey:
        coded, class_names = encode_labels(name, whole, count)
        return ImageSet.from_arrays(values, coded, class_names=class_names, name=name, validation=validation)
    return from_values(values, whole, kind=kind, scaling=scaling, name=name, validation=validation)


def first_item(dataset: Any, name: str) -> tuple[int, Tensor, Any]:
    """Number of items of a Dataset, and x and label of the first.

    Raises:
        ValueError: If there is none, or it cannot be read.
    """
    count = len(dataset)
    if not count:
        raise ValueError(f"{name} is empty: a dataset must have at least one item")
    return count, *item_of(dataset, 0, name)


def item_of(dataset: Any, i: int, name: str, like: Tensor | None = None) -> tuple[Tensor, Any]:
    """One item: x, and its label or None.

    Args:
        dataset: The Dataset.
        i: The number of the item.
        name: What the set is called, for messages.
        like: What x must be like.

    Raises:
        ValueError: If the item raises, is no array, or is not like that one.
    """
    try:
        item = dataset[i]
        x, label = (item[0], item[1]) if isinstance(item, tuple | list) and len(item) > 1 else (item, None)
        x = x[0] if isinstance(x, tuple | list) and len(x) == 1 else x
        picture = np.asarray(x) if not isinstance(x, Tensor | np.ndarray) else None
        if picture is not None:  # of Pillow: (H, W) or (H, W, C)
            x = picture.transpose(2, 0, 1) if picture.ndim == 3 else picture
        x = torch.as_tensor(np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x)
    except Exception as error:  # a Dataset may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"item {i} of {name} cannot be read: {type(error).__name__}: {reason}") from error
    if like is not None and (x.shape != like.shape or x.dtype != like.dtype):
        raise ValueError(
            f"items of {name} must be alike, got {like.dtype} of shape {tuple(like.shape)} in item 0 and {x.dtype} of "
            f"shape {tuple(x.shape)} in item {i}"
        )
    return x, label.item() if isinstance(label, Tensor) and label.numel() == 1 else label
