"""The image set: its splits, its checks, and making one of arrays."""

import pickle
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from pyrovae.data import ImageSet, draw_splits


def grey(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("count", "options", "sizes"),
    [
        (70_000, {"num_test": 10_000}, (55_000, 5_000, 10_000)),
        (70_000, {"num_test": 10_000, "validation": 0}, (60_000, 0, 10_000)),
        (70_000, {"num_test": 10_000, "validation": 0.0}, (60_000, 0, 10_000)),
        (70_000, {"num_test": 10_000, "validation": 10_000}, (50_000, 10_000, 10_000)),
        (70_000, {"num_test": 10_000, "validation": 0.5}, (30_000, 30_000, 10_000)),
        (1_797, {}, (1_372, 125, 300)),
        (1, {}, (1, 0, 0)),
    ],
)
def test_the_splits_follow_the_rule(count, options, sizes):
    splits = draw_splits(count, **options)
    assert tuple(map(len, splits.values())) == sizes
    assert tuple(splits) == ("train", "validation", "test")
    assert torch.equal(torch.cat(list(splits.values())).sort().values, torch.arange(count))
    assert all(bool((index.diff() > 0).all()) for index in splits.values())
    if "num_test" in options:
        assert torch.equal(splits["test"], torch.arange(60_000, 70_000))


def test_the_splits_are_the_same_whatever_the_seed_and_leave_the_generator_alone():
    torch.manual_seed(1)
    state, first = torch.get_rng_state(), draw_splits(600)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    for name, index in draw_splits(600).items():
        assert torch.equal(index, first[name])


def test_what_is_held_out_is_drawn_and_not_the_end_of_the_files():
    validation = draw_splits(70_000, num_test=10_000)["validation"].double()
    spread = 60_000 / 12**0.5
    assert abs(validation.mean() - 30_000) < 5 * spread / 5_000**0.5


@pytest.mark.parametrize("validation", [-1, 1.0, 12, -0.5, True, "half", float("nan")])
def test_validation_that_leaves_nothing_is_refused(validation):
    with pytest.raises(ValueError, match=r"validation must be a share in \[0, 1\).* below the 12 that .* got "):
        draw_splits(14, num_test=2, validation=validation)


def test_a_set_from_arrays():
    labels = np.arange(24) % 3
    data = ImageSet.from_arrays(grey(24, 5, 7).numpy(), labels, name="mine", validation=2)
    assert data.image_shape == (1, 5, 7)
    assert data.num_classes == 3
    assert data.class_names == ("0", "1", "2")
    assert len(data) == 24
    assert data.labels.dtype == torch.int64
    assert repr(data) == "ImageSet('mine': 18 train, 2 validation, 4 test images of 1×5×7, 3 classes)"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_whole_number_type_will_do(dtype):
    labels = (torch.arange(12) % 2).to(dtype)
    assert ImageSet.from_arrays(grey(12, 3, 4, 4), labels).labels.dtype == torch.int64


def test_a_set_without_labels_has_one_class():
    data = ImageSet.from_arrays(grey(12, 3, 4, 4))
    assert data.class_names == ("unlabelled",)
    assert not data.labels.any()


def test_given_splits_and_attributes_are_used():
    data = ImageSet.from_arrays(
        grey(6, 4, 4),
        splits={"train": [3, 0, 1], "test": np.array([5])},
        attributes=torch.eye(6, 2).bool(),
        attribute_names=["old", "new"],
    )
    assert data.splits["train"].tolist() == [0, 1, 3]
    assert len(data.split("validation")) == 0
    assert data.split("train").attributes.tolist() == [[True, False], [False, True], [False, False]]
    assert repr(data).endswith("1 class, 2 attributes)")


def test_memory_is_shared_and_arrays_that_must_not_be_written_to_are_copied():
    images = grey(12, 4, 4).numpy()
    assert ImageSet.from_arrays(images).images.data_ptr() == images.ctypes.data
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ImageSet.from_arrays(images)
    assert data.images.data_ptr() != images.ctypes.data


def test_a_split_is_a_view_where_it_can_be():
    data = ImageSet.from_arrays(grey(8, 4, 4), splits={"train": [0, 2, 3], "test": [4, 5, 6]})
    train, test = data.split("train"), data.split("test")
    assert torch.equal(train.images, data.images[[0, 2, 3]])
    assert test.images.data_ptr() == data.images[4].data_ptr()
    assert torch.equal(test.images, data.images[4:7])
    assert len(test) == 3
    assert test.attributes is None


