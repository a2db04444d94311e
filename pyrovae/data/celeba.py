"""CelebA: 202,599 faces with 40 attributes each.

References:
    Liu, Luo, Wang and Tang, "Deep learning face attributes in the wild", arXiv:1411.7766, 2015.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pyrovae.data.download import DownloadError, download
from pyrovae.data.image_files import ImageFiles
from pyrovae.hints import nearest

DEFAULT_ATTRIBUTE = "Smiling"
# Side of the square around the face, of the 178×218 pixels of an aligned image, that the literature cuts out.
_CROP = 148
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


def find_celeba(root: Path, attribute: str = DEFAULT_ATTRIBUTE, image_size: int = 64, fetch: bool = True) -> ImageFiles:
    """Finds CelebA through torchvision, with its official splits; in memory it takes 2.5 GB at 64×64.

    Args:
        root: The folder of the image sets; torchvision's ``celeba`` lies in it.
        attribute: The attribute that becomes the label: 0 where it is absent, 1 where it is present.
        image_size: Side in pixels to which the middle 148×148 pixels of each image are scaled.
        fetch: Whether to download the set where it is missing (with the package ``gdown``, 1.4 GB).

    Returns:
        The files; of their images (N, 3, ``image_size``, ``image_size``), with all attributes.

    Raises:
        FileNotFoundError: If the set is not there and could not be fetched.
        ValueError: If there is no such attribute.
    """
    from torchvision.datasets import CelebA  # Imported here, as it takes two seconds.

    parts = _open_parts(CelebA, root, fetch)
    names = tuple(name for name in parts["train"].attr_names if name)
    if attribute not in names:
        hint = nearest(attribute, names)
        raise ValueError(f"attribute of celeba must be one of {', '.join(names)}, got {attribute!r}{hint}")
    folder = root / CelebA.base_folder / "img_align_celeba"
    attributes = torch.cat([part.attr for part in parts.values()]).bool()
    order = torch.arange(len(attributes)).split([len(part) for part in parts.values()])
    return ImageFiles(
        name=f"celeba:{attribute}",
        paths=[folder / file for part in parts.values() for file in part.filename],
        prepare=lambda face: _middle(face, _CROP).resize((image_size, image_size), Image.Resampling.BILINEAR),
        labels=attributes[:, names.index(attribute)].long(),
        class_names=(f"not {attribute}", attribute),
        splits=dict(zip(_SPLITS, order, strict=True)),
        attributes=attributes,
        attribute_names=names,
        official_validation=True,
    )


def _open_parts(celeba: Any, root: Path, fetch: bool) -> dict[str, Any]:
    """Returns torchvision's data set of each split, fetched if need be."""
    try:
        return _open_splits(celeba, root)
    except RuntimeError as error:
        reason = str(error)
    if fetch:
        try:
            download(celeba.__name__, root)
            return _open_splits(celeba, root)
        except (DownloadError, RuntimeError) as error:
            reason = f"fetching it failed ({error})"
    folder = root / celeba.base_folder
    files = ["img_align_celeba", *(file for *_, file in celeba.file_list if file.endswith(".txt"))]
    missing = [file for file in files if not (folder / file).exists()]
    state = f"lacks {', '.join(missing)}" if missing else "holds text files that differ from the official ones"
    raise FileNotFoundError(
        f"celeba not found: {folder} {state}, and {reason}; put the official files there, unpacked, "
        f"or name the folder that holds celeba/ (data_dir, --data-dir or $PYROVAE_DATA)"
    )


def _open_splits(celeba: Any, root: Path) -> dict[str, Any]:
    return {split: celeba(root, split=theirs) for split, theirs in _SPLITS.items()}


def _middle(image: Image.Image, side: int) -> Image.Image:
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
