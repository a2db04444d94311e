"""Arrays of every kind: the values of a set are those of the array, and what is missing there is missing here."""

from decimal import Decimal

import numpy as np
import pytest
import torch

from pyrovae.data import ImageSet, from_dataset, from_values, pack

pandas = pytest.importorskip("pandas")


def gapped(seed: int) -> np.ndarray:
    """A table of small whole numbers, which every type holds, with gaps."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 90, (30, 3)).astype(float)
    return np.where(rng.random(x.shape) < 0.2, np.nan, x)


def strided(x: np.ndarray) -> torch.Tensor:
    """A tensor that is no block of memory."""
    return torch.from_numpy(np.repeat(x, 2, 1)).t().contiguous().t()[:, ::2]


def sparse(x: np.ndarray) -> object:
    from scipy.sparse import csr_matrix

    return csr_matrix(x)


CONTAINERS = {
    "plain": lambda x: x,
    "lists": lambda x: [[None if np.isnan(value) else value for value in row] for row in x],
    "big-endian": lambda x: x.astype(">f8"),
    "float16": lambda x: x.astype(np.float16),
    "long double": lambda x: x.astype(np.longdouble),
    "objects": lambda x: np.array([[None if np.isnan(v) else Decimal(int(v)) for v in row] for row in x], object),
    "Fortran order": np.asfortranarray,
    "reversed twice": lambda x: x[::-1].copy()[::-1],
    "masked": lambda x: np.ma.masked_array(np.nan_to_num(x, nan=7), np.isnan(x)),
    "masked whole": lambda x: np.ma.masked_array(np.nan_to_num(x, nan=7).astype(">i4"), np.isnan(x)),
    "frame": lambda x: pandas.DataFrame(x),
    "nullable frame": lambda x: pandas.DataFrame(x).convert_dtypes(),
    "sparse": sparse,
    "tensor": torch.from_numpy,
    "gradient": lambda x: torch.tensor(x, requires_grad=True),
    "bfloat16": lambda x: torch.tensor(x).bfloat16(),
    "strides": strided,
    "sparse tensor": lambda x: torch.from_numpy(x).to_sparse(),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_values(container: str, tmp_path) -> None:
    for seed in range(3):
        x = gapped(seed)
        given = CONTAINERS[container](x)
        data = from_values(given)
        assert not data.images.requires_grad
        assert torch.equal(data.images.nan_to_num(99), from_values(x).images.nan_to_num(99))
        np.testing.assert_allclose(data.scaling.undo(data.images)[:, 0, 0], x, atol=1e-5)
    if container not in ("lists", "sparse", "sparse tensor"):
        packed = pack(CONTAINERS[container](x), tmp_path / "packed", kind="vectors")
        rows = np.load(tmp_path / "packed" / "rows.npy")
        np.testing.assert_allclose(packed.scaling.undo(packed.images)[:, 0, 0], x[rows], atol=1e-5)


@pytest.mark.parametrize("container", ["plain", "big-endian", "masked", "gradient", "bfloat16", "objects"])
def test_items_of_every_kind_give_the_same_values(container: str) -> None:
    x = gapped(0)
    data = from_dataset([(CONTAINERS[container](row[None])[0], i % 2) for i, row in enumerate(x)])
    np.testing.assert_allclose(data.scaling.undo(data.images)[:, 0, 0], x, atol=1e-5)
    assert not data.images.requires_grad


def test_a_frame_names_its_columns(tmp_path) -> None:
    frame = pandas.DataFrame(gapped(0), columns=["a", "b", "c"])
    assert from_values(frame).columns == ("a", "b", "c")
    assert from_values(frame, columns=["d", "e", "f"]).columns == ("d", "e", "f")
    assert pack(frame, tmp_path / "packed").columns == ("a", "b", "c")


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        (np.array([["1", 2]] * 8, object), {}, "they must be numbers, got a value of type str"),
        (np.full((8, 2), np.datetime64("2020")), {}, "they must be numbers, got datetime64"),
        (torch.empty(8, 2, device="meta"), {}, "a tensor on the device meta holds none"),
        ((row for row in np.ones((8, 2))), {}, "they must be numbers, got a value of type generator"),
        (
            np.ones((8, 9, 9, 3)),
            {"kind": "images"},
            r"channels before the pixels, .* got \(8, 9, 9, 3\)",
        ),
        (
            np.ones((8, 3, 3)),
            {"kind": "images", "columns": "abc"},
            "names of the numbers of vectors, and these are",
        ),
        (np.full((8, 2), 1e-50), {"scaling": "none"}, "must fit into float32 .* got one of 1.0e-50: multiply"),
        (np.arange(16).reshape(8, 2) * 1e-200, {}, "varies with a standard deviation of 0: multiply the column"),
        (np.ones((8, 2)), {"splits": {"test": [1, 2]}}, "train split of values must hold at least one image"),
        (np.ones((8, 2)), {"splits": {"train": [1, 20]}}, "must index its 8 images, 0 to 7, got 1 to 20"),
        (np.ones((8, 2)), {"splits": {"train": [1, 2], "test": [2]}}, "must not overlap, got image 2"),
    ],
)
def test_arrays_that_would_be_misread_are_refused(values, settings, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        from_values(values, **settings)
    assert "\n" not in str(error.value)


def test_splits_are_numbers_in_any_order() -> None:
    x = gapped(0)
    data = from_values(x, splits={"train": [5, 3, 9, 4, 7, 1], "test": np.array([2, 0])})
    assert data.splits["train"].tolist() == [1, 3, 4, 5, 7, 9]
    np.testing.assert_allclose(data.scaling.shift.flatten(), np.nanmean(x[[1, 3, 4, 5, 7, 9]], 0))


def test_masked_grey_images_are_refused() -> None:
    grey = np.ma.masked_array(np.zeros((12, 4, 4), np.uint8), np.eye(4, dtype=bool)[None].repeat(12, 0))
    with pytest.raises(ValueError, match=r"images of arrays have masked entries, .*\.from_values"):
        ImageSet.from_arrays(grey)
    labels = np.ma.masked_array(np.zeros(12, int), np.arange(12) < 2)
    with pytest.raises(ValueError, match="labels of arrays have masked entries"):
        ImageSet.from_arrays(np.zeros((12, 4, 4), np.uint8), labels)


def test_pictures_of_pillow_keep_their_colours_and_lose_nothing() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 4, (12, 6, 5, 3), dtype=np.uint8) * 80
    pictures = [Image.fromarray(each) for each in pixels]
    palettes = [picture.quantize(64, Image.Quantize.FASTOCTREE) for picture in pictures]
    wanted = np.stack([np.asarray(picture.convert("RGB")) for picture in palettes]).transpose(0, 3, 1, 2)
    assert np.array_equal(from_dataset(palettes).images.numpy(), wanted)
    two = [Image.fromarray(each[..., 0] > 100) for each in pixels]
    assert np.array_equal(from_dataset(two).images[:, 0].numpy(), np.where(pixels[..., 0] > 100, 255, 0))
    deep = [Image.fromarray(each[..., 0].astype(np.uint16) * 256) for each in pixels]
    np.testing.assert_allclose(from_dataset(deep, scaling="none").images[:, 0], pixels[..., 0] * 256.0)
    for mode in ("RGBA", "LA"):
        with pytest.raises(ValueError, match=f"item 0 of dataset cannot be used: .* got mode {mode}; convert it"):
            from_dataset([picture.convert(mode) for picture in pictures])


def test_a_set_is_packed_with_its_own_splits_and_scaling(tmp_path) -> None:
    data = from_values(gapped(0), np.arange(30) % 2, validation=0.5)
    packed = pack(data, tmp_path / "packed")
    rows = np.load(tmp_path / "packed" / "rows.npy")
    for name, index in data.splits.items():
        assert set(rows[packed.splits[name]].tolist()) == set(index.tolist())
    with pytest.raises(ValueError, match="scaling cannot be given for an ImageSet"):
        pack(data, tmp_path / "other", scaling="unit")
