"""Image sets by name: where they are found, and what happens when they are not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pyrovae.data.celeba import DEFAULT_ATTRIBUTE, find_celeba
from pyrovae.data.download import DownloadError, data_folder, why_unreachable
from pyrovae.data.folder import find_folder
from pyrovae.data.fonts import load_fonts
from pyrovae.data.image_files import ImageFiles
from pyrovae.data.images import HIDDEN, VALIDATION_SHARE, ImageSet, draw_splits
from pyrovae.data.manifest import MANIFEST
from pyrovae.data.mnist import IDX_SETS, fetch_idx_set, load_idx_set, missing_files, packaged
from pyrovae.data.packed import load_pack
from pyrovae.data.scaling import ScalingPolicy
from pyrovae.data.shapes import render_shapes
from pyrovae.data.tables import TABLE_SUFFIXES, load_array, load_table
from pyrovae.hints import nearest
from pyrovae.memory import check_memory
from pyrovae.shapes import WrongTypeError

TABLES = ("table:FILE", "array:FILE", "sequences:FILE")
RENDERED = ("fonts:auto", "fonts:FOLDER", "shapes")
IMAGE_SETS = (
    "auto",
    "digits",
    *IDX_SETS,
    "celeba",
    "celeba:ATTRIBUTE",
    "folder:PATH",
    "pack:FOLDER",
    *RENDERED,
    *TABLES,
)

# What "auto" asks before it fetches MNIST: the first address that torchvision would try.
_MNIST_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz"
_ANSWER_SECONDS = 2.0
_FETCH_SECONDS = 20.0


def load_images(
    name: str = "auto",
    data_dir: str | Path | None = None,
    *,
    validation: float | int = VALIDATION_SHARE,
    image_size: int | None = None,
    label: str | None = None,
    scaling: ScalingPolicy = "standard",
    skip: Sequence[str] = (),
    download: bool = True,
) -> ImageSet:
    """Loads an image set by its name. What it did is in ``source``, in one line to be printed.

    ``auto`` is MNIST where it is on disk or can be fetched within seconds, and otherwise ``digits``: the
    1,797 real handwritten digits of 8×8 pixels that come with scikit-learn, their 17 grey values scaled to 0
    to 255. Any other name is that set or an error.

    Args:
        name: One of ``IMAGE_SETS``; with ``celeba:ATTRIBUTE`` that attribute is the label ("Smiling" if left
            out), and with ``folder:PATH`` each sub-folder is a class; ``pack:FOLDER`` is what `pyrovae.pack` wrote,
            ``fonts:auto`` is rendered from the fonts of this machine, and ``shapes`` from known factors.
            ``table:FILE`` is a CSV, Parquet or NumPy file
            with a row each case, ``array:FILE`` an array of images or vectors, ``sequences:FILE`` one of sequences.
        data_dir: The folder of the image sets, as torchvision lays it out (MNIST's files in ``MNIST/raw``
            below it). By default $PYROVAE_DATA or, without it, the platform's cache folder. What is
            downloaded is put there.
        validation: Share (a float in [0, 1)) or number (an int) of the training images kept for validation;
            not for CelebA, which has official ones.
        image_size: Side in pixels to which the square middle of each image is scaled; for ``celeba`` (64 by
            default) and ``folder`` (as they are by default).
        label: Column of labels of ``table:FILE``, or name of the array of labels in a ``.npz``.
        scaling: How the values of a table or an array are scaled: standard, unit or none.
        skip: Columns of ``table:FILE`` that are left out.
        download: Whether a set that is not on disk may be downloaded.

    Returns:
        The image set, or the set of values; see `pyrovae.data.values`.

    Raises:
        FileNotFoundError: If the set is not on disk and could not be downloaded.
        ValueError: If there is no such set, a file is damaged, or an argument is out of its range.
    """
    if not isinstance(name, str) or not isinstance(data_dir, str | Path | None):
        wrong = name if not isinstance(name, str) else data_dir
        raise WrongTypeError(f"data must be a name such as mnist, and data_dir a path, got {type(wrong).__name__}")
    root = data_folder(data_dir)
    family, _, variant = name.partition(":")
    check_options(name, label=label, scaling=scaling, skip=skip, image_size=image_size)
    if family in ("table", "array", "sequences") and variant:
        return _load_file(family, variant, root, label, scaling, skip, validation)
    return _load_images(name, root, validation, image_size, download)


def check_options(
    name: str, *, label: str | None, scaling: ScalingPolicy, skip: Sequence[str], image_size: int | None
) -> None:
    """Checks the arguments of `load_images` that some sets do not take, before anything is read.

    Raises:
        MemoryError: If a single image of that size does not fit into the memory.
        ValueError: If the set does not take one of them.
    """
    family, _, variant = name.partition(":")
    if not (family in ("table", "array", "sequences") and variant) and (
        label is not None or scaling != "standard" or skip
    ):
        raise ValueError(
            f"label, scaling and skip (--data_label, --data_scaling, --data_skip) go with {', '.join(TABLES)} only, "
            f"got {name}"
        )
    if image_size is not None and (family not in ("celeba", "folder") or image_size < 1):
        raise ValueError(
            f"image_size must be at least 1 and goes with celeba and folder:PATH only, got {image_size} for {name}"
        )
    if image_size is not None:
        check_memory(
            {f"an image of {image_size} x {image_size} pixels": 3 * image_size**2}, "give a smaller image_size"
        )


def _load_images(name: str, root: Path, validation: float | int, image_size: int | None, download: bool) -> ImageSet:
    """Load a set of grey or colour images; see `load_images`."""
    family, _, variant = name.partition(":")
    if name == "auto":
        return _load_auto(root, validation, download)
    if name == "digits":
        return _with_source(_load_digits(validation), ", embedded in scikit-learn")
    if name in IDX_SETS:
        place = packaged(name) if missing_files(name, root) else None
        if place is None:
            _provide(name, root, download)
        origin = f" from {place or root / IDX_SETS[name].folder}"
        return _with_source(load_idx_set(name, root, validation, place), origin)
    files = find_files(name, root, validation, image_size, download)
    if files is not None:
        return _with_source(files.load(), f" from {root / 'celeba'}" if family == "celeba" else "")
    if family == "fonts" and variant:
        found = load_fonts(variant, root, validation)
        return _with_source(found, f", {found.source}")
    if name == "shapes":
        return _with_source(render_shapes(validation), ", rendered")
    if family == "pack" and variant:
        return _with_source(load_pack(_beside(variant, root), validation), ", mapped into memory")
    variants = [known for known in IMAGE_SETS if known.startswith(f"{name.lower()}:")]
    hint = f"; did you mean {variants[0]}?" if variants else _with_its_family(name) or nearest(name, IMAGE_SETS)
    raise ValueError(f"data must be one of {', '.join(IMAGE_SETS)}, got {name!r}{hint}")


def _with_its_family(path: str) -> str:
    """The name of a set in a file or a folder, as the end of a message; "" if there is none."""
    place = Path(path).expanduser()
    family = "table" if place.suffix in TABLE_SUFFIXES and place.is_file() else "folder" if place.is_dir() else ""
    return f"; did you mean {'pack' if (place / MANIFEST).is_file() else family}:{path}?" if family else ""


def find_files(
    name: str, root: Path, validation: float | int, image_size: int | None, download: bool
) -> ImageFiles | None:
    """The files of a set whose images are files, without reading one; None for any other set. See `load_images`."""
    family, _, variant = name.partition(":")
    if family == "celeba":
        return find_celeba(root, variant or DEFAULT_ATTRIBUTE, image_size or 64, download)
    return find_folder(variant, validation, image_size) if family == "folder" and variant else None


def _beside(path: str, root: Path) -> Path:
    """A path from the working folder or, where there is nothing, from the folder of the sets."""
    found = Path(path).expanduser()
    return root / found if not found.exists() and (root / found).exists() else found


def _load_file(
    family: str,
    path: str,
    root: Path,
    label: str | None,
    scaling: ScalingPolicy,
    skip: Sequence[str],
    validation: float | int,
) -> ImageSet:
    file = _beside(path, root)
    if family == "table":
        found = load_table(file, label, scaling=scaling, skip=skip, validation=validation, name=f"table:{path}")
    elif skip:
        raise ValueError(f"skip (--data_skip) goes with columns of table:FILE only, got {family}:{path}")
    else:
        sequences = family == "sequences"
        found = load_array(file, label, sequences=sequences, scaling=scaling, validation=validation)
    found = replace(found, name=f"{family}:{path}")
    hidden = int((found.labels == HIDDEN).sum())
    labels = f", {hidden:,} of {len(found):,} labels missing" if hidden else ""
    return _with_source(found, labels + ("" if found.scaling is None else f", scaling {found.scaling.policy}"))


def _load_auto(root: Path, validation: float | int, download: bool) -> ImageSet:
    try:
        if missing_files("mnist", root):
            _fetch_quickly(root, download)
        return load_images("mnist", root, validation=validation, download=False)
    except DownloadError as error:
        why = f", embedded in scikit-learn, because MNIST is not in {root} and could not be fetched ({error})"
        return _with_source(_load_digits(validation), why)


def _fetch_quickly(root: Path, download: bool) -> None:
    """Fetches MNIST within seconds or raises a ``DownloadError`` that says why not."""
    reason = why_unreachable(_MNIST_ADDRESS, _ANSWER_SECONDS) if download else "downloads are off"
    if reason:
        raise DownloadError(reason)
    fetch_idx_set("mnist", root, _FETCH_SECONDS)


def _provide(name: str, root: Path, download: bool) -> None:
    """Sees to it that the files of a set lie below ``root``."""
    missing = missing_files(name, root)
    reason = "downloads are off"
    if missing and download:
        try:
            fetch_idx_set(name, root)
        except DownloadError as error:
            reason = f"fetching it failed ({error})"
        missing = missing_files(name, root)
    if missing:
        folder = IDX_SETS[name].folder
        raise FileNotFoundError(
            f"{name} not found: {root / folder / 'raw'} lacks {', '.join(p.name for p in missing)}, "
            f"and {reason}; put the files there, or name the folder that holds {folder}/raw (data_dir, "
            f"--data-dir or $PYROVAE_DATA)"
        )


def _load_digits(validation: float | int) -> ImageSet:
    """Loads the test set of the UCI handwritten digits, all of which is in scikit-learn."""
    from sklearn.datasets import load_digits  # Imported here, as it takes more than a second.

    digits = load_digits()
    images = torch.from_numpy((digits.images * (255 / 16)).round().astype(np.uint8))
    return ImageSet(
        name="digits",
        images=images.unsqueeze(1),
        labels=torch.from_numpy(digits.target).long(),
        class_names=tuple(str(c) for c in digits.target_names),
        splits=draw_splits(len(images), validation=validation),
    )


def _with_source(data: ImageSet, origin: str) -> ImageSet:
    return replace(data, source=f"data: {data.name} ({data.sizes}){origin}")
