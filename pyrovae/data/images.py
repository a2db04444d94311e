"""A set of images: kept once in memory, with labels, and cut into train, validation and test.

The rule of the splits, for every set that pyrovae loads:

* **test** is the official test set. A set without one gives a sixth of its images.
* **validation** is a share of what remains, 1/12 unless asked otherwise: 5,000 of MNIST's 60,000 training
  images. With ``validation=0`` every training image is trained on, as some published protocols do. An
  official validation set (CelebA has one) is used as it is.
* **train** is the rest.

What is drawn is drawn at random, but always by a generator of seed 0: everyone who asks for the same set and
the same share holds the same splits, whatever the seed of the training. Splits are sorted indices into the
images, so that nothing is copied: a batch of the training set is
``data.images[data.splits["train"][batch]]``.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.scaling import Scaling
from pyrovae.shapes import ImageShape, WrongTypeError

SPLIT_NAMES = ("train", "validation", "test")
VALIDATION_SHARE = 1 / 12
TEST_SHARE = 1 / 6
SPLIT_SEED = 0
UNLABELLED = ("unlabelled",)
HIDDEN = -1
"""The label of an image whose class is not known, as in scikit-learn."""
COPIED = 1 << 26
"""Bytes up to which images that lie side by side are copied when they are cut out; more of them are a view."""


@dataclass(frozen=True)
class Stored:
    """What is known of images that stay on the disk and are mapped into memory.

    Args:
        folder: Where they lie.
        missing: Share of their values that is missing.
    """

    folder: Path
    missing: float = 0.0


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split, with what belongs to them.

    Args:
        images: Grey values 0 to 255, uint8 (N, C, H, W), or values as they are, float32, NaN where one is missing.
        labels: Class of each image, int64 (N,); -1 if it is not known.
        attributes: What is true of each image, bool (N, A), for a set that says so.

    Raises:
        TypeError: If images or labels are no tensors.
        ValueError: If a type or a shape is not as above.
    """

    images: Tensor
    labels: Tensor
    attributes: Tensor | None = None

    def __post_init__(self) -> None:
        for name, kinds, types in (
            ("images", "uint8 with grey values 0 to 255, or float32 with values", (torch.uint8, torch.float32)),
            ("labels", "int64", (torch.int64,)),
        ):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                raise WrongTypeError(
                    f"{name} of a split must be a tensor, {kinds}, got a value of type {type(value).__name__}: "
                    f"torch.as_tensor(array) makes one, or ImageSet.from_arrays takes arrays"
                )
            if value.dtype not in types:
                raise ValueError(f"{name} of a split must be {kinds}, got {value.dtype}: convert them")
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"a split needs images of shape (N, C, H, W) and one label for each, (N,), got "
                f"{tuple(self.images.shape)} and {tuple(self.labels.shape)}: images.unsqueeze(0) makes a batch of one"
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, numbers: Sequence[int]) -> "Split":
        """Cuts some images out, by their numbers in the split; from a range of many, a view.

        Raises:
            ValueError: If there is no image of such a number.
            TypeError: If one is no whole number.
        """
        step = numbers.step if isinstance(numbers, range) and numbers.step > 0 else 0
        try:
            numbers = [operator.index(number) for number in numbers]
        except TypeError as error:
            raise WrongTypeError(f"numbers of images must be a list of whole numbers, got {numbers!r:.60}") from error
        wrong = [number for number in numbers if not 0 <= number < len(self)]
        if wrong:
            raise ValueError(f"this split has images 0 to {len(self) - 1}, got {wrong[0]}")
        part: slice | Tensor = torch.tensor(numbers, dtype=torch.int64)
        if step and len(numbers) * self.images[:1].nbytes > COPIED:
            part = slice(numbers[0], numbers[-1] + 1, step)
        return Split(self.images[part], self.labels[part], None if self.attributes is None else self.attributes[part])

    def with_known_labels(self) -> "Split":
        """The images whose class is known; all of them, uncopied, where none is hidden."""
        known = self.labels != HIDDEN
        return self if bool(known.all()) else self.take(known.nonzero().flatten().tolist())

    def without_labels(self) -> "Split":
        """The same images, whose classes are not known."""
        return Split(self.images, torch.full_like(self.labels, HIDDEN), self.attributes)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory once, their labels, and the splits as indices into both.

    Args:
        name: What the set is called, as in ``load_images(name)``.
        images: Grey values 0 to 255, uint8 (N, C, H, W); float32 for a set with a ``scaling``, see `from_values`.
        labels: Class of each image, int64 (N,), from 0 to ``num_classes`` - 1, or -1 if it is not known.
        class_names: One name per class. A set without labels has one class, ``("unlabelled",)``.
        splits: Sorted int64 indices into the images, by "train", "validation" and "test", without overlap.
            One that is left out is empty; train may not be.
        attributes: What is true of each image, bool (N, A), for a set that says so.
        attribute_names: One name per column of ``attributes``.
        source: One line that says what was loaded, from where and why, ready to be printed.
        scaling: How values other than grey levels became the images; None for grey levels.
        stored: What is known of images that are mapped into memory; None for those that are in it.
        factors: What each image was rendered from, float64 (N, F), for a set that was.
        factor_names: One name per column of ``factors``.

    Raises:
        ValueError: If a size, a type or a range is not as above.

    Example:
        >>> data = ImageSet.from_arrays(torch.zeros(24, 8, 8, dtype=torch.uint8), validation=2)
        >>> data
        ImageSet('arrays': 18 train, 2 validation, 4 test images of 1×8×8, 1 class)
        >>> data.split("validation").images.shape
        torch.Size([2, 1, 8, 8])
    """

    name: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    splits: Mapping[str, Tensor]
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    source: str = ""
    scaling: Scaling | None = None
    stored: Stored | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scaling is None:
            _check_images(self.name, self.images)
        else:
            _check_values(self.name, self.images)
        _check_labels(self.name, self.labels, len(self.images), len(self.class_names))
        _check_attributes(self.name, self.attributes, len(self.images), len(self.attribute_names))
        _check_factors(self.name, self.factors, len(self.images), len(self.factor_names))
        _check_splits(self.name, self.splits, len(self.images))
        splits = {split: self.splits.get(split, torch.empty(0, dtype=torch.int64)) for split in SPLIT_NAMES}
        object.__setattr__(self, "splits", MappingProxyType(splits))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "attribute_names", tuple(self.attribute_names))

    @classmethod
    def from_arrays(
        cls,
        images: Tensor | np.ndarray,
        labels: Tensor | np.ndarray | Sequence[int] | None = None,
        *,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        splits: Mapping[str, Tensor | np.ndarray | Sequence[int]] | None = None,
        validation: float | int = VALIDATION_SHARE,
        attributes: Tensor | np.ndarray | None = None,
        attribute_names: Sequence[str] = (),
    ) -> "ImageSet":
        """Makes an image set of your own arrays. Their memory is shared, not copied, where that is possible.

        Args:
            images: Grey values 0 to 255, uint8, (N, H, W) or (N, C, H, W). Floating-point images are refused
                and not rounded in silence: ``(images * 255).round()`` as uint8 is the cure for images in [0,
                1].
            labels: Class of each image, whole numbers (N,); none for a set without labels.
            class_names: One name per class; the class numbers if left out.
            splits: Indices of the images of each split; drawn by the rule of this module if left out.
            validation: Share (a float) or number (an int) of the images left for training that is kept for
                validation; only without ``splits``.
            name: What to call the set.
            attributes: What is true of each image, bool (N, A).
            attribute_names: One name per column of ``attributes``.

        Returns:
            The image set.

        Raises:
            ValueError: If a size, a type or a range is not as above.
        """
        images = as_images(name, images)
        if labels is None:
            labels, class_names = torch.zeros(len(images), dtype=torch.int64), class_names or UNLABELLED
        labels = _whole_numbers(f"labels of {name}", labels, "number the classes from 0 and pass class_names")
        if class_names is None:
            class_names = [str(c) for c in range(int(labels.max()) + 1 if labels.numel() else 0)]
        if splits is None:
            index = draw_splits(len(images), validation=validation)
        else:
            index = sorted_splits(name, splits, len(images))
        return cls(
            name=name,
            images=images,
            labels=labels,
            class_names=tuple(class_names),
            splits=index,
            attributes=None if attributes is None else _as_tensor(attributes),
            attribute_names=tuple(attribute_names),
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height and width of one image, (C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes; 1 for a set without labels."""
        return len(self.class_names)

    @property
    def has_missing(self) -> bool:
        """Whether a value is missing."""
        return self.missing > 0

    @cached_property
    def missing(self) -> float:
        """Share of the values that is missing."""
        if self.stored is not None:
            return self.stored.missing
        return float(self.images.isnan().float().mean()) if self.images.is_floating_point() else 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of a table's columns; none for images and sequences."""
        return () if self.scaling is None else self.scaling.columns

    @property
    def sizes(self) -> str:
        """The sizes in words: "55,000 train, 5,000 validation, 10,000 test images of 1×28×28"."""
        counts = ", ".join(f"{len(index):,} {split}" for split, index in self.splits.items())
        missing = f", {self.missing:.1%} of the values missing" if self.has_missing else ""
        if self.columns:
            return f"{counts} rows of {len(self.columns)} columns{missing}"
        return f"{counts} images of {'×'.join(map(str, self.image_shape))}{missing}"

    def split(self, name: str) -> Split:
        """Cuts one split out: a view where its images lie side by side, a copy where they do not.

        Args:
            name: "train", "validation" or "test".

        Returns:
            The images of the split, in the order of the set.

        Raises:
            ValueError: If there is no such split.
        """
        if name not in self.splits:
            raise ValueError(f"split must be one of {', '.join(SPLIT_NAMES)}, got {name!r}")
        index = self.splits[name]
        if len(index) and int(index[-1] - index[0]) + 1 == len(index):
            part: slice | Tensor = slice(int(index[0]), int(index[-1]) + 1)
        else:
            part = index
        return Split(self.images[part], self.labels[part], None if self.attributes is None else self.attributes[part])

    def __reduce__(self) -> tuple[type["ImageSet"], tuple[Any, ...]]:
        # A read-only mapping cannot be copied or sent to another process.
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self), tuple((values | {"splits": dict(self.splits)}).values())

    def __repr__(self) -> str:
        classes = f"{self.num_classes} class{'es' if self.num_classes != 1 else ''}"
        attributes = f", {len(self.attribute_names)} attributes" if self.attribute_names else ""
        return f"ImageSet({self.name!r}: {self.sizes}, {classes}{attributes})"


