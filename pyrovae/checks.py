"""What public functions are given, checked once, at the edge: values by their annotations, images by the model.

    @checked
    def encode(model: LatentVariableModel, split: Split, *, batch_size: Count = 2000, seed: Seed = 0) -> Codes: ...

What is inside may then take for granted that a model is a model, that images and labels suit it, and that counts are
whole numbers in their range.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor, nn

from pyrovae.data import HIDDEN, ImageSet, Split
from pyrovae.hints import nearest
from pyrovae.models import LatentVariableModel
from pyrovae.networks import described
from pyrovae.runtime import MAX_SEED
from pyrovae.shapes import WrongTypeError

P = ParamSpec("P")
R = TypeVar("R")


SLIP = 10**6
"""Upper limits from here on are there against slips of the finger."""


@dataclass(frozen=True)
class Within:
    """The range of a number.

    Attributes:
        low: The least that it may be.
        high: The most that it may be.
        open: Whether the ends themselves are outside.
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: Any) -> bool:
        return self.low < value < self.high if self.open else self.low <= value <= self.high

    def words(self, value: Any) -> str:
        """The range as the one who gave a value needs it: a limit that is there for slips alone is said to these."""
        if self.high < SLIP or self.low == -math.inf:
            return str(self)
        return f" of at most {self.high:,}" if isinstance(value, int) and value > self.high else str(Within(self.low))

    def __str__(self) -> str:
        if math.isinf(self.high):
            return "" if math.isinf(self.low) else f" {'above' if self.open else 'of at least'} {self.low:g}"
        return f" {'between' if self.open else 'from'} {self.low:g} {'and' if self.open else 'to'} {self.high:.15g}"


Count = Annotated[int, Within(1, 2**31)]
"""How many."""
Place = Annotated[int, Within(0, 2**31)]
"""The number of something, counted from 0."""
Seed = Annotated[int, Within(0, MAX_SEED)]
"""Of a random number generator."""
Share = Annotated[float, Within(0, 1)]
"""A part of a whole."""
Probability = Annotated[float, Within(0, 1, open=True)]
"""Neither impossible nor sure."""
Number = Annotated[float, Within()]
"""Any that is finite."""
NotNegative = Annotated[float, Within(0)]
"""A weight."""
Positive = Annotated[float, Within(0, open=True)]
"""A length, a width, a rate."""

CURES: dict[type, str] = {
    LatentVariableModel: "a model of pyrovae: build one, such as pyrovae.VAE(image_shape), or pyrovae.load(run)",
    Split: "a Split: cut one out of an image set, data.split('test'), or make one, Split(images, labels)",
    ImageSet: "an ImageSet: pyrovae.load_images(name), or pyrovae.ImageSet.from_arrays(images, labels)",
    Tensor: "a tensor: torch.as_tensor(array) makes one",
    Executor: "a concurrent.futures.Executor, such as a ProcessPoolExecutor",
    str: "a text",
    bool: "True or False",
}
"""What a value of each type is, and how one is had."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check what a public function is given, before it is called.

    A wrong type is a `TypeError`; a number or a name out of its range, or images that do not suit the model beside
    them, a `ValueError`.
    """
    signature = inspect.signature(function)

    @cache
    def hints() -> dict[str, Any]:
        return get_type_hints(function, include_extras=True)

    @wraps(function)
    def with_checks(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        for name, value in given.items():
            check_value(name, value, hints().get(name, Any))
        model = given.get("model")
        for value in given.values():
            if isinstance(value, Split) and isinstance(model, LatentVariableModel):
                check_fits(model, value)
        return function(*args, **kwargs)

    return with_checks


def check_fields(settings: Any) -> None:
    """Refuse settings, a dataclass, of which a field is not what its annotation says.

    Raises:
        TypeError: If one is of another type.
        ValueError: If one is out of its range.
    """
    for name, kind in get_type_hints(type(settings), include_extras=True).items():
        check_value(name, getattr(settings, name), kind)


def check_fits(model: LatentVariableModel, split: Split) -> None:
    """Refuse images of another shape, or of classes, than a model was built for.

    Raises:
        ValueError: If they do not fit.
    """
    shapes = model.shapes
    if tuple(split.images.shape[1:]) != shapes.image_shape:
        raise ValueError(
            f"this model takes images of {shapes.image_shape} (channels, height, width), got "
            f"{tuple(split.images.shape[1:])}: look at those of the set that it was trained on"
        )
    if not len(split):
        return  # each function says in its own words what it lacks
    low, high = int(split.labels.min()), int(split.labels.max())
    least = HIDDEN if model.infers_labels else 0
    if low < least or (shapes.num_classes and high >= shapes.num_classes):
        known = f"the classes 0 to {shapes.num_classes - 1}" if shapes.num_classes else "classes numbered from 0"
        raise ValueError(
            f"this model knows {known}, got an image of class {low if low < 0 else high}: look at the images of the "
            f"set that it was trained on"
        )


def check_value(name: str, value: object, kind: Any) -> None:
    """Refuse a value that is not what an annotation says.

    Raises:
        TypeError: If it is of another type.
        ValueError: If it is out of its range.
    """
    allowed = list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]
    if (NoneType in allowed and value is None) or Any in allowed:
        return
    errors: list[TypeError | ValueError] = []
    for one in allowed:
        if one is not NoneType:
            try:
                return _check_one(name, value, one)
            except (TypeError, ValueError) as error:
                errors.append(error)
    # Of several types the one that the value is of says most: its range is what is wrong.
    raise next((e for e in errors if not isinstance(e, TypeError)), errors[0])


