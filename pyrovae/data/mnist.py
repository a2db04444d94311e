"""MNIST and the sets in its format, in the folders and files of torchvision's classes.

The files are read here and not by torchvision, whose reader holds two copies of them and does not say which
file is damaged; it downloads, checks and unpacks them (see ``download``).

References:
    MNIST: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    Fashion-MNIST: Xiao, Rasul and Vollgraf, arXiv:1708.07747, 2017.
    KMNIST: Clanuwat et al., "Deep learning for classical Japanese literature", arXiv:1812.01718, 2018.
    EMNIST: Cohen, Afshar, Tapson and van Schaik, arXiv:1702.05373, 2017.
"""

import string
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pyrovae.data.download import DownloadError, download
from pyrovae.data.idx import find_idx, idx_shape, read_idx
from pyrovae.data.images import VALIDATION_SHARE, ImageSet, draw_splits


@dataclass(frozen=True)
class IdxSet:
    """What to know about a set of the MNIST family.

    Args:
        folder: Its folder, which is also the name of torchvision's class.
        class_names: One name per class.
        split: Which of the sets in the folder, for EMNIST.
        first_label: The number that the files give to the first class.
        transposed: Whether the files hold each image by columns.
    """

    folder: str
    class_names: tuple[str, ...]
    split: str | None = None
    first_label: int = 0
    transposed: bool = False

    def files(self, root: Path) -> list[Path]:
        """Returns where images and labels of the training set, then of the test set, lie below ``root``."""
        parts = (f"emnist-{self.split}-train", f"emnist-{self.split}-test") if self.split else ("train", "t10k")
        return [
            root / self.folder / "raw" / f"{part}-{kind}-ubyte"
            for part in parts
            for kind in ("images-idx3", "labels-idx1")
        ]


_DIGITS = tuple(string.digits)
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_KUZUSHIJI = "o,ki,su,tsu,na,ha,ma,ya,re,wo"
# The lower-case letters that do not look like their capitals; the others are merged with them.
_BALANCED = tuple(string.digits + string.ascii_uppercase + "abdefghnqrt")
_EMNIST = {
    "balanced": _BALANCED,
    "byclass": tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase),
    "bymerge": _BALANCED,
    "letters": tuple(string.ascii_lowercase),
    "digits": _DIGITS,
    "mnist": _DIGITS,
}
IDX_SETS = {
    "mnist": IdxSet("MNIST", _DIGITS),
    "fashion-mnist": IdxSet("FashionMNIST", tuple(_FASHION.split(","))),
    "kmnist": IdxSet("KMNIST", tuple(_KUZUSHIJI.split(","))),
    **{
        f"emnist:{split}": IdxSet("EMNIST", names, split, first_label=int(split == "letters"), transposed=True)
        for split, names in _EMNIST.items()
    },
}


_PACKAGED = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's package dataset-fashion-mnist puts its files."""


def packaged(name: str) -> Path | None:
    """Returns the folder where a distribution's package puts the files of a set, if it is there and whole."""
    folder = _PACKAGED.get(name)
    if folder is None or any(find_idx(folder / path.name) is None for path in IDX_SETS[name].files(Path())):
        return None
    return folder


def missing_files(name: str, root: Path) -> list[Path]:
    """Returns the files of a set that are not below ``root``, compressed or not; none if it can be loaded."""
    return [path for path in IDX_SETS[name].files(root) if find_idx(path) is None]


def fetch_idx_set(name: str, root: Path, seconds: float | None = None) -> None:
    """Fetches a set into ``root``: beside its place first, so that a broken download leaves no half file.

    Args:
        name: One of ``IDX_SETS``.
        root: The folder of the image sets, made if need be.
        seconds: Time after which to give up.

    Raises:
        DownloadError: If it could not be fetched, or ``root`` cannot be written to.
    """
    idx_set = IDX_SETS[name]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as beside:
            download(idx_set.folder, Path(beside), idx_set.split, seconds=seconds)
            place = root / idx_set.folder / "raw"
            place.mkdir(parents=True, exist_ok=True)
            for file in (Path(beside) / idx_set.folder / "raw").glob("*-ubyte"):
                file.replace(place / file.name)
    except OSError as error:
        raise DownloadError(f"cannot write to {root}: {error}") from error


def load_idx_set(
    name: str, root: Path, validation: float | int = VALIDATION_SHARE, place: Path | None = None
) -> ImageSet:
    """Loads a set whose files are below ``root``.

    Args:
        name: One of ``IDX_SETS``.
        root: The folder of the image sets, as torchvision lays it out.
        validation: Share or number of the training images kept for validation.
        place: The folder of the files themselves, where it is another than torchvision's below ``root``.

    Returns:
        The images of the training set followed by those of the test set, (N, 1, H, W).

    Raises:
        ValueError: If a file is truncated or corrupt, or the files do not belong together.
    """
    idx_set = IDX_SETS[name]
    paths = [path if place is None else place / path.name for path in idx_set.files(root)]
    paths = [find_idx(path) or path for path in paths]
    num_train, num_test = _count(*paths[:2]), _count(*paths[2:])
    sizes = [idx_shape(path, 3)[1:] for path in paths[::2]]
    if sizes[0] != sizes[1]:
        raise ValueError(f"{paths[0]} and {paths[2]} must hold images of one size, got {sizes[0]} and {sizes[1]}")
    images = torch.empty(num_train + num_test, *sizes[0], dtype=torch.uint8)
    labels = torch.empty(num_train + num_test, dtype=torch.uint8)
    for part, (images_path, labels_path) in zip(
        (slice(0, num_train), slice(num_train, None)), (paths[:2], paths[2:]), strict=True
    ):
        read_idx(images_path, images[part])
        read_idx(labels_path, labels[part])
        _check_labels(labels_path, labels[part], idx_set)
    if idx_set.transposed:
        _transpose_in_place(images)
    return ImageSet(
        name=name,
        images=images.unsqueeze(1),
        labels=labels.to(torch.int64) - idx_set.first_label,
        class_names=idx_set.class_names,
        splits=draw_splits(len(images), num_test=num_test, validation=validation),
    )


def _count(images_path: Path, labels_path: Path) -> int:
    """Returns the number of images, which must be that of the labels."""
    (count, *_), (num_labels,) = idx_shape(images_path, 3), idx_shape(labels_path, 1)
    if count != num_labels:
        raise ValueError(
            f"{images_path} and {labels_path} must hold an image for each label, got {count:,} images and "
            f"{num_labels:,} labels; delete both and run again to fetch them anew"
        )
    return count


def _check_labels(path: Path, labels: Tensor, idx_set: IdxSet) -> None:
    first, last = idx_set.first_label, idx_set.first_label + len(idx_set.class_names) - 1
    low, high = int(labels.min()), int(labels.max())
    if low < first or high > last:
        raise ValueError(
            f"{path} must hold labels {first} to {last}, got {low} to {high}; "
            f"delete it and run again to fetch it anew, or put a whole copy there"
        )


def _transpose_in_place(images: Tensor) -> None:
    """Turns rows into columns, some images at a time, so that the set is never held twice."""
    for chunk in images.split(4096):
        chunk.copy_(chunk.mT.clone())
