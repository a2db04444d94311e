"""A class is the one that the user names, whatever its number is inside."""

import numpy as np
import pytest

from pyrovae.cli.classes import attribute_of, class_number


@pytest.mark.parametrize("seed", range(5))
def test_whole_numbers_are_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [str(number) for number in np.sort(rng.choice(np.arange(-9, 30), 6, replace=False))]
    for place, name in enumerate(names):
        assert class_number(int(name), names) == class_number(name, names) == place
    with pytest.raises(ValueError, match=rf"there is no class 40.*; the classes are {names[0]}, {names[1]}"):
        class_number(40, names)
    assert attribute_of(f"class:{names[4]}-vs:{names[2]}", names, []) == "class:4-vs:2"
    assert attribute_of(f"class:{names[3]}", names, []) == "class:3"


def test_words_are_names_and_numbers_are_their_places() -> None:
    names = ["Cat", "a dog", "3"]
    assert [class_number(said, names) for said in ("Cat", "a dog", 1, "1", 7)] == [0, 1, 1, 1, 7]
    with pytest.raises(ValueError, match=r"there is no class cat; did you mean Cat\?; the classes are Cat, a dog, 3"):
        class_number("cat", names)
    assert attribute_of("class:a dog-vs:Cat", names, []) == "class:1-vs:0"
    assert attribute_of("class:Cat", names, ["class:Cat"]) == "class:Cat"
    assert attribute_of("slant", names, []) == "slant"
