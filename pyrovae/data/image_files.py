"""Sets whose images are files, one each: read at once into memory, or some at a time."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from pyrovae.data.images import ImageSet
from pyrovae.memory import check_memory

# How Pillow's modes become grey or RGB without loss. The others (transparency, 16 bits, ...) would lose
# silently.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
# Modes of numbers that are no grey levels.
_VALUE_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Files of images, and all that is known of them without opening one.

    Args:
        name: What the set is called.
        paths: The files, N.
        prepare: What is done to each image first, such as cropping.
        labels: Class of each image, int64 (N,).
        class_names: One name per class.
        splits: Indices of the images of each split.
        attributes: What is true of each image, bool (N, A), for a set that says so.
        attribute_names: One name per column of ``attributes``.
        official_validation: Whether the validation images are those of the set's makers, and not drawn.
    """

    name: str
    paths: Sequence[Path]
    prepare: Callable[[Image.Image], Image.Image]
    labels: Tensor
    class_names: tuple[str, ...]
    splits: Mapping[str, Tensor]
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    official_validation: bool = False

    def load(self) -> ImageSet:
        """Decodes all files into memory.

        Raises:
            NotEnoughMemory: If they do not fit.
            ValueError: If one cannot be read, or differs from the first in size or mode.
        """
        size = len(self.paths) * self.first.size
        check_memory({f"{len(self.paths):,} images of {_describe(self.first)}": size}, "give a smaller image_size")
        return ImageSet(
            name=self.name,
            images=self.decode(range(len(self.paths)), progress=True),
            labels=self.labels,
            class_names=self.class_names,
            splits=self.splits,
            attributes=self.attributes,
            attribute_names=self.attribute_names,
        )

    @cached_property
    def first(self) -> np.ndarray:
        """The first image, uint8 (H, W, C), which all others are like."""
        return _decode_one(self.paths[0], self.prepare)

    def decode(self, numbers: Sequence[int], progress: bool = False) -> Tensor:
        """Decodes some of the files, on as many threads as there are cores.

        Args:
            numbers: Which.
            progress: Whether to show progress.

        Returns:
            Grey values 0 to 255, uint8 (N, C, H, W), one or three channels.

        Raises:
            ValueError: If a file cannot be read, or differs from the first in size or mode.
        """
        first = self.first
        images = torch.empty(len(numbers), first.shape[2], *first.shape[:2], dtype=torch.uint8)

        def fill(place: int) -> None:
            path = self.paths[numbers[place]]
            pixels = _decode_one(path, self.prepare)
            if pixels.shape != first.shape:
                cure = "convert all to one mode, such as by Pillow's image.convert('RGB')"
                if pixels.shape[2] == first.shape[2]:
                    side = min(64, *first.shape[:2], *pixels.shape[:2])
                    cure = f"image_size={side} (--image_size {side}) cuts and scales the middle of each"
                raise ValueError(
                    f"images of one set must be of one size and mode, got {_describe(first)} in {self.paths[0]} and "
                    f"{_describe(pixels)} in {path}: {cure}"
                )
            images[place] = torch.from_numpy(pixels).permute(2, 0, 1)

        with ThreadPoolExecutor() as pool:
            filled = pool.map(fill, range(len(numbers)))
            for _ in tqdm(filled, "decoding", len(numbers), unit="image", leave=False, delay=2, disable=not progress):
                pass
        return images


def _decode_one(path: Path, prepare: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Returns one image, uint8 (H, W, C)."""
    try:
        with Image.open(path) as image:
            mode = _MODES.get(image.mode)
            pixels = np.array(prepare(image.convert(mode))) if mode else None
    except Exception as error:  # Pillow raises nearly anything at a broken file.
        raise ValueError(f"cannot read the image {path}: {error}; repair it or take it out") from error
    if pixels is None:
        raise ValueError(
            f"images must be grey or RGB with 8 bits a channel, got mode {image.mode} in {path}; convert it, such as "
            "by Pillow's image.convert('RGB'), which drops what is transparent"
        )
    return np.atleast_3d(pixels)


def picture_array(picture: Image.Image) -> np.ndarray:
    """A picture of Pillow as uint8 (H, W) or (C, H, W), or one of 16 or 32 bits a pixel as values, (H, W).

    Raises:
        ValueError: If it is neither grey nor RGB, such as one with transparency.
    """
    if picture.mode in _VALUE_MODES:
        return np.array(picture)
    if picture.mode not in _MODES:
        raise ValueError(f"images must be grey or RGB with 8 bits a channel, got mode {picture.mode}; convert it")
    pixels = np.array(picture.convert(_MODES[picture.mode]))
    return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels


def _describe(pixels: np.ndarray) -> str:
    height, width, channels = pixels.shape
    return f"{width}×{height} {'grey' if channels == 1 else 'RGB'}"
