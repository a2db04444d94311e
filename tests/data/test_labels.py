"""Labels of every kind and in every container: the classes are those that a plain computation gives."""

import numpy as np
import pytest
import torch

from pyrovae.data import HIDDEN, from_dataset, pack
from pyrovae.data.labels import encode_labels

pandas = pytest.importorskip("pandas")

KINDS = {
    "whole": [7, 3, -9, 10],
    "large": [2**60 + 1, 2**60, -(2**53) - 1, 5],
    "words": ["oak", "Ash", "fir tree", "none"],
    "truth": [True, False],
    "bytes": [b"oak", b"ash"],
}
CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "objects": lambda labels: np.array([*labels, None], dtype=object)[:-1],
    "series": lambda labels: pandas.Series(list(labels), dtype=object),
    "nullable": lambda labels: pandas.Series(pandas.array(list(labels))),
    "categories": lambda labels: pandas.Categorical(list(labels)),
    "masked": lambda labels: np.ma.masked_array(
        [label if label is not None else next(filter(None, labels)) for label in labels],
        [label is None for label in labels],
    ),
    "floats": lambda labels: np.array([np.nan if label is None else label for label in labels], dtype=float),
    "tensor": lambda labels: torch.tensor([np.nan if label is None else label for label in labels]).double(),
    "bfloat16": lambda labels: torch.tensor([np.nan if label is None else label for label in labels]).bfloat16(),
}
ONLY_SMALL = ("floats", "tensor", "bfloat16")


def made(kind: str, seed: int, gaps: bool) -> list:
    """Labels of a kind, each at least twice, of which some may be missing."""
    rng = np.random.default_rng(seed)
    names = KINDS[kind]
    labels = [names[i] for i in rng.permutation(np.concatenate([np.repeat(np.arange(len(names)), 2), [0] * 12]))]
    keep = set(np.concatenate([[i for i, own in enumerate(labels) if own == name][:2] for name in names]).tolist())
    return [label if i in keep or not gaps or rng.random() < 0.5 else None for i, label in enumerate(labels)]


def expected(labels: list) -> tuple[tuple[str, ...], list[int]]:
    """Names in the order of the labels, and their numbers."""
    plain = [label.decode() if isinstance(label, bytes) else label for label in labels]
    names = sorted({label for label in plain if label is not None})
    return tuple(map(str, names)), [HIDDEN if label is None else names.index(label) for label in plain]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_container_gives_the_same_classes(kind: str, container: str, gaps: bool) -> None:
    if container in ONLY_SMALL and kind != "whole":
        pytest.skip("such an array holds small whole numbers only")
    if container in ("nullable", "categories") and kind == "bytes":
        pytest.skip("pandas has no such type")
    for seed in range(3):
        labels = made(kind, seed, gaps)
        names, coded = expected(labels)
        found, class_names = encode_labels("set", CONTAINERS[container](labels), len(labels))
        assert class_names == names
        assert found.tolist() == coded


@pytest.mark.parametrize("first", ["missing", "known"])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_items_are_read_whatever_the_first_one_is(kind: str, first: str, tmp_path) -> None:
    labels = made(kind, 5, gaps=True)
    start = labels.index(None) if first == "missing" else next(i for i, own in enumerate(labels) if own is not None)
    labels = labels[start:] + labels[:start]
    names, coded = expected(labels)
    items = [(np.array([float(i), 1.0]), label) for i, label in enumerate(labels)]
    data = from_dataset(items)
    assert (data.class_names, data.labels.tolist()) == (names, coded)
    packed = pack(items, tmp_path / "packed")
    rows = np.load(tmp_path / "packed" / "rows.npy")
    assert packed.class_names == names
    assert packed.labels.tolist() == [coded[row] for row in rows]


def test_items_without_any_label_have_none(tmp_path) -> None:
    items = [(np.array([float(i), 1.0]), None) for i in range(24)]
    assert from_dataset(items).class_names == ("unlabelled",)
    assert pack(items, tmp_path / "packed").class_names == ("unlabelled",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.0, np.inf] * 4, "must be whole numbers or words, got inf in row 2"),
        ([1.5, None] * 4, "must be whole numbers or words, got 1.5 in row 1"),
        (np.array([2.0**53, 1] * 4), "must be exact, and 9007199254740992 in row 1 is rounded, as a float64"),
        (np.array([2**24, 1] * 4, np.float32), "must be exact, and 16777216 in row 1 is rounded, as a float32"),
        ([1, "1"] * 4, "got both 1 and '1', whose class would be one"),
        ([[1], [2, 3]] * 4, "a label must be a whole number or a word, got a value of type list"),
        (np.array([1j, 2] * 4), "a label must be a whole number or a word, got a value of type complex"),
        (["", " "] * 4, "are missing in every row"),
    ],
)
def test_labels_that_would_be_other_classes_are_refused(labels, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        encode_labels("set", labels, 8)
    assert "\n" not in str(error.value)


def test_blanks_around_a_word_make_no_class_and_an_empty_one_is_missing() -> None:
    found, names = encode_labels("set", ["oak", "oak ", " ash", "ash", "", "  "], 6)
    assert names == ("ash", "oak")
    assert found.tolist() == [1, 1, 0, 0, HIDDEN, HIDDEN]
