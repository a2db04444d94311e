"""Packs of any source; see `pyrovae.data.packed`."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.arrays import column_names, is_table, to_array, to_tensor
from pyrovae.data.download import data_folder
from pyrovae.data.images import VALIDATION_SHARE, ImageSet
from pyrovae.data.pack_writer import Packing
from pyrovae.data.packed import load_pack
from pyrovae.data.rows import Rows, of_array, of_dataset, of_files, of_images
from pyrovae.data.scaling import SCALING_POLICIES, ScalingPolicy
from pyrovae.data.sources import IMAGE_SETS, check_options, find_files, load_images
from pyrovae.data.values import Kind
from pyrovae.digests import digest
from pyrovae.shapes import WrongTypeError


def pack(
    source: Any,
    folder: str | Path,
    *,
    labels: Any = None,
    kind: Kind | None = None,
    scaling: ScalingPolicy = "standard",
    validation: float | int = VALIDATION_SHARE,
    progress: bool = False,
    **loading: Any,
) -> ImageSet:
    """Writes a set into a folder that `load_images("pack:FOLDER")` maps into memory.

    If it is stopped, the same call goes on after the last whole shard.

    Args:
        source: A name of `load_images`, a folder of images, a file of a table or an array, an array, a data frame, an
            ImageSet, which keeps its splits, or a map-style Dataset (see `from_dataset`). Folders, CelebA, ``.npy``
            files and Datasets are read some rows at a time.
        folder: Where the pack shall be; there must be nothing yet.
        labels: Class of each row of an array or a ``.npy`` file, (N,), or a ``.npy`` file of them.
        kind: What the rows of an array or a Dataset are; by their number of axes if left out.
        scaling: How values that are no grey levels become x, by the training rows.
        validation: Share or number of the training rows kept for validation.
        progress: Whether to show progress.
        loading: Other arguments of `load_images`, for a source that is one of its names.

    Returns:
        The packed set, its digests compared.

    Raises:
        FileNotFoundError: If the source does not exist.
        OSError: If the folder cannot be written; then all whole shards are kept.
        ValueError: If there is something at the place, or a row cannot be read, or differs from the first.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pack(np.zeros((24, 8, 8), np.uint8), f"{folder}/zeros").sizes
        '18 train, 2 validation, 4 test images of 1×8×8'
    """
    target = Path(folder).expanduser()
    if target.exists():
        raise ValueError(f"{target} exists already: remove it, or pack to another folder")
    if scaling not in SCALING_POLICIES:
        raise ValueError(f"scaling must be one of {', '.join(SCALING_POLICIES)}, got {scaling!r}")
    if isinstance(source, str | Path):
        rows = named_rows(str(source), labels, kind, validation, {"scaling": scaling, **loading})
    else:
        _check_unused(f"a {type(source).__name__}", loading)
        rows = given_rows(source, labels, kind, validation)
        if rows.scaling is not None and scaling != "standard":
            raise ValueError("scaling cannot be given for an ImageSet, whose values are scaled already: leave it out")
    Packing(rows, target, scaling, progress).run()
    return load_pack(target, validation)


def named_rows(name: str, labels: Any, kind: Kind | None, validation: float | int, loading: Mapping[str, Any]) -> Rows:
    """The rows of a set by its name, of a folder of images or of a ``.npy`` file.

    Args:
        name: As for `load_images`, or a path.
        labels: Class of each row of a ``.npy`` file, or a file of them.
        kind: What the rows of a ``.npy`` file are.
        validation: Share or number of the training rows kept for validation.
        loading: Other arguments of `load_images`.

    Raises:
        FileNotFoundError: If there is no such set.
        ValueError: If it is a pack already, or labels are given for a set that has its own.
    """
    if ":" not in name and name not in IMAGE_SETS:
        name = _with_family(name)
    family, _, path = name.partition(":")
    if family == "pack":
        raise ValueError(f"{name} is a pack already: pack a folder of images, an array or another set")
    if family in ("array", "sequences") and path.endswith(".npy"):
        _check_unused(name, {option: loading.get(option) for option in ("label", "skip", "image_size")})
        array, content = _open_array(Path(path).expanduser())
        labels = _open_array(Path(labels).expanduser())[0] if isinstance(labels, str | Path) else labels
        return of_array(array, labels, "sequences" if family == "sequences" else kind, name, validation, content)
    if labels is not None:
        raise ValueError(f"labels go with an array or a .npy file, and {name} brings its own: leave them out")
    options = {"label": None, "skip": (), "image_size": None, "data_dir": None, "download": True, **loading}
    data_dir, download = options.pop("data_dir"), options.pop("download")
    check_options(name, **options)
    files = find_files(name, data_folder(data_dir), validation, options["image_size"], download)
    if files is not None:
        return of_files(files)
    return of_images(load_images(name, data_dir, validation=validation, download=download, **options))


def _with_family(path: str) -> str:
    """A path as a name of `load_images`."""
    if Path(path).is_dir():
        return f"folder:{path}"
    if path.endswith(".npy"):
        return f"array:{path}"
    return f"table:{path}" if path.endswith((".csv", ".tsv", ".parquet")) else path


def _check_unused(source: str, loading: Mapping[str, Any]) -> None:
    """Refuse arguments of `load_images` for a source that is not loaded by it."""
    given = [name for name, value in loading.items() if value not in (None, (), [])]
    if given:
        raise ValueError(f"{', '.join(given)} cannot be given for {source}: leave it out")


def given_rows(source: Any, labels: Any, kind: Kind | None, validation: float | int) -> Rows:
    """The rows of an array, an image set or a Dataset.

    Raises:
        TypeError: If it is something else.
        ValueError: If labels are given for a source that has its own.
    """
    if isinstance(source, np.ndarray | Tensor) or is_table(source):
        try:
            array = to_tensor(source).numpy() if isinstance(source, Tensor) else to_array(source)
        except TypeError as error:
            raise ValueError(f"an array to pack must hold numbers in at least two axes, rows first: {error}") from error
        with warnings.catch_warnings():  # of an array that must not be written to, which nobody does
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            content = {"array": digest(torch.from_numpy(np.ascontiguousarray(array)))}
        return of_array(array, labels, kind, "array", validation, content, column_names(source))
    if labels is not None:
        raise ValueError(f"labels go with an array, and a {type(source).__name__} brings its own: leave them out")
    if isinstance(source, ImageSet):
        return of_images(source, own_validation=True)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return of_dataset(source, kind, type(source).__name__, validation)
    raise WrongTypeError(
        f"source must be a name, an array, an ImageSet or a Dataset with a length, got {type(source).__name__}"
    )


def _open_array(file: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """A ``.npy`` file mapped into memory, and what shows that it is still the same."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist, or is no file: check the path of the array")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy raises many kinds for a damaged file
        reason = " ".join(str(error).split()).partition(" You ")[0]
        raise ValueError(f"{file} is damaged, or holds Python objects, which are not read: {reason}") from error
    return array, {"size": file.stat().st_size, "time": file.stat().st_mtime_ns}
