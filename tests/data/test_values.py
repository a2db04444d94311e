"""Values as sets: shapes, scalings that can be undone, labels, and what is refused."""

import numpy as np
import pytest
import torch

from pyrovae.data import SCALING_POLICIES, ImageSet, Scaling, from_dataset, from_values
from pyrovae.data.labels import encode_labels


def table(rows: int = 60, columns: int = 4, missing: float = 0.0, seed: int = 0) -> np.ndarray:
    """Columns of very different locations and scales."""
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(0, 1e3, columns), 10.0 ** rng.uniform(-3, 3, columns), (rows, columns))
    return np.where(rng.random(x.shape) < missing, np.nan, x)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("scaling", SCALING_POLICIES)
def test_a_scaling_is_of_the_training_rows_and_undone_on_the_way_out(scaling, missing, seed) -> None:
    x = table(missing=missing, seed=seed)
    data = from_values(x, scaling=scaling)
    train = data.split("train").images[:, 0, 0].double()
    if scaling == "standard":
        assert torch.allclose(train.nanmean(0), torch.zeros(4, dtype=torch.float64), atol=1e-5)
        assert torch.allclose(
            (train - train.nanmean(0)).square().nanmean(0), torch.ones(4, dtype=torch.float64), atol=1e-5
        )
    elif scaling == "unit":
        filled = train.nan_to_num(0.5)
        assert filled.min() == 0
        assert filled.max() == 1
    back = data.scaling.undo(data.images)[:, 0, 0].numpy()
    assert np.array_equal(np.isnan(back), np.isnan(x))
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-5 * np.nanstd(x, 0).max())
    assert data.has_missing == bool(missing)
    again = Scaling.from_dict(data.scaling.to_dict())
    assert torch.equal(again.apply(torch.from_numpy(x)[:, None, None]).nan_to_num(7), data.images.nan_to_num(7))


def test_test_rows_do_not_reach_the_scaling() -> None:
    x = table()
    before = from_values(x)
    x[before.splits["test"]] += 1e6
    after = from_values(x)
    assert torch.equal(before.scaling.shift, after.scaling.shift)
    assert torch.equal(before.split("train").images, after.split("train").images)


def test_a_constant_column_becomes_zero() -> None:
    x = table()
    x[:, 2] = 0.1
    data = from_values(x)
    assert not data.images[..., 2].any()
    assert torch.isfinite(data.images).all()


@pytest.mark.parametrize(
    ("kind", "shape", "becomes"),
    [
        ("vectors", (20, 7), (1, 1, 7)),
        ("sequences", (20, 7), (1, 1, 7)),
        ("sequences", (20, 7, 3), (3, 1, 7)),
        ("images", (20, 5, 6), (1, 5, 6)),
        ("images", (20, 2, 5, 6), (2, 5, 6)),
    ],
)
def test_what_values_become(kind, shape, becomes) -> None:
    x = np.random.default_rng(0).normal(5, 3, shape)
    data = from_values(torch.from_numpy(x), kind=kind)
    assert data.image_shape == becomes
    assert data.images.dtype == torch.float32
    if shape == (20, 7, 3):  # channel c at step t is number c of step t
        np.testing.assert_allclose(data.scaling.undo(data.images)[4, 2, 0, 5], x[4, 5, 2], rtol=1e-5)
        each = data.split("train").images.transpose(0, 1).flatten(1)
        assert torch.allclose(each.mean(1), torch.zeros(3), atol=1e-5)
    assert ("rows of 7 columns" in data.sizes) == (kind == "vectors")


