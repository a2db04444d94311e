"""Labels that are kept and hidden: balanced, from a seed, and what cannot be."""

import pytest
import torch

from pyrovae.data import HIDDEN, ImageSet, keep_labels


def make(counts: tuple[int, ...] = (40, 40, 40), **settings: object) -> ImageSet:
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    return ImageSet.from_arrays(torch.zeros(len(labels), 8, 8, dtype=torch.uint8), labels, name="it", **settings)


@pytest.mark.parametrize("count", [3, 12, 60])
def test_labels_are_kept_of_each_class_and_no_others(count: int) -> None:
    data = make()
    few = keep_labels(data, count, seed=3)
    kept = few.split("train").labels
    assert (kept[kept != HIDDEN].bincount(minlength=3) == count // 3).all()
    assert (few.split("validation").labels == HIDDEN).all()
    assert torch.equal(few.split("test").labels, data.split("test").labels)
    assert torch.equal(kept[kept != HIDDEN], data.split("train").labels[kept != HIDDEN])
    assert few.images is data.images
    assert int((data.labels == HIDDEN).sum()) == 0


def test_the_seed_chooses_the_images() -> None:
    data = make()
    one, same, other = (keep_labels(data, 12, seed).labels for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("make_set", "count", "message"),
    [
        (make, 0, "must be a multiple of the 3 classes of it, from 3 to the 92 .* got 0: give 3, for example"),
        (make, 2, "got 2: give 3, for example"),
        (make, 13, "so that each class has as many, got 13: give 12, for example"),
        (make, 93, "got 93: give 90, for example"),
        (make, 10**9, "give 90, for example"),
        (make, True, "must be a multiple of the 3 classes"),
        (make, 6.0, "must be a multiple of the 3 classes"),
        (lambda: make((60, 60, 4)), 30, "30 labels are 10 of each class, and it has 3 training images of class '2'"),
        (lambda: make((40,)), 3, "it has a single class, '0': leave --data_labels"),
        (
            lambda: ImageSet.from_arrays(torch.zeros(40, 8, 8, dtype=torch.uint8)),
            10,
            r"arrays has no labels: leave --data_labels, or name a column of labels \(--data_label\)",
        ),
        (lambda: keep_labels(make(), 6), 3, "it has rows without a label already, .*: leave --data_labels"),
    ],
    ids=lambda value: str(value) if isinstance(value, int | float) else "",
)
def test_what_cannot_be_kept_is_refused(make_set: object, count: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        keep_labels(make_set(), count)
    assert "\n" not in str(caught.value)
