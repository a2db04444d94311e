"""A folder of images."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from campaigns.hard_places import without_rights
from PIL import Image

from pyrovae.data import load_images


def save(path, size=(6, 4), mode="L", value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three classes of four grey images of 6×4 pixels, whose value is ten times their class plus their number."""
    for c, name in enumerate(("bird", "cat", "dog")):
        for i in range(4):
            save(tmp_path / name / f"{i}.png", value=10 * c + i)
    return tmp_path


def test_sub_folders_are_classes_in_the_order_of_their_names(folder):
    (folder / "notes.txt").write_text("no image")
    (folder / "cat" / ".hidden.png").write_bytes(b"no image")
    (folder / "empty").mkdir()
    save(folder / ".cache" / "0.png")
    data = load_images(f"folder:{folder}", validation=0)
    assert data.class_names == ("bird", "cat", "dog")
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.image_shape == (1, 4, 6)
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert data.source == f"data: folder:{folder} (10 train, 0 validation, 2 test images of 1×4×6)"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere root keeps its rights")
def test_a_class_that_cannot_be_read_is_not_left_out(folder):
    """Rights are those of a thread."""
    (folder / "cat").chmod(0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(without_rights).result()
        with pytest.raises(PermissionError, match="cat"):
            pool.submit(load_images, f"folder:{folder}").result()


def test_a_link_to_an_image_that_is_gone_is_not_left_out(folder):
    (folder / "cat" / "4.png").symlink_to("gone.png")
    (folder / "dog" / "same.png").symlink_to("0.png")
    (folder / "dog" / "deeper.png").mkdir()
    with pytest.raises(ValueError, match=r"cannot read the image .*cat.4\.png"):
        load_images(f"folder:{folder}")
    (folder / "cat" / "4.png").unlink()
    assert len(load_images(f"folder:{folder}")) == 13


def test_images_in_deeper_folders_belong_to_their_class(folder):
    save(folder / "cat" / "a" / "b" / "0.PNG", value=99)
    data = load_images(f"folder:{folder}")
    assert data.class_names == ("bird", "cat", "dog")
    assert data.labels.bincount().tolist() == [4, 5, 4]


def test_a_folder_of_images_alone_is_one_class(folder):
    data = load_images(f"folder:{folder / 'cat'}")
    assert data.class_names == ("unlabelled",)
    assert data.images[:, 0, 0, 0].tolist() == [10, 11, 12, 13]


def test_colours_keep_their_place(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    data = load_images(f"folder:{tmp_path}")
    assert np.array_equal(data.images, pixels.transpose(0, 3, 1, 2))


def test_an_image_lies_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "0.jpg", exif=exif)
    assert load_images(f"folder:{tmp_path}").image_shape == (3, 6, 4)


def test_palettes_become_rgb_and_bits_become_grey(tmp_path):
    save(tmp_path / "palette" / "0.gif", mode="P")
    save(tmp_path / "bits" / "0.png", mode="1", value=1)
    assert load_images(f"folder:{tmp_path / 'palette'}").image_shape == (3, 4, 6)
    assert load_images(f"folder:{tmp_path / 'bits'}").images.unique().tolist() == [255]


def test_image_size_cuts_the_middle_square_and_scales_it(tmp_path):
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, 2:6] = 200
    Image.fromarray(wide).save(tmp_path / "0.png")
    save(tmp_path / "1.png", (3, 9), "RGB", (200, 200, 200))
    data = load_images(f"folder:{tmp_path}", image_size=4)
    assert data.images.shape == (2, 3, 4, 4)
    assert data.images.unique().tolist() == [200]


@pytest.mark.parametrize("content", [b"no image at all", b"", None])
def test_an_image_that_cannot_be_read_is_named(content, folder):
    path = folder / "cat" / "2.png"
    path.write_bytes(path.read_bytes()[:50] if content is None else content)
    with pytest.raises(ValueError, match=f"^cannot read the image {path}: .+; repair it or take it out$"):
        load_images(f"folder:{folder}")


def test_mixed_sizes_are_refused_with_the_cure(folder):
    odd = save(folder / "dog" / "1.png", (8, 4))
    message = (
        f"^images of one set must be of one size and mode, got 6×4 grey in {folder / 'bird' / '0.png'} and "
        rf"8×4 grey in {odd}: image_size=4 \(--image_size 4\) cuts and scales the middle of each$"
    )
    with pytest.raises(ValueError, match=message):
        load_images(f"folder:{folder}")


def test_mixed_modes_are_refused(folder):
    odd = save(folder / "dog" / "1.png", mode="RGB")
    with pytest.raises(ValueError, match=f"got 6×4 grey in .* and 6×4 RGB in {odd}: convert all to one mode"):
        load_images(f"folder:{folder}", image_size=None)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_modes_that_would_lose_something_are_refused(mode, folder):
    path = save(folder / "cat" / "0.png", mode=mode)
    with pytest.raises(ValueError, match=f"grey or RGB with 8 bits a channel, got mode {mode} in {path}; convert it"):
        load_images(f"folder:{folder}")


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    for path in (tmp_path / "none", save(tmp_path / "0.png")):
        with pytest.raises(FileNotFoundError, match=f"{path} must be a folder of images, and there is no such folder"):
            load_images(f"folder:{path}")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path} holds no images; it must hold files ending in \.bmp, "):
        load_images(f"folder:{tmp_path}")


def test_images_beside_classes_are_refused(folder):
    save(folder / "stray.png")
    with pytest.raises(ValueError, match=r"got both \(stray.png beside bird\); move the images into sub-folders"):
        load_images(f"folder:{folder}")


def test_too_few_images_for_the_validation_asked(folder):
    with pytest.raises(ValueError, match="whole number of images below the 10 that there are for training, got 10"):
        load_images(f"folder:{folder}", validation=10)
