"""Few labels: a set of which a number of training images keeps its label, balanced over the classes.

Every other label of the training and validation images is replaced by ``HIDDEN``, so that nothing can read it. Test
labels stay, for the report at the end.
"""

from dataclasses import replace

import torch
from torch import Tensor

from pyrovae.data.images import HIDDEN, UNLABELLED, ImageSet
from pyrovae.shapes import is_whole


def keep_labels(data: ImageSet, count: int, seed: int = 0) -> ImageSet:
    """Hide all labels of the training and validation images but those of `count` training images.

    Args:
        data: The set, all of whose labels are known.
        count: Labels to keep, as many of each class.
        seed: Seed of the choice of images.

    Returns:
        The set with the same images and ``HIDDEN`` for a label that was hidden.

    Raises:
        ValueError: If the set has no labels or a single class, or the labels cannot be balanced.

    Example:
        >>> data = ImageSet.from_arrays(torch.zeros(60, 8, 8, dtype=torch.uint8), torch.arange(60) % 3)
        >>> few = keep_labels(data, 6)
        >>> int((few.split("train").labels != HIDDEN).sum()), set(few.split("validation").labels.tolist())
        (6, {-1})
    """
    train = data.splits["train"]
    each = _of_each_class(data, count)
    labels = data.labels.clone()
    for split in ("train", "validation"):
        labels[data.splits[split]] = HIDDEN
    generator = torch.Generator().manual_seed(seed)
    for kind, name in enumerate(data.class_names):
        own = train[data.labels[train] == kind]
        if len(own) < each:
            raise ValueError(
                f"{count} labels are {each} of each class, and {data.name} has {len(own)} training images of class "
                f"{name!r}: keep at most {len(own) * data.num_classes} (--data_labels)"
            )
        labels[_drawn(own, each, generator)] = kind
    kept = f", {count:,} labels kept ({each:,} of each class), the others hidden"
    return replace(data, labels=labels, source=f"{data.source}{kept}" if data.source else "")


def _of_each_class(data: ImageSet, count: int) -> int:
    """How many labels of each class are kept.

    Raises:
        ValueError: If that is not a whole number from 1 to what there are.
    """
    classes, there = data.num_classes, len(data.splits["train"])
    if data.class_names == UNLABELLED or classes < 2:
        what = "no labels" if data.class_names == UNLABELLED else f"a single class, {data.class_names[0]!r}"
        raise ValueError(
            f"labels can be kept of a set with at least two classes, and {data.name} has {what}: leave --data_labels, "
            f"or name a column of labels (--data_label)"
        )
    if bool((data.labels == HIDDEN).any()):
        raise ValueError(
            f"{data.name} has rows without a label already, and labels can be kept of a set that has all of them: "
            f"leave --data_labels"
        )
    if not is_whole(count, classes) or count % classes or count > there:
        fewer = count if isinstance(count, int) else classes
        near = max(classes, min(fewer, there) // classes * classes)
        raise ValueError(
            f"data_labels must be a multiple of the {classes} classes of {data.name}, from {classes} to the {there:,} "
            f"training images, so that each class has as many, got {count!r}: give {near}, for example"
        )
    return count // classes


def _drawn(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator)[:count]]
