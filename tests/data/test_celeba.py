"""CelebA, through torchvision's class, from small files in its layout."""

import pytest
import torch
from PIL import Image
from torchvision.datasets import CelebA

from pyrovae.data import celeba, load_images
from pyrovae.data.download import DownloadError

ATTRIBUTES = ["Bald", "Male", "Smiling", "Young"]
# Files are not in the order of their splits: 0 train, 1 validation, 2 test.
PARTITION = [0, 2, 0, 1, 0, 2, 1]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Seven faces of 178×218 pixels: blue inside the middle 148×148, red around; their number is their green."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.png" for i in range(len(PARTITION))]
    for i, name in enumerate(names):
        face = Image.new("RGB", (178, 218), (255, i, 0))
        face.paste((0, i, 255), (15, 35, 163, 183))
        face.save(folder / "img_align_celeba" / name)
    attributes = [[1 if (i >> a) & 1 else -1 for a in range(4)] for i in range(len(names))]

    def write(file, rows, *header):
        lines = [" ".join([name, *map(str, row)]) for name, row in zip(names, rows, strict=True)]
        (folder / file).write_text("\n".join([*header, *lines]) + "\n")

    # The header of the true file ends in a space too.
    write("list_attr_celeba.txt", attributes, "7", " ".join(ATTRIBUTES) + " ")
    write("list_eval_partition.txt", [[part] for part in PARTITION])
    write("identity_CelebA.txt", [[i] for i in range(7)])
    write("list_bbox_celeba.txt", [[0] * 4] * 7, "7", "image_id x_1 y_1 width height")
    write("list_landmarks_align_celeba.txt", [[0] * 10] * 7, "7", "lefteye_x")
    # torchvision knows the true files by their MD5.
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    return tmp_path


@pytest.fixture
def no_download(monkeypatch):
    def fail(dataset, root):
        raise DownloadError("no such host")

    monkeypatch.setattr(celeba, "download", fail)


def test_faces_are_cropped_scaled_and_put_in_their_official_splits(root):
    data = load_images("celeba", root, validation=0)
    assert data.name == "celeba:Smiling"
    assert data.images.shape == (7, 3, 64, 64)
    assert {name: data.images[index, 1, 0, 0].tolist() for name, index in data.splits.items()} == {
        "train": [0, 2, 4],
        "validation": [3, 6],
        "test": [1, 5],
    }
    assert data.images[:, 0].unique().tolist() == [0]
    assert data.images[:, 2].unique().tolist() == [255]
    assert data.source == (
        f"data: celeba:Smiling (3 train, 2 validation, 2 test images of 3×64×64) from {root / 'celeba'}"
    )


def test_one_attribute_is_the_label_and_all_are_kept(root):
    data = load_images("celeba:Male", root, image_size=8)
    number = data.images[:, 1, 0, 0].long()
    assert data.image_shape == (3, 8, 8)
    assert data.class_names == ("not Male", "Male")
    assert torch.equal(data.labels, (number >> 1) & 1)
    assert data.attribute_names == tuple(ATTRIBUTES)
    assert torch.equal(data.attributes, ((number[:, None] >> torch.arange(4)) & 1).bool())


def test_an_unknown_attribute_is_refused(root):
    with pytest.raises(
        ValueError, match=r"attribute of celeba must be one of Bald, .*, got 'smiling'; did you mean Smiling\?$"
    ):
        load_images("celeba:smiling", root)


def test_a_face_that_is_missing_or_broken_is_named(root):
    path = root / "celeba" / "img_align_celeba" / "000003.png"
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"cannot read the image {path}: "):
        load_images("celeba", root)
    path.unlink()
    with pytest.raises(ValueError, match=f"cannot read the image {path}: .*No such file"):
        load_images("celeba", root)


@pytest.mark.parametrize(
    ("download", "reason"),
    [(True, r"fetching it failed \(no such host\)"), (False, "Dataset not found or corrupted")],
)
def test_celeba_that_cannot_be_had_is_an_error(download, reason, tmp_path, no_download):
    message = (
        f"^celeba not found: {tmp_path}/celeba lacks img_align_celeba, list_attr_celeba.txt, .*, and {reason}"
        r".*; put the official files there, unpacked, or name the folder that holds celeba/ \(data_dir, "
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_images("celeba", tmp_path, download=download)


def test_celeba_is_fetched_where_it_is_missing(root, monkeypatch):
    fetched = []
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: bool(fetched))
    monkeypatch.setattr(celeba, "download", lambda dataset, root: fetched.append((dataset, root)))
    assert len(load_images("celeba", root, image_size=8)) == 7
    assert fetched == [("CelebA", root)]


def test_files_that_differ_from_the_official_ones_are_told_from_missing_ones(root, monkeypatch, no_download):
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: False)
    with pytest.raises(FileNotFoundError, match="celeba holds text files that differ from the official ones, and "):
        load_images("celeba", root)