def _check_one(name: str, value: object, kind: Any) -> None:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        within = next(each for each in arguments[1:] if isinstance(each, Within))
        _check_number(name, value, arguments[0], within)
    elif kind in (int, float):
        _check_number(name, value, kind, Within())
    elif origin is Literal:
        if value not in arguments:
            listed = ", ".join(map(str, arguments))
            hint = nearest(value, [str(each) for each in arguments]) if isinstance(value, str) else ""
            raise ValueError(f"{name} must be one of {listed}, got {_shown(value)}{hint}")
    elif kind is np.ndarray:
        _check_array(name, value)
    elif origin in (Sequence, list, tuple):
        _check_sequence(name, value, origin, arguments)
    elif origin is Callable or kind is Callable:
        if not callable(value):
            raise WrongTypeError(f"{name} must be a function, got {_shown(value)}")
    elif isinstance(kind, type) and not isinstance(value, kind):
        # A model of the user's own needs the names alone.
        if kind is LatentVariableModel and isinstance(value, nn.Module) and hasattr(value, "likelihood"):
            return
        raise WrongTypeError(f"{name} must be {CURES.get(kind, f'of the type {kind.__name__}')}, got {_shown(value)}")


def _check_number(name: str, value: Any, kind: type, within: Within) -> None:
    words = f"{'a whole number' if kind is int else 'a number'}{within.words(value) if kind is int else within}"
    right = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, right):
        wrong = ValueError if isinstance(value, numbers.Real) and not isinstance(value, bool) else WrongTypeError
        raise wrong(f"{name} must be {words}, got {_shown(value)}")
    finite = isinstance(value, numbers.Integral) or math.isfinite(value)
    if not finite or value not in within:
        raise ValueError(f"{name} must be {words}, got {_shown(value)}")


def _check_array(name: str, value: object) -> None:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise WrongTypeError(f"{name} must be an array of numbers, got {_shown(value)}")


def _check_sequence(name: str, value: object, origin: type, arguments: tuple[Any, ...]) -> None:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray | Tensor):
        raise WrongTypeError(f"{name} must be a list, got {_shown(value)}")
    if isinstance(value, np.ndarray | Tensor):
        value = value.tolist()
        if not isinstance(value, list):
            raise WrongTypeError(f"{name} must be a list, got the number {value}")
    if origin is tuple and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ValueError(f"{name} must be {len(arguments)} values, got {len(value)}")
        kinds: Sequence[Any] = arguments
    else:
        kinds = [arguments[0]] * len(value) if arguments else [Any] * len(value)
    for each, kind in zip(value, kinds, strict=True):
        check_value(f"each of {name}", each, kind)


def _shown(value: object) -> str:
    """A number or a short text as it is, anything else by its type."""
    if isinstance(value, str | numbers.Number):
        return repr(value)[:60]
    return described(value)
