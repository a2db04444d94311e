"""Sets larger than memory: images that stay in a file, are mapped into memory, and are read where they are used.

A pack is a folder that `pyrovae.data.packing` writes: plain arrays of NumPy and a manifest. Its images are one tensor
like any other, whose pages the system reads from the file and drops again as it needs; so whatever works on some images
at a time works on a set of any size.

Digests are compared when a pack is first loaded, all of them, and again whenever a file is not the one that was
compared: `checked.json` keeps size, times and inode of each.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyrovae.data.images import VALIDATION_SHARE, ImageSet, Stored, validation_count
from pyrovae.data.manifest import ATTRIBUTES, FACTORS, IMAGES, LABELS, MANIFEST, Manifest, damaged
from pyrovae.data.scaling import Scaling
from pyrovae.digests import digest
from pyrovae.files import replace_text

CHECKED = "checked.json"


def load_pack(folder: str | Path, validation: float | int = VALIDATION_SHARE) -> ImageSet:
    """Loads a pack; its images, uint8 or float32 (N, C, H, W), stay in their file.

    Args:
        folder: The folder.
        validation: Share or number of the training rows kept for validation: the last of them, in the order that was
            drawn when they were packed. Official validation images are used as they are.

    Returns:
        The set.

    Raises:
        FileNotFoundError: If there is no such pack, or a file of it is missing.
        ValueError: If a file is truncated or was changed, or the pack is of another version.
    """
    folder = Path(folder)
    manifest = Manifest.read(folder)
    count = manifest.shape[0]
    found = {name: _mapped(folder, name, manifest) for name in (IMAGES, *manifest.arrays)}
    if _state(folder, manifest) != _checked_state(folder):
        check_digests(folder, manifest)
        with suppress(OSError):  # a folder that cannot be written to is checked each time
            replace_text(folder / CHECKED, json.dumps(_state(folder, manifest), indent=1) + "\n")
    rest = manifest.train + manifest.validation
    held_out = manifest.validation if manifest.official_validation else validation_count(validation, rest)
    ends = torch.arange(count).tensor_split((rest - held_out, rest))
    return ImageSet(
        name=f"pack:{folder}",
        images=found[IMAGES],
        labels=found[LABELS],
        class_names=manifest.class_names,
        splits=dict(zip(("train", "validation", "test"), ends, strict=True)),
        attributes=found.get(ATTRIBUTES),
        attribute_names=manifest.attribute_names,
        scaling=None if manifest.scaling is None else Scaling.from_dict(manifest.scaling),
        stored=Stored(folder, manifest.missing),
        factors=found.get(FACTORS),
        factor_names=manifest.factor_names,
    )


def check_digests(folder: Path, manifest: Manifest) -> None:
    """Compare each array with its digest; at the speed of SHA-256 or of the disk.

    Raises:
        ValueError: If one differs.
    """
    for name, noted in manifest.arrays.items():
        if digest(_mapped(folder, name, manifest)) != noted:
            raise damaged(folder, f"{name} is not as it was written (its digest differs)")
    images = _mapped(folder, IMAGES, manifest)
    shards = tqdm(images.split(manifest.shard), f"checking {folder}", unit="shard", leave=False, delay=2)
    for i, (shard, noted) in enumerate(zip(shards, manifest.shards, strict=True)):
        if digest(shard) != noted:
            first = i * manifest.shard
            where = f"shard {i} of {IMAGES}, rows {first:,} to {first + len(shard) - 1:,},"
            raise damaged(folder, f"{where} is not as it was written (its digest differs)")


def _mapped(folder: Path, name: str, manifest: Manifest) -> Tensor:
    """An array of a pack as a tensor over its file. To write to it would change a copy and never the file.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is truncated, or is another array than the manifest says.
    """
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(f"{folder} lacks {name}: copy it here again, or remove it and pack its source again")
    try:
        array = np.load(file, mmap_mode="c", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy raises many kinds for a damaged header
        raise damaged(folder, f"{name} is truncated, or is no array of NumPy") from error
    if not isinstance(array, np.memmap) or (array.shape, array.dtype.name) != manifest.kind_of(name):
        raise damaged(folder, f"{name} is another array than {MANIFEST} says")
    if not array.flags.c_contiguous or file.stat().st_size != array.offset + array.nbytes:
        raise damaged(folder, f"{name} is longer than {MANIFEST} says, or its axes are in another order")
    return torch.from_numpy(array)


def _state(folder: Path, manifest: Manifest) -> dict[str, list[int]]:
    """What changes of each file if it is written to or put there anew."""

    def states() -> Iterator[tuple[str, list[int]]]:
        for name in (MANIFEST, IMAGES, *manifest.arrays):
            stat = (folder / name).stat()
            yield name, [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]

    return dict(states())


def _checked_state(folder: Path) -> object:
    with suppress(OSError, ValueError):
        return json.loads((folder / CHECKED).read_text(encoding="utf-8"))
    return None