def draw_splits(
    count: int, *, num_test: int | None = None, validation: float | int = VALIDATION_SHARE
) -> dict[str, Tensor]:
    """Draws train, validation and test by the rule of this module.

    Args:
        count: Number of images of the whole set.
        num_test: Number of images of an official test set, which are the last of the set; None if it has
            none.
        validation: Share (a float in [0, 1)) or number (an int) of the images left for training.

    Returns:
        Sorted indices, int64, by name of the split.

    Raises:
        ValueError: If ``validation`` leaves no image for training.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    index = torch.arange(count)
    if num_test is None:
        rest, test = _draw(index, round(count * TEST_SHARE), generator)
    else:
        rest, test = index[: count - num_test], index[count - num_test :]
    train, held_out = _draw(rest, validation_count(validation, len(rest)), generator)
    return {"train": train, "validation": held_out, "test": test}


def _draw(index: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Splits ``index`` at random into what stays and ``count`` that are drawn, both sorted."""
    drawn = torch.zeros(len(index), dtype=torch.bool)
    drawn[torch.randperm(len(index), generator=generator)[:count]] = True
    return index[~drawn], index[drawn]


def validation_count(validation: float | int, available: int) -> int:
    """Number of validation images that a share or a number of those left for training makes.

    Raises:
        ValueError: If it leaves no image for training.
    """
    is_number = isinstance(validation, int | float) and not isinstance(validation, bool)
    count = -1
    if is_number and 0 <= validation < (1 if isinstance(validation, float) else available):
        count = validation if isinstance(validation, int) else round(validation * available)
    if not 0 <= count < available:
        raise ValueError(
            f"validation must be a share in [0, 1), such as 0.1, or a whole number of images below the "
            f"{available:,} that there are for training, got {validation!r}"
        )
    return count


