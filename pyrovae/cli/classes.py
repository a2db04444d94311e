"""Classes as a command line names them."""

import re
from collections.abc import Sequence

from pyrovae.hints import nearest

ClassName = int | str
"""A class by its name, or by its place."""
_SHOWN = 12


def class_number(said: ClassName, names: Sequence[str]) -> int:
    """The number of a class, from 0.

    A word is a class's name. A number is one too where all names are whole numbers, such as 3, 7 and 9; otherwise it is
    the class's place among the names.

    >>> class_number(7, ["3", "7", "9"]), class_number(1, ["cat", "dog"]), class_number("dog", ["cat", "dog"])
    (1, 1, 1)

    Raises:
        ValueError: If there is no class of such a name.
    """
    word = str(said)
    if word.isdecimal() and not all(re.fullmatch(r"-?\d+", name) for name in names):
        return int(word)  # whoever uses it checks its range
    if word in names:
        return list(names).index(word)
    if word.isdecimal() and list(names) == [str(k) for k in range(len(names))]:
        return int(word)
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    raise ValueError(f"there is no class {word}{nearest(word, names)}; the classes are {shown}")


def attribute_of(said: str, names: Sequence[str], attributes: Sequence[str]) -> str:
    """An attribute whose classes are numbers from 0, as `pyrovae.latent.find_attribute` takes it.

    >>> attribute_of("class:7-vs:9", ["3", "7", "9"], [])
    'class:1-vs:2'
    """
    classes = None if said in attributes else re.fullmatch(r"class:(.+?)(?:-vs:(.+))?", said)
    if classes is None:
        return said
    numbers = [str(class_number(word, names)) for word in classes.groups() if word is not None]
    return f"class:{'-vs:'.join(numbers)}"