def test_a_set_cannot_be_changed():
    data = ImageSet.from_arrays(grey(12, 4, 4))
    with pytest.raises(FrozenInstanceError):
        data.name = "other"
    with pytest.raises(TypeError):
        data.splits["train"] = torch.arange(3)


def test_a_set_can_be_sent_to_another_process():
    data = ImageSet.from_arrays(grey(12, 4, 4), np.arange(12) % 2, class_names=["a", "b"])
    other = pickle.loads(pickle.dumps(data))
    assert repr(other) == repr(data)
    assert torch.equal(other.split("train").images, data.split("train").images)
    assert other.class_names == data.class_names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.rand(6, 1, 4, 4)}, r"must be uint8 .* got torch.float32; .*\(images \* 255\)"),
        ({"images": torch.zeros(6, 4, dtype=torch.uint8)}, r"shape \(N, C, H, W\).* got \(6, 4\)"),
        ({"images": torch.zeros(0, 1, 4, 4, dtype=torch.uint8)}, r"at least one image.* got \(0, 1, 4, 4\)"),
        ({"labels": torch.zeros(6)}, r"int64 of shape \(6,\).* got torch.float32"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, r"one for each image, got torch.int64 of shape \(5,\)"),
        ({"labels": torch.arange(6)}, "labels of it must lie in 0 to 1, for 2 class names, got 0 to 5"),
        ({"labels": torch.arange(6) - 5}, "must lie in 0 to 1, .* got -5 to 0; number the classes from 0"),
        ({"attribute_names": ("old",)}, "1 attribute names but no attributes"),
        (
            {"attributes": torch.zeros(6, 1), "attribute_names": ("old",)},
            "must be bool of shape .* got torch.float32",
        ),
        ({"attributes": torch.zeros(6, 2) > 0, "attribute_names": ("old",)}, r"shape \(6, 1\).* of shape \(6, 2\)"),
        ({"splits": {"train": torch.arange(3), "dev": torch.arange(1)}}, "named train, validation, test, got dev"),
        ({"splits": {"test": torch.arange(3)}}, "train split of it must hold at least one image"),
        ({"splits": {"train": torch.zeros(3)}}, r"sorted int64 .* got torch.float32 of shape \(3,\)"),
        ({"splits": {"train": torch.tensor([1, 1])}}, "sorted int64 indices .* each once"),
        ({"splits": {"train": torch.tensor([1, 6])}}, "must index its 6 images, 0 to 5, got 1 to 6"),
        ({"splits": {"train": torch.tensor([-1, 5])}}, "must index its 6 images, 0 to 5, got -1 to 5"),
        (
            {"splits": {"train": torch.tensor([0, 3]), "test": torch.tensor([3, 4])}},
            "must not overlap, got image 3 in more than one",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    fields = {
        "name": "it",
        "images": grey(6, 1, 4, 4),
        "labels": torch.zeros(6, dtype=torch.int64),
        "class_names": ("a", "b"),
        "splits": {"train": torch.arange(6)},
    }
    ImageSet(**fields)
    with pytest.raises(ValueError, match=message):
        ImageSet(**{**fields, **change})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.rand(6), "labels of arrays must be whole numbers, got torch.float32"),
        ([], r"one for each image, got torch.int64 of shape \(0,\)"),
        ([-1] * 6, "number the classes from 0"),
        (["cat"] * 6, "must be whole numbers, got 'cat'; number the classes from 0 and pass class_names"),
        (np.array(["cat"] * 6), "must be whole numbers, got 'cat'; number the classes from 0 and pass class_names"),
        ([None] * 6, "must be whole numbers, got 'None'; number the classes"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        ImageSet.from_arrays(grey(6, 4, 4), labels)


def test_floating_point_images_are_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"got torch.float64; for values in \[0, 1\]: \(images \* 255\).round\(\)"):
        ImageSet.from_arrays(np.random.rand(6, 4, 4))


def test_channels_behind_the_pixels_are_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), got \(6, 4, 4, 3\); images.transpose\(0, 3, 1, 2\)"):
        ImageSet.from_arrays(grey(6, 4, 4, 3).numpy())


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split must be one of train, validation, test, got 'dev'"):
        ImageSet.from_arrays(grey(6, 4, 4)).split("dev")