def _as_tensor(array: Tensor | np.ndarray | Sequence[int]) -> Tensor:
    if isinstance(array, np.ndarray):
        # A tensor cannot know that it must not be written to, and torch warns of it; so such an array is
        # copied.
        array = np.ascontiguousarray(array) if array.flags.writeable else array.copy()
    return torch.as_tensor(array)


def _check_unmasked(what: str, values: object) -> None:
    if np.ma.is_masked(values):
        raise ValueError(
            f"{what} have masked entries, and none can be missing there: pyrovae.data.from_values takes values and "
            f"labels of which some are missing"
        )


def as_images(name: str, images: Tensor | np.ndarray) -> Tensor:
    """Grey values as uint8 (N, C, H, W).

    Args:
        name: What the set is called, for messages.
        images: uint8 (N, H, W) or (N, C, H, W).

    Raises:
        ValueError: If type or shape is another.
    """
    _check_unmasked(f"images of {name}", images)
    try:
        images = _as_tensor(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WrongTypeError(
            f"images of {name} must be a tensor or an array, uint8 (N, C, H, W), got {type(images).__name__}: "
            f"numpy.stack([numpy.asarray(picture) for picture in pictures]) of pictures of one size"
        ) from error
    images = images.unsqueeze(1) if images.ndim == 3 else images
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        raise ValueError(
            f"images of {name} must have the channels before the pixels, (N, C, H, W), got "
            f"{tuple(images.shape)}; images.transpose(0, 3, 1, 2) of an array puts them there"
        )
    _check_images(name, images)
    return images


def _whole_numbers(what: str, values: Tensor | np.ndarray | Sequence[int], cure: str) -> Tensor:
    _check_unmasked(what, values)
    try:
        tensor = _as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:  # such as words
        first = str(next(iter(values), None))
        raise ValueError(f"{what} must be whole numbers, got {first!r}; {cure}") from error
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
        raise ValueError(f"{what} must be whole numbers, got {tensor.dtype}; convert them to int64")
    return tensor.to(torch.int64)


def _check_images(name: str, images: Tensor) -> None:
    if images.dtype != torch.uint8:
        raise ValueError(
            f"images of {name} must be uint8 with grey values 0 to 255, got {images.dtype}; "
            f"for values in [0, 1]: (images * 255).round() converted to uint8; for any other: pyrovae.data.from_values"
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images of {name} must have the shape (N, C, H, W) with at least one image and one pixel, "
            f"got {tuple(images.shape)}"
        )


def _check_values(name: str, values: Tensor) -> None:
    if values.dtype != torch.float32 or values.ndim != 4 or 0 in values.shape:
        raise ValueError(
            f"values of {name} must be float32 of shape (N, C, H, W) with at least one row and one value, got "
            f"{values.dtype} of shape {tuple(values.shape)}; pyrovae.data.from_values makes a set of any array"
        )


def _check_labels(name: str, labels: Tensor, count: int, num_classes: int) -> None:
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise ValueError(
            f"labels of {name} must be int64 of shape ({count},), one for each image, "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < HIDDEN or high >= num_classes or high < 0:
        raise ValueError(
            f"labels of {name} must lie in 0 to {num_classes - 1}, for {num_classes} class names, "
            f"got {low} to {high}; number the classes from 0 and name each ({HIDDEN} is a class that is not known)"
        )


def _check_attributes(name: str, attributes: Tensor | None, count: int, num_attributes: int) -> None:
    if attributes is None:
        if num_attributes:
            raise ValueError(f"{name} has {num_attributes} attribute names but no attributes; give both or neither")
    elif attributes.dtype != torch.bool or attributes.shape != (count, num_attributes):
        raise ValueError(
            f"attributes of {name} must be bool of shape ({count}, {num_attributes}), one row for each image "
            f"and one column for each name, got {attributes.dtype} of shape {tuple(attributes.shape)}"
        )


def _check_factors(name: str, factors: Tensor | None, count: int, num_factors: int) -> None:
    shape = None if factors is None else tuple(factors.shape)
    if shape != ((count, num_factors) if num_factors else None) or (
        factors is not None and factors.dtype != torch.float64
    ):
        raise ValueError(
            f"factors of {name} must be float64 of shape ({count}, {num_factors}), one row for each image and one "
            f"column for each name, or none without names, got {None if factors is None else factors.dtype} of {shape}"
        )


def sorted_splits(
    name: str, splits: Mapping[str, Tensor | np.ndarray | Sequence[int]], count: int
) -> dict[str, Tensor]:
    """Numbers of the images of each split as sorted indices, int64.

    Args:
        name: What the set is called, for messages.
        splits: Numbers of the images of each split.
        count: Number of images of the set.

    Raises:
        ValueError: If there is no training image, a number is no image's, or one is in two splits.
    """
    cure = "give the numbers of its images"
    index = {part: _whole_numbers(f"split {part!r}", rows, cure).sort().values for part, rows in splits.items()}
    _check_splits(name, index, count)
    return index


def _check_splits(name: str, splits: Mapping[str, Tensor], count: int) -> None:
    unknown = sorted(set(splits) - set(SPLIT_NAMES))
    if unknown:
        raise ValueError(f"splits of {name} must be named {', '.join(SPLIT_NAMES)}, got {', '.join(unknown)}")
    if "train" not in splits or not len(splits["train"]):
        raise ValueError(f"the train split of {name} must hold at least one image, got none")
    for split, index in splits.items():
        if index.dtype != torch.int64 or index.ndim != 1 or bool((index.diff() <= 0).any()):
            raise ValueError(
                f"the {split} split of {name} must be sorted int64 indices of shape (n,), each once, "
                f"got {index.dtype} of shape {tuple(index.shape)}"
            )
        if len(index) and not 0 <= int(index[0]) <= int(index[-1]) < count:
            raise ValueError(
                f"the {split} split of {name} must index its {count} images, 0 to {count - 1}, "
                f"got {int(index[0])} to {int(index[-1])}"
            )
    taken = torch.cat(list(splits.values())).bincount(minlength=count)
    if int(taken.max()) > 1:
        raise ValueError(
            f"the splits of {name} must not overlap, got image {int(taken.argmax())} in more than one; "
            f"keep it in one of them"
        )
