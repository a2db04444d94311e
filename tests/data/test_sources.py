"""Sets by name: what auto chooses and says, and sets that cannot be had."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae.data import IMAGE_SETS, load_images, sources
from pyrovae.data import mnist as mnist_module
from pyrovae.data.download import DownloadError, data_folder


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(url, seconds):
        return "no such host"

    def fail(dataset, root, split=None, *, seconds=None):
        raise DownloadError("no such host")

    monkeypatch.setattr(sources, "why_unreachable", unreachable)
    monkeypatch.setattr(mnist_module, "download", fail)


@pytest.fixture
def network(monkeypatch, fake_idx_set, tmp_path):
    """A network that serves every set of the MNIST family; returns what was asked of it."""
    asked = []

    def serve(dataset, root, split=None, *, seconds=None):
        asked.append((dataset, split, seconds))
        fake_idx_set("mnist" if split is None else f"emnist:{split}")
        (root / dataset).mkdir()
        (tmp_path / dataset / "raw").rename(root / dataset / "raw")
        (root / dataset / "raw" / "archive.zip").write_bytes(b"large")

    monkeypatch.setattr(sources, "why_unreachable", lambda url, seconds: None)
    monkeypatch.setattr(mnist_module, "download", serve)
    return asked


def test_the_embedded_digits():
    data = load_images("digits")
    assert data.images.shape == (1797, 1, 8, 8)
    assert data.images.dtype == torch.uint8
    assert data.class_names == tuple("0123456789")
    # 17 grey values, from black to white.
    assert data.images.unique().tolist() == np.round(np.arange(17) * 255 / 16).astype(int).tolist()
    assert data.source == (
        "data: digits (1,372 train, 125 validation, 300 test images of 1×8×8), embedded in scikit-learn"
    )


def test_auto_is_mnist_where_it_is_on_disk(fake_idx_set, tmp_path, no_network):
    fake_idx_set("mnist")
    data = load_images("auto", tmp_path, validation=4)
    assert data.name == "mnist"
    assert data.source.startswith("data: mnist (20 train, 4 validation, 6 test images of 1×5×5) from ")


def test_auto_without_network_is_the_digits_and_says_why(tmp_path, no_network):
    data = load_images("auto", tmp_path, validation=100)
    assert data.source == (
        "data: digits (1,397 train, 100 validation, 300 test images of 1×8×8), embedded in scikit-learn, "
        f"because MNIST is not in {tmp_path} and could not be fetched (no such host)"
    )
    assert not list(tmp_path.iterdir())


def test_auto_without_leave_to_download_says_so(tmp_path, network):
    assert load_images("auto", tmp_path, download=False).source.endswith("could not be fetched (downloads are off)")
    assert not network


def test_auto_fetches_mnist_within_seconds(tmp_path, network):
    data = load_images("auto", tmp_path)
    assert data.name == "mnist"
    assert network == [("MNIST", None, sources._FETCH_SECONDS)]
    assert len(list((tmp_path / "MNIST" / "raw").iterdir())) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_auto_is_the_digits_where_fetching_takes_too_long(tmp_path, network, monkeypatch):
    def slow(dataset, root, split=None, *, seconds=None):
        (root / "MNIST" / "raw").mkdir(parents=True)
        (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"half")
        raise DownloadError(f"not done within {seconds:g} s")

    monkeypatch.setattr(mnist_module, "download", slow)
    assert load_images("auto", tmp_path).source.endswith("could not be fetched (not done within 20 s)")
    assert not list(tmp_path.iterdir())


def test_auto_is_the_digits_where_the_folder_cannot_be_written_to(tmp_path, network):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    source = load_images("auto", blocked).source
    assert f"because MNIST is not in {blocked} and could not be fetched (cannot write to {blocked}: " in source


def test_auto_really_asked_gives_up_in_seconds(tmp_path, monkeypatch):
    # An address that is nobody's, on this machine: the true question, without a network.
    monkeypatch.setattr(sources, "_MNIST_ADDRESS", "http://127.0.0.1:9/")
    monkeypatch.setenv("no_proxy", "*")
    start = time.monotonic()
    assert load_images("auto", tmp_path).name == "digits"
    assert time.monotonic() - start < 6


@pytest.mark.parametrize("name", ["mnist", "kmnist", "fashion-mnist", "emnist:letters"])
def test_a_named_set_is_fetched_without_a_time_limit(name, tmp_path, network, monkeypatch):
    if not name.startswith("emnist"):
        monkeypatch.setitem(mnist_module.IDX_SETS, "mnist", mnist_module.IDX_SETS[name])
    data = load_images(name, tmp_path)
    assert data.name == name
    assert network == [(mnist_module.IDX_SETS[name].folder, mnist_module.IDX_SETS[name].split, None)]
    assert load_images(name, tmp_path).name == name
    assert len(network) == 1


@pytest.mark.parametrize(
    ("download", "reason"), [(True, r"fetching it failed \(no such host\)"), (False, "downloads are off")]
)
def test_a_named_set_that_cannot_be_had_is_an_error(download, reason, tmp_path, no_network):
    message = (
        f"^kmnist not found: {tmp_path}/KMNIST/raw lacks train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        f"t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, and {reason}; put the files there, or name the folder that "
        r"holds KMNIST/raw \(data_dir, --data-dir or \$PYROVAE_DATA\)$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_images("kmnist", tmp_path, download=download)


def test_only_the_files_that_are_missing_are_named(fake_idx_set, tmp_path, no_network):
    fake_idx_set("emnist:balanced")
    (tmp_path / "EMNIST/raw/emnist-balanced-test-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="EMNIST/raw lacks emnist-balanced-test-labels-idx1-ubyte, and "):
        load_images("emnist:balanced", tmp_path)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mnits", "mnist"),
        ("MNIST", "mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("FashionMNIST", "fashion-mnist"),
        ("emnist", "emnist:balanced"),
        ("emnist:ballanced", "emnist:balanced"),
        ("mnist:letters", "emnist:letters"),
        ("digit", "digits"),
        ("folder", "folder:PATH"),
        ("folder:", "folder:PATH"),
        ("celebs", "celeba"),
    ],
)
def test_an_unknown_name_gets_the_nearest_and_the_list(name, nearest):
    message = rf"^data must be one of {', '.join(IMAGE_SETS)}, got '{name}'; did you mean {nearest}\?$"
    with pytest.raises(ValueError, match=message):
        load_images(name)


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(ValueError, match=r"sequences:FILE, got 'xyzzy'$"):
        load_images("xyzzy")


@pytest.mark.parametrize(
    ("name", "size"), [("mnist", 32), ("digits", 8), ("auto", 28), ("folder:x", 0), ("celeba", -1)]
)
def test_an_image_size_where_it_means_nothing_is_refused(name, size):
    with pytest.raises(ValueError, match=f"goes with celeba and folder:PATH only, got {size} for {name}"):
        load_images(name, image_size=size)


def test_where_sets_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    assert data_folder("~/here") == Path.home() / "here"
    monkeypatch.setenv("PYROVAE_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder().name in ("pyrovae", "Cache")