@pytest.mark.parametrize(
    ("labels", "names", "coded"),
    [
        (["b", "a", "b", "a"], ("a", "b"), [1, 0, 1, 0]),
        ([30, 7, 7, 30], ("7", "30"), [1, 0, 0, 1]),
        (torch.tensor([2.0, -1.0, 2.0, -1.0]), ("-1", "2"), [1, 0, 1, 0]),
        ([True, False, False, True], ("False", "True"), [1, 0, 0, 1]),
        (None, ("unlabelled",), [0, 0, 0, 0]),
    ],
)
def test_labels(labels, names, coded) -> None:
    found, class_names = encode_labels("set", labels, 4)
    assert class_names == names
    assert found.tolist() == coded


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        (np.array([[1.0, np.inf], [0, 1]] * 4), {}, "got an infinite one in row 1, column '1': write NaN"),
        (np.linspace(0, 1e300, 16).reshape(8, 2), {}, r"must fit into float32 .* got one of 1.0e\+300"),
        (np.full((8, 2), 1e39), {"scaling": "none"}, "must fit into float32"),
        (np.full((8, 2), np.nan), {}, r"column '0' of values has no value among the training rows: leave it out"),
        (np.zeros((8, 2, 2)), {}, r"vectors of values must have the shape \(N, D\) .* got \(8, 2, 2\)"),
        (np.zeros((0, 2)), {}, r"hold something, got \(0, 2\)"),
        (np.array([["a", "b"]] * 8), {}, "must be an array of numbers"),
        (np.zeros((8, 2), complex), {}, "must be real numbers"),
        (np.zeros((8, 2)), {"scaling": "standardised"}, "scaling must be one of standard, unit, none, got 'standard"),
        (np.zeros((8, 2)), {"kind": "tables"}, "kind must be one of vectors, sequences, images, got 'tables'"),
        (np.zeros((8, 2)), {"columns": ["a", "a"]}, "columns of values must be 2 different names"),
        (np.zeros((8, 2)), {"labels": ["a"] * 7 + ["b"]}, "at least two rows, and b has one: leave that row out"),
        (np.zeros((8, 2)), {"labels": [0.5] * 8}, "must be whole numbers or words, got 0.5 in row 1"),
        (np.zeros((8, 2)), {"labels": [0, np.nan, 1.5] + [1] * 5}, "got 1.5 in row 3"),
        (np.zeros((8, 2)), {"labels": [None] * 8}, "are missing in every row"),
        (np.zeros((8, 2)), {"labels": [0, 1]}, r"labels of values must be of shape \(8,\), .* got \(2,\)"),
    ],
)
def test_bad_values_get_one_line(values, settings, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        from_values(values, settings.pop("labels", None), **settings)
    assert "\n" not in str(error.value)


def test_values_need_their_scaling() -> None:
    data = from_values(table())
    with pytest.raises(ValueError, match=r"must be uint8 .*from_values"):
        ImageSet("x", data.images, data.labels, data.class_names, data.splits)
    with pytest.raises(ValueError, match="must be float32"):
        ImageSet("x", data.images.double(), data.labels, data.class_names, data.splits, scaling=data.scaling)


class Items(torch.utils.data.Dataset):
    """Items made by a function of their number."""

    def __init__(self, make, count: int = 30) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int):
        return self.make(i)


def test_a_dataset_of_torch() -> None:
    x = torch.from_numpy(table(30))
    data = from_dataset(torch.utils.data.TensorDataset(x, torch.arange(30) % 3))
    same = from_values(x, torch.arange(30) % 3)
    assert torch.equal(data.images, same.images)
    assert torch.equal(data.labels, same.labels)
    assert torch.equal(from_dataset(torch.utils.data.TensorDataset(x)).images, same.images)


def test_a_dataset_of_pictures() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
    data = from_dataset(Items(lambda i: (Image.fromarray(pixels[i]), "odd" if i % 2 else "even")))
    assert data.scaling is None
    assert torch.equal(data.images, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert data.class_names == ("even", "odd")
    assert from_dataset(Items(lambda i: pixels[i, ..., 0])).image_shape == (1, 6, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda i: 1 / (17 - i) * torch.ones(3), "item 17 of mine cannot be read: ZeroDivisionError: division by zero"),
        (lambda i: torch.ones(3 + (i == 9)), r"shape \(3,\) in item 0 and torch.float32 of shape \(4,\) in item 9"),
        (lambda i: "words", "item 0 of mine cannot be used: they must be numbers, got <U5"),
    ],
)
def test_a_dataset_that_raises_in_the_middle(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        from_dataset(Items(make), name="mine")
