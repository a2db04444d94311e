"""Image files into an image set: any folder, one sub-folder per class."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from pyrovae.data.images import UNLABELLED, VALIDATION_SHARE, ImageSet, draw_splits
from pyrovae.memory import check_memory

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# How Pillow's modes become grey or RGB without loss. The others (transparency, 16 bits, ...) would lose
# silently.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


def load_folder(
    path: str | Path, validation: float | int = VALIDATION_SHARE, image_size: int | None = None
) -> ImageSet:
    """Loads a folder of image files, all of one size and all grey or all RGB.

    Each sub-folder that holds images, at any depth, is a class; a folder of images alone is one class,
    without labels. Classes, and images within a class, are in the order of their names. Files that are no
    images, by their suffix, and hidden ones are passed over.

    Args:
        path: The folder.
        validation: Share or number of the training images kept for validation.
        image_size: Side in pixels of the square that is cut from the middle of each image, as large as fits,
            and scaled; by default the images stay as they are, and must be of one size.

    Returns:
        The image set, (N, 1, H, W) or (N, 3, H, W).

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: If an image cannot be read or differs in size or mode, or images lie beside the
            sub-folders.
    """
    folder = Path(path).expanduser()
    name = f"folder:{path}"
    classes = _images_by_class(folder)
    paths = [image for images in classes.values() for image in images]

    def prepare(image: Image.Image) -> Image.Image:
        upright = ImageOps.exif_transpose(image)
        return upright if image_size is None else ImageOps.fit(upright, (image_size, image_size))

    images = decode(paths, prepare)
    counts = torch.tensor([len(images) for images in classes.values()])
    return ImageSet(
        name=name,
        images=images,
        labels=torch.arange(len(counts)).repeat_interleave(counts),
        class_names=tuple(classes),
        splits=draw_splits(len(paths), validation=validation),
    )


def decode(paths: Sequence[Path], prepare: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Decodes image files into one tensor, on as many threads as there are cores.

    Args:
        paths: The files.
        prepare: What is done to each image first, such as cropping.

    Returns:
        Grey values 0 to 255, uint8 (N, C, H, W), one or three channels.

    Raises:
        ValueError: If a file cannot be read, or differs from the first in size or mode.
    """
    first = _decode_one(paths[0], prepare)
    size = len(paths) * first.size
    check_memory({f"{len(paths):,} images of {_describe(first)}": size}, "give a smaller image_size")
    images = torch.empty(len(paths), first.shape[2], *first.shape[:2], dtype=torch.uint8)

    def fill(i: int) -> None:
        pixels = _decode_one(paths[i], prepare)
        if pixels.shape != first.shape:
            raise ValueError(
                f"images of one set must be of one size and mode, got {_describe(first)} in {paths[0]} and "
                f"{_describe(pixels)} in {paths[i]}; convert them, or for sizes give image_size"
            )
        images[i] = torch.from_numpy(pixels).permute(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        for _ in tqdm(pool.map(fill, range(len(paths))), "decoding", len(paths), unit="image", leave=False, delay=2):
            pass
    return images


def _images_by_class(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} must be a folder of images, and there is no such folder; check the path")
    own = _images_in(folder.iterdir())
    classes = {
        child.name: images
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".") and (images := _images_in(child.rglob("*")))
    }
    if own and classes:
        raise ValueError(
            f"{folder} must hold either images or sub-folders of images, one per class, got both "
            f"({own[0].name} beside {next(iter(classes))}); move the images into sub-folders"
        )
    if not own and not classes:
        raise FileNotFoundError(f"{folder} holds no images; it must hold files ending in {', '.join(IMAGE_SUFFIXES)}")
    return classes or {UNLABELLED[0]: own}


def _images_in(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


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
            f"images must be grey or RGB with 8 bits a channel, got mode {image.mode} in {path}; convert it"
        )
    return np.atleast_3d(pixels)


def _describe(pixels: np.ndarray) -> str:
    height, width, channels = pixels.shape
    return f"{width}×{height} {'grey' if channels == 1 else 'RGB'}"
