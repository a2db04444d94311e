"""The batches of a training: order of the images, their device and their pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split, pixels


class Batches:
    """Training images in batches, in an order that depends only on seed and epoch.

    Args:
        data: The images.
        policy: How they become pixels.
        size: Images in a batch; the last one of an epoch takes those that are left.
        seed: Seed of the order.
        device: Where the pixels are made. The images stay there too if they fit.

    Attributes:
        images: All images, uint8 (N, C, H, W), binarised if their pixels are drawn once.
        labels: Their labels, (N,).
        index: Which of them are trained on.
        per_epoch: Batches of an epoch.
    """

    def __init__(self, data: ImageSet, policy: PixelPolicy, size: int, seed: int, device: torch.device) -> None:
        self.data, self.policy, self.size, self.seed, self.device = (
            _drawn_once(data, policy),
            policy,
            size,
            seed,
            device,
        )
        self.images, self.labels = self.data.images, self.data.labels
        self.resident = _fits(self.images, device)
        if self.resident:
            self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.index = self.data.splits["train"]
        self.per_epoch = math.ceil(len(self.index) / size)
        self._order: tuple[int, Tensor] | None = None

    def of_epoch(self, epoch: int, first: int, count: int) -> list[Tensor]:
        """Indices of the images of at most `count` batches of an epoch, starting with batch `first`."""
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = self.index[torch.randperm(len(self.index), generator=generator)].to(self.images.device)
            self._order = epoch, order
        return list(self._order[1][first * self.size : (first + count) * self.size].split(self.size))

    def inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """The input of `prepare`: indices of a batch, or its images if they are not on the device."""
        if self.resident:
            return (index,)
        return _sent(self.images[index], self.device), _sent(self.labels[index], self.device)

    def prepare(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels x, (B, C, H, W), and labels y, (B,), of a batch; part of the step's graph."""
        images, labels = (self.images[inputs[0]], self.labels[inputs[0]]) if self.resident else inputs
        x = images if images.is_floating_point() else pixels(images, self.policy)
        return x, labels

    def evaluated(self) -> dict[str, Split]:
        """The validation images and as many training images, on which each epoch is measured."""
        validation = len(self.data.splits["validation"])
        splits = {"train": self.fixed("train", validation or 5000)}
        if validation:
            splits["validation"] = self.fixed("validation", validation)
        return splits

    def fixed(self, name: str, at_most: int) -> Split:
        """The first images of a split, binarised once."""
        whole = self.data.split(name)
        return fixed_split(whole.take(range(min(at_most, len(whole)))), self.policy)


def _sent(batch: Tensor, device: torch.device) -> Tensor:
    """A batch on the device; to a GPU from pinned memory, so that the host goes on while it travels."""
    return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch.to(device)


def _drawn_once(data: ImageSet, policy: PixelPolicy) -> ImageSet:
    """Images with the same pixels in every epoch and in every evaluation of a split."""
    if policy not in ("fixed", "threshold") or data.scaling is not None:
        return data
    images = data.images.clone()
    for name, index in data.splits.items():
        images[index] = fixed_split(data.split(name), policy).images
    return replace(data, images=images)


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether a set of images can stay on the device, with half of its free memory left."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < free // 2
