"""The order of the images of an epoch: which are in each batch, by seed and epoch alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyrovae.data import HIDDEN, ImageSet
from pyrovae.objectives import FewLabels
from pyrovae.training.block_order import block_order

LABELLED_SHARE = 1 / 4
"""Share of a batch, at least, that has labels where few images have. They are cheap: no sum over classes."""


@dataclass(frozen=True, eq=False)
class Order(ABC):
    """Which images each batch of an epoch holds.

    Args:
        index: The training images.
        size: Images in a batch; the last one of an epoch takes those that are left.
        seed: Seed of the order.
    """

    index: Tensor
    size: int
    seed: int

    @property
    @abstractmethod
    def per_epoch(self) -> int:
        """Batches of an epoch."""

    @abstractmethod
    def images(self, batches: int) -> int:
        """Images of the first batches of an epoch, each as often as it comes."""

    @property
    def few(self) -> FewLabels | None:
        """How a batch is made of images with labels and without; None where that is all the same."""
        return None

    @abstractmethod
    def batches(self, epoch: int) -> list[Tensor]:
        """Indices of the images of each batch of an epoch."""


class WholeOrder(Order):
    """Every image once in an epoch."""

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self.index) / self.size)

    def images(self, batches: int) -> int:
        """Images of the first batches of an epoch."""
        return min(batches * self.size, len(self.index))

    def batches(self, epoch: int) -> list[Tensor]:
        """Indices of the images of each batch of an epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return list(_shuffled(self.index, generator).split(self.size))


@dataclass(frozen=True, eq=False)
class BlockOrder(WholeOrder):
    """Every image once in an epoch, in long runs of neighbours: for images that are read from a disk.

    Args:
        image_bytes: Size of an image.
    """

    image_bytes: int

    def batches(self, epoch: int) -> list[Tensor]:
        """Indices of the images of each batch of an epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return list(self.index[block_order(len(self.index), self.image_bytes, generator)].split(self.size))


@dataclass(frozen=True, eq=False)
class MixedOrder(Order):
    """Every image without a label once in an epoch, and before them in each batch the same number of labelled ones.

    The labelled images come in turn, in a new order whenever all have come.

    Args:
        labelled: Which training images have labels.
    """

    labelled: Tensor

    @cached_property
    def _others(self) -> Tensor:
        return self.index[~torch.isin(self.index, self.labelled)]

    @property
    def few(self) -> FewLabels:
        """How a batch is made."""
        share = len(self.labelled) / len(self.index)
        wanted = round(self.size * max(share, LABELLED_SHARE))
        return FewLabels(max(1, min(wanted, self.size - 1, len(self.labelled))), share)

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self._others) / (self.size - self.few.known))

    def images(self, batches: int) -> int:
        """Images of the first batches of an epoch."""
        known = self.few.known
        return min(batches * (self.size - known), len(self._others)) + batches * known

    def batches(self, epoch: int) -> list[Tensor]:
        """Indices of the images of each batch of an epoch, labelled ones first."""
        known, count = self.few.known, self.per_epoch
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        others = _shuffled(self._others, generator).split(self.size - known)
        rounds = [_shuffled(self.labelled, generator) for _ in range(math.ceil(count * known / len(self.labelled)))]
        labelled = torch.cat(rounds)[: count * known].split(known)
        return [torch.cat(both) for both in zip(labelled, others, strict=True)]


def order_of(data: ImageSet, size: int, seed: int = 0) -> Order:
    """The order in which a set is trained on: mixed where some images have no label, by blocks where they are stored.

    Args:
        data: The set.
        size: Images in a batch.
        seed: Seed of the order.

    Raises:
        ValueError: If a batch is too small for a labelled image and another one.
    """
    index = data.splits["train"]
    known = data.labels[index] != HIDDEN
    if bool(known.all()):
        stored = data.stored is not None
        return BlockOrder(index, size, seed, data.images[0].nbytes) if stored else WholeOrder(index, size, seed)
    if size < 2:
        raise ValueError(
            f"batch_size must be at least 2 where few images have labels, of which each batch holds one, got {size}"
        )
    return MixedOrder(index, size, seed, index[known])


def _shuffled(index: Tensor, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator)]
