"""The batches of a training: order of the images, their device and their pixels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pyrovae.data import HIDDEN, ImageSet, PixelPolicy, Split, fixed_split, pixels
from pyrovae.data.scratch import scratch_like
from pyrovae.training.order import order_of
from pyrovae.training.processes import ALONE, Processes

STAGED_BYTES = 1 << 25
"""Bytes of images that are read at a time and handed to the engine, if they are not on its device."""


class Batches:
    """Training images in batches, in an order that depends only on seed and epoch.

    Args:
        data: The images.
        policy: How they become pixels.
        size: Images in a batch; the last one of an epoch takes those that are left.
        seed: Seed of the order.
        device: Where the pixels are made. The images stay there too if they fit and are not on the disk alone.
        processes: Those that share a batch.

    Attributes:
        images: All images, uint8 (N, C, H, W), binarised if their pixels are drawn once.
        labels: Their labels, (N,).
        order: Which of them are in each batch.
    """

    def __init__(
        self,
        data: ImageSet,
        policy: PixelPolicy,
        size: int,
        seed: int,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self.data, self.policy, self.device = _drawn_once(data, policy), policy, device
        self.size = size
        self.images, self.labels = self.data.images, self.data.labels
        self.resident = fits(self.images, device) and (data.stored is None or device.type != "cpu")
        if self.resident:
            self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.order = order_of(data, size, seed)
        self.per_epoch = self.order.per_epoch
        few = self.order.few
        self._known = None if few is None else processes.share_of(few.known)
        self._of_epoch: tuple[int, list[Tensor]] | None = None

    def of_epoch(self, epoch: int, first: int, count: int) -> list[Tensor]:
        """Indices of the images of at most `count` batches of an epoch, starting with batch `first`."""
        if self._of_epoch is None or self._of_epoch[0] != epoch:
            found = self.order.batches(epoch)
            whole = torch.cat(found).to(self.images.device)  # one copy to a GPU
            self._of_epoch = epoch, list(whole.split([len(index) for index in found]))
        if not self.resident:
            count = min(count, max(1, STAGED_BYTES // (self.size * self.images[0].nbytes)))
        return self._of_epoch[1][first : first + count]

    def inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """The input of `prepare`: indices of a batch, or its images if they are not on the device."""
        if self.resident:
            return (index,)
        return sent(self.images[index], self.device), sent(self.labels[index], self.device)

    def prepare(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels x, (B, C, H, W), and labels y of a batch, (B,), or of its first images; part of the step's graph.

        Of several processes, each prepares its own images.
        """
        images, labels = (self.images[inputs[0]], self.labels[inputs[0]]) if self.resident else inputs
        x = images if images.is_floating_point() else pixels(images, self.policy)
        return x, labels if self._known is None else labels[: self._known]

    def evaluated(self) -> dict[str, Split]:
        """The validation images and as many training images, on which each epoch is measured."""
        validation = len(self.data.splits["validation"])
        splits = {"train": self.fixed("train", validation or 5000)}
        if validation:
            splits["validation"] = self.fixed("validation", validation)
        return splits

    def shown(self, at_most: int) -> Split:
        """The first training images whose class is known, binarised once, for parts that are initialised from data.

        Of stored ones they are 8 MiB at most.
        """
        if self.data.stored is not None:
            at_most = min(at_most, max(1, STAGED_BYTES // 4 // self.images[0].nbytes))
        index = self.data.splits["train"]
        index = index[self.data.labels[index] != HIDDEN][:at_most]
        return fixed_split(Split(self.data.images[index], self.data.labels[index]), self.policy)

    def fixed(self, name: str, at_most: int) -> Split:
        """The first images of a split, binarised once."""
        whole = self.data.split(name)
        return fixed_split(whole.take(range(min(at_most, len(whole)))), self.policy)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; to a GPU from pinned memory, so that the host goes on while it travels."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _drawn_once(data: ImageSet, policy: PixelPolicy) -> ImageSet:
    """Images with the same pixels in every epoch and in every evaluation of a split."""
    if policy not in ("fixed", "threshold") or data.scaling is not None:
        return data
    images = scratch_like(data.images).copy_(data.images)
    for name, index in data.splits.items():
        images[index] = fixed_split(data.split(name), policy).images
    return replace(data, images=images)


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether a set of images can stay on the device, with half of its free memory left."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < free // 2
