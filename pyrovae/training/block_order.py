"""The order of an epoch over images on a disk: blocks of neighbours, shuffled, so that files are read in long runs."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_BYTES = 1 << 20
"""Bytes of images that lie side by side and are read together."""
WINDOW_BYTES = 1 << 26
"""Bytes of images that are mixed with each other."""


def block_order(count: int, image_bytes: int, generator: torch.Generator) -> Tensor:
    """A random order of images: blocks are permuted, and then the images inside each window of 64 blocks.

    Args:
        count: Number of images, which lie side by side.
        image_bytes: Size of one.
        generator: Where the order comes from.

    Returns:
        Each number from 0 to count - 1 once, int64 (count,).

    Example:
        >>> block_order(5, 1 << 20, torch.Generator().manual_seed(0)).sort().values.tolist()
        [0, 1, 2, 3, 4]
    """
    blocks = torch.arange(count).split(max(1, BLOCK_BYTES // image_bytes))
    windows = torch.randperm(len(blocks), generator=generator).split(WINDOW_BYTES // BLOCK_BYTES)
    order = []
    for window in windows:
        images = torch.cat([blocks[block] for block in window.tolist()])
        order.append(images[torch.randperm(len(images), generator=generator)])
    return torch.cat(order)
