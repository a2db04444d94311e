"""The sizes of a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

ImageShape = tuple[int, int, int]


class WrongTypeError(TypeError, ValueError):
    """A value of another type than it must be; a `ValueError` too, as all that a user can get wrong."""


MOST = 10**9
"""Above it a size is a slip of the finger, and may not even fit into a machine's word."""


def is_whole(value: object, at_least: int, at_most: float = math.inf) -> bool:
    """Whether a value is a whole number, and no truth value, in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most


def check_count(name: str, value: object, why: str = "") -> None:
    """Refuse a number of things that is none.

    Args:
        name: What is counted.
        value: The number, a Python int.
        why: Why it must be one, or the cure, for the end of the message.

    Raises:
        ValueError: If it is no whole number of at least 1.
    """
    if not is_whole(value, 1, MOST):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}{why and f': {why}'}")


def check_choice(name: str, value: object, kind: Any) -> None:
    """Refuse a word that is none of a `Literal`'s.

    Raises:
        ValueError: If it is another.
    """
    if value not in get_args(kind):
        raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")


@dataclass(frozen=True)
class Shapes:
    """The sizes of a model, from which its parts are built.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        latent_dim: Number of dimensions of the latent code z.
        num_classes: Number of classes of the label y; 0 for a model without labels.

    Raises:
        ValueError: If a size is not a whole number or out of range.
    """

    image_shape: ImageShape
    latent_dim: int
    num_classes: int = 0

    def __post_init__(self) -> None:
        sizes = self.image_shape
        if not isinstance(sizes, Sequence) or len(sizes) != 3 or not all(is_whole(n, 1, MOST) for n in sizes):
            raise ValueError(
                f"image_shape must be three positive whole numbers (channels, height, width), "
                f"got {sizes!r}; for MNIST it is (1, 28, 28)"
            )
        object.__setattr__(self, "image_shape", tuple(sizes))
        if not is_whole(self.latent_dim, 1, MOST):
            raise ValueError(
                f"latent_dim must be a whole number of at least 1{_and_at_most(self.latent_dim)}, got "
                f"{self.latent_dim!r}; 2 can be drawn as a plane, 10 to 50 reconstruct better"
            )
        if not is_whole(self.num_classes, 0, MOST):
            raise ValueError(f"num_classes must be a whole number of at least 0, got {self.num_classes!r}")


def _and_at_most(value: object) -> str:
    """The upper limit, for who has passed it."""
    return f" and at most {MOST:,}" if isinstance(value, int) and value > MOST else ""


def bottom_dim(shapes: Shapes, top_dim: int) -> int:
    """Dimensions that the top layer leaves to the bottom one.

    Raises:
        ValueError: If it leaves none, or has none.
    """
    if not is_whole(top_dim, 1, shapes.latent_dim - 1):
        raise ValueError(
            f"top_dim must be a whole number of at least 1 and below latent_dim, {shapes.latent_dim}, which counts "
            f"both layers, got {top_dim!r}"
        )
    return shapes.latent_dim - top_dim
