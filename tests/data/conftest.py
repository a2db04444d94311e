"""Small files in the layout of torchvision's classes."""

import os
from pathlib import Path

import numpy as np
import pytest

from pyrovae.data import mnist
from pyrovae.data.mnist import IDX_SETS, missing_files


@pytest.fixture
def write_idx():
    def write(path, array):
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        path.write_bytes(bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes())
        return path

    return write


@pytest.fixture
def fake_idx_set(tmp_path, write_idx):
    """Writes a set of 24 training and 6 test images of 5×5 below tmp_path; returns its arrays in that order."""

    def make(name, size=(5, 5)):
        idx_set = IDX_SETS[name]
        rng = np.random.default_rng(0)
        arrays = []
        for count, (images_path, labels_path) in zip(
            (24, 6), (idx_set.files(tmp_path)[:2], idx_set.files(tmp_path)[2:]), strict=True
        ):
            images = rng.integers(0, 256, (count, *size))
            labels = idx_set.first_label + np.arange(count) % len(idx_set.class_names)
            write_idx(images_path, images)
            write_idx(labels_path, labels)
            arrays += [images, labels]
        return arrays

    return make


@pytest.fixture
def mnist_root():
    root = os.environ.get("PYROVAE_DATA")
    if not root:
        pytest.skip("PYROVAE_DATA is not set; point it to the folder that holds MNIST/raw")
    if missing_files("mnist", Path(root)):
        pytest.skip(f"PYROVAE_DATA is {root}, and MNIST/raw below it lacks files of MNIST")
    return Path(root)


@pytest.fixture(autouse=True)
def _no_packaged_sets(monkeypatch):
    """What a distribution may have installed on this machine is not there."""
    monkeypatch.setattr(mnist, "_PACKAGED", {})
