"""Splits as evaluation sees them: pixels drawn once, and cut into batches in order."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pyrovae.data.images import HIDDEN, ImageSet, Split
from pyrovae.data.pixels import PixelChoice, PixelPolicy, choose_policy, fix_pixels, to_unit
from pyrovae.shapes import WrongTypeError

LOOKED_AT = 1000
"""Training images, about, by which a policy is chosen."""
EVALUATED = 1000
"""Images that are evaluated together."""
EVALUATED_BYTES = 1 << 22
"""Size of them as float32, at most, if they are stored on a disk. A C library's heap does not give back all that larger
tensors leave between small ones that stay: with 16 MiB here, an evaluation grew by 10 MB with each batch."""


def fixed_split(split: Split, policy: PixelPolicy, seed: int = 0) -> Split:
    """The same split with its images binarised once and for all, as evaluation needs it; see `fix_pixels`.

    Values that are no grey levels have no policy: they stay as they are.
    """
    if not isinstance(split, Split):
        raise WrongTypeError(f"split must be a Split, such as data.split('test'), got {type(split).__name__}")
    if split.images.is_floating_point():
        return split
    return replace(split, images=fix_pixels(split.images, policy, seed))


def policy_of(data: ImageSet, choice: PixelChoice = "auto") -> PixelPolicy:
    """The policy that suits a set, by a look at a thousand of its training images; see `choose_policy`."""
    train = data.splits["train"]
    return choose_policy(data.images[train[:: max(1, len(train) // LOOKED_AT)]], choice)


def evaluated_together(data: ImageSet) -> int:
    """Number of images of a set that are evaluated at a time."""
    if data.stored is None:
        return EVALUATED
    return max(1, min(EVALUATED, EVALUATED_BYTES // (4 * data.images[0].numel())))


def evenly_spaced(total: int, count: int) -> list[int]:
    """Numbers of at most `count` images of so many, evenly spaced, since image sets are often ordered by source."""
    return list(range(total)) if count >= total else [i * total // count for i in range(count)]


def batches(split: Split, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels in [0, 1] or values x, (B, C, H, W), and labels y, (B,), of a split on a device, `size` at a time.

    Raises:
        ValueError: If some of the labels are hidden.
    """
    hidden = int((split.labels == HIDDEN).sum())
    if hidden:
        raise ValueError(
            f"the labels of {hidden:,} of {len(split):,} images are hidden: fill them with "
            f"pyrovae.inference.with_predicted_labels(model, split)"
        )
    for images, labels in zip(split.images.split(size), split.labels.split(size), strict=True):
        yield to_unit(images.to(device)), labels.to(device)


def batches_of_any(split: Split, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The same of a split whose labels may all be hidden; they are None then.

    Raises:
        ValueError: If some of the labels are hidden and others are not.
    """
    if not len(split) or not bool((split.labels == HIDDEN).all()):
        yield from batches(split, size, device)
        return
    for images in split.images.split(size):
        yield to_unit(images.to(device)), None
