"""Image files into an image set: any folder, one sub-folder per class."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import torch
from PIL import Image, ImageOps

from pyrovae.data.image_files import ImageFiles
from pyrovae.data.images import UNLABELLED, VALIDATION_SHARE, draw_splits

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_folder(
    path: str | Path, validation: float | int = VALIDATION_SHARE, image_size: int | None = None
) -> ImageFiles:
    """Finds the images of a folder, all of one size and all grey or all RGB.

    Each sub-folder that holds images, at any depth, is a class; a folder of images alone is one class,
    without labels. Classes, and images within a class, are in the order of their names. Files that are no
    images, by their suffix, and hidden ones are passed over.

    Args:
        path: The folder.
        validation: Share or number of the training images kept for validation.
        image_size: Side in pixels of the square that is cut from the middle of each image, as large as fits,
            and scaled; by default the images stay as they are, and must be of one size.

    Returns:
        The files; of their images (N, 1, H, W) or (N, 3, H, W).

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        OSError: If a folder cannot be read.
        ValueError: If images lie beside the sub-folders.
    """
    folder = Path(path).expanduser()
    classes = _images_by_class(folder)
    paths = [image for images in classes.values() for image in images]

    def prepare(image: Image.Image) -> Image.Image:
        upright = ImageOps.exif_transpose(image)
        return upright if image_size is None else ImageOps.fit(upright, (image_size, image_size))

    counts = torch.tensor([len(images) for images in classes.values()])
    return ImageFiles(
        name=f"folder:{path}",
        paths=paths,
        prepare=prepare,
        labels=torch.arange(len(counts)).repeat_interleave(counts),
        class_names=tuple(classes),
        splits=draw_splits(len(paths), validation=validation),
    )


def _images_by_class(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} must be a folder of images, and there is no such folder; check the path")
    own = _images_in(folder.iterdir())
    classes = {
        child.name: images
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".") and (images := _images_in(_files_below(child)))
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
    """The images among them; a link that leads nowhere is one too, so that it is missed when it is read."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )


def _files_below(folder: Path) -> Iterator[Path]:
    """All files at any depth; a folder that cannot be read is an error, where `Path.rglob` passes over it."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(place, name) for name in names)
