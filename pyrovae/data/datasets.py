"""Any ``torch.utils.data.Dataset`` of one size as a set: read once, item by item."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from pyrovae.data.arrays import to_tensor
from pyrovae.data.image_files import picture_array
from pyrovae.data.images import VALIDATION_SHARE, ImageSet
from pyrovae.data.labels import encode_labels, plain_label
from pyrovae.data.scaling import ScalingPolicy
from pyrovae.data.values import Kind, from_values, row_kind


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
            images, (H, W) or (C, H, W). A label is a whole number or a word, None or NaN where it is not known.
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
    count, first, _ = first_item(dataset, name)
    values = torch.empty(count, *first.shape, dtype=first.dtype)
    labels: list[Any] = []
    for i in tqdm(range(count), f"reading {name}", unit="item", leave=False, disable=not progress):
        values[i], own = item_of(dataset, i, name, like=first)
        labels.append(own)
    whole = None if all(label is None for label in labels) else labels
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
    try:
        count = len(dataset)
    except Exception as error:  # a Dataset may raise anything
        raise ValueError(
            f"{name} must be a map-style Dataset, which has a length and an item at each number, got a "
            f"{type(dataset).__name__}: {_reason(error)}"
        ) from error
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
    except Exception as error:  # a Dataset may raise anything
        raise ValueError(f"item {i} of {name} cannot be read: {type(error).__name__}: {_reason(error)}") from error
    x, label = (item[0], item[1]) if isinstance(item, tuple | list) and len(item) > 1 else (item, None)
    x = x[0] if isinstance(x, tuple | list) and len(x) == 1 else x
    try:
        if x is not item and isinstance(x, bool | int | float | str | None):
            raise ValueError(f"it begins with {x!r:.60}, and x must be an array, such as numpy.array([...]) makes")
        x = to_tensor(picture_array(x) if isinstance(x, Image.Image) else x)
        label = plain_label(label)
    except (TypeError, ValueError, RuntimeError, OSError) as error:  # OSError: of a picture that is cut off
        raise ValueError(f"item {i} of {name} cannot be used: {_reason(error)}") from error
    if like is not None and (x.shape != like.shape or x.dtype != like.dtype):
        raise ValueError(
            f"items of {name} must be alike, got {like.dtype} of shape {tuple(like.shape)} in item 0 and {x.dtype} of "
            f"shape {tuple(x.shape)} in item {i}"
        )
    return x, label


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
