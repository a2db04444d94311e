"""Sets in the files of the MNIST family: whole ones, and every way in which they can be damaged."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
import torch

from pyrovae.data import load_images
from pyrovae.data.mnist import IDX_SETS

CLASSES = {
    "mnist": "0123456789",
    "emnist:digits": "0123456789",
    "emnist:mnist": "0123456789",
    "emnist:letters": "abcdefghijklmnopqrstuvwxyz",
    "emnist:balanced": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt",
    "emnist:bymerge": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt",
    "emnist:byclass": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
}


@pytest.mark.parametrize("name", IDX_SETS)
def test_a_set_is_read_as_torchvision_reads_it(name, fake_idx_set, tmp_path):
    fake_idx_set(name)
    data = load_images(name, tmp_path, validation=4, download=False)
    assert data.image_shape == (1, 5, 5)
    assert list(map(len, data.splits.values())) == [20, 4, 6]
    assert data.source == (
        f"data: {name} (20 train, 4 validation, 6 test images of 1×5×5) from {tmp_path / IDX_SETS[name].folder}"
    )

    import torchvision.datasets

    split = {"split": IDX_SETS[name].split} if name.startswith("emnist") else {}
    theirs = [
        getattr(torchvision.datasets, IDX_SETS[name].folder)(tmp_path, train=train, **split) for train in (True, False)
    ]
    images = torch.cat([part.data for part in theirs])
    assert torch.equal(data.images[:, 0], images.mT if split else images)
    assert torch.equal(data.labels, torch.cat([part.targets for part in theirs]) - IDX_SETS[name].first_label)
    names = theirs[0].classes[IDX_SETS[name].first_label :]
    assert data.class_names == tuple(CLASSES[name] if name == "mnist" else names)
    if name in CLASSES:
        assert data.class_names == tuple(CLASSES[name])


def test_compressed_files_are_read_too(fake_idx_set, tmp_path):
    images, labels, test_images, test_labels = fake_idx_set("mnist")
    for path in IDX_SETS["mnist"].files(tmp_path):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    data = load_images("mnist", tmp_path, download=False)
    assert np.array_equal(data.images[:, 0], np.concatenate([images, test_images]))
    assert np.array_equal(data.labels, np.concatenate([labels, test_labels]))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def truncate_header(path):
    path.write_bytes(path.read_bytes()[:7])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"more")


def empty(path):
    path.write_bytes(b"")


def wrong_magic(path):
    path.write_bytes(b"\0\0\x0d" + path.read_bytes()[3:])


def web_page(path):
    path.write_bytes(b"<!DOCTYPE html><html>Sign in to this network</html>")


def no_images(path):
    path.write_bytes(path.read_bytes()[:4] + bytes(12))


CURE = "; delete it and run again to fetch it anew, or put a whole copy there"


@pytest.mark.parametrize("file", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, r"its header promises \d+ bytes of data and it holds only \d+"),
        (truncate_header, r"it must begin with the bytes 00 00 08 0[13] and [13] sizes, got 00 00 08 0[13] 00 00 00"),
        (lengthen, r"its header promises \d+ bytes of data and it holds more"),
        (empty, r"it must begin with the bytes 00 00 08 0[13] and [13] sizes, got none"),
        (wrong_magic, r"it must begin with the bytes 00 00 08 0[13] and [13] sizes, got 00 00 0d 0[13] .*"),
        (web_page, r"it must begin with the bytes 00 00 08 0[13] and [13] sizes, got 3c 21 44 4f .*"),
        (no_images, r"it must hold something, got the sizes \(0,.*\)"),
    ],
)
def test_a_damaged_file_is_named_with_the_cure(file, damage, reason, fake_idx_set, tmp_path):
    fake_idx_set("mnist")
    path = IDX_SETS["mnist"].files(tmp_path)[file]
    damage(path)
    for name in ("mnist", "auto"):
        with pytest.raises(ValueError, match=f"^{path} is truncated or corrupt: {reason}{CURE}$"):
            load_images(name, tmp_path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: whole[: len(whole) // 2], "Compressed file ended before the end-of-stream marker"),
        (lambda whole: whole[:12], "Compressed file ended before the end-of-stream marker"),
        (lambda whole: whole[:100] + bytes(50) + whole[150:], ".*"),
        (lambda whole: b"not compressed", "Not a gzipped file"),
        (lambda whole: whole[:-8] + bytes(8), "CRC check failed"),
    ],
)
def test_a_damaged_compressed_file_is_named_with_the_cure(damage, reason, fake_idx_set, tmp_path):
    fake_idx_set("mnist")
    path = IDX_SETS["mnist"].files(tmp_path)[0]
    compressed = path.with_name(f"{path.name}.gz")
    compressed.write_bytes(damage(gzip.compress(path.read_bytes())))
    path.unlink()
    with pytest.raises(ValueError, match=f"^{compressed} is truncated or corrupt: {reason}"):
        load_images("mnist", tmp_path)


def test_images_and_labels_of_different_counts_are_both_named(fake_idx_set, write_idx, tmp_path):
    fake_idx_set("mnist")
    images_path, labels_path = IDX_SETS["mnist"].files(tmp_path)[:2]
    write_idx(labels_path, np.zeros(23))
    message = f"{images_path} and {labels_path} must hold an image for each label, got 24 images and 23 labels; delete"
    with pytest.raises(ValueError, match=message):
        load_images("mnist", tmp_path)


def test_images_of_two_sizes_are_refused(fake_idx_set, write_idx, tmp_path):
    fake_idx_set("mnist")
    test_images = IDX_SETS["mnist"].files(tmp_path)[2]
    write_idx(test_images, np.zeros((6, 4, 4)))
    with pytest.raises(ValueError, match=rf"{test_images} must hold images of one size, got \(5, 5\) and \(4, 4\)"):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize(("name", "labels", "expected"), [("mnist", 10, "0 to 9"), ("emnist:letters", 0, "1 to 26")])
def test_labels_out_of_range_are_refused(name, labels, expected, fake_idx_set, write_idx, tmp_path):
    fake_idx_set(name)
    path = IDX_SETS[name].files(tmp_path)[1]
    write_idx(path, np.full(24, labels))
    with pytest.raises(ValueError, match=f"{path} must hold labels {expected}, got {labels} to {labels}; delete it"):
        load_images(name, tmp_path)


@pytest.mark.mnist
def test_the_real_mnist(mnist_root):
    data = load_images("mnist", mnist_root, download=False)
    assert data.image_shape == (1, 28, 28)
    assert list(map(len, data.splits.values())) == [55_000, 5_000, 10_000]
    assert data.labels.bincount().tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    assert data.labels[data.splits["test"]][:5].tolist() == [7, 2, 1, 0, 4]
    # The mean grey of the training images that everyone normalises by.
    assert abs(data.images[:60_000].double().mean() / 255 - 0.1307) < 5e-5
    assert load_images("auto", mnist_root).name == "mnist"


@pytest.mark.mnist
def test_loading_mnist_takes_little_more_memory_than_its_55_mb(mnist_root):
    program = f"""
import resource, torch
from pyrovae.data import load_images
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
load_images("mnist", {str(mnist_root)!r})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 80
