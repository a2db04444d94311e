"""Base classes of the networks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyrovae.shapes import ImageShape, is_whole

Activation = Callable[[], nn.Module]


class Encoder(nn.Module):
    """Base of the built-in encoders: a module from images and labels to features.

    Attributes:
        out_features: Number of features.
    """

    out_features: int


class Decoder(nn.Module):
    """Base of the built-in decoders: a module from codes and labels to numbers for each pixel."""


def one_hot_labels(y: Tensor | None, num_classes: int) -> Tensor:
    """One-hot labels, (B, num_classes) float32.

    Raises:
        ValueError: If there is no label where the model needs one.
    """
    if y is None:
        raise ValueError(
            f"this model is conditional on a label: pass y, an int64 tensor of shape (B,) "
            f"with values from 0 to {num_classes - 1}"
        )
    # Unlike torch's one_hot, which looks at the labels' values to check them, this can be traced into a graph.
    return torch.eye(num_classes, device=y.device)[y]


def _beside(values: Tensor, y: Tensor | None, num_classes: int) -> Tensor:
    """`values`, (..., B, D), with the one-hot label appended, (..., B, D + num_classes)."""
    if not num_classes:
        return values
    labels = one_hot_labels(y, num_classes).to(values.dtype)
    return torch.cat([values, labels.expand(*values.shape[:-1], num_classes)], -1)


def _positive(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes of layers as a tuple.

    Raises:
        ValueError: If there are none, or one is no positive whole number.
    """
    if not isinstance(sizes, Sequence) or not sizes or not all(is_whole(n, 1) for n in sizes):
        raise ValueError(f"{name} must be one or more positive whole numbers, such as (256, 128), got {sizes!r}")
    return tuple(sizes)


def _checked(x: Tensor, image_shape: ImageShape) -> Tensor:
    """The images, whose sizes and type are known without a look at their values, so also while a graph is traced.

    Raises:
        ValueError: If they are not those that an encoder was built for.
    """
    if x.shape[-3:] != image_shape or not x.is_floating_point():
        raise ValueError(
            f"images must be floating-point numbers from 0 to 1 of shape (B, {', '.join(map(str, image_shape))}), got "
            f"{x.dtype} of shape {tuple(x.shape)}: pyrovae.data.to_unit(images) converts uint8, and a model is built "
            f"for one image_shape"
        )
    return x


class OnTorus(nn.Module):
    """A decoder of angles: gives another the cosines and sines of the code, so that -pi and pi decode alike.

    Args:
        decoder: Decoder of codes of twice as many dimensions.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Angles, (..., B, latent_dim), to (..., B, channels, H, W)."""
        return self.decoder(torch.cat([z.cos(), z.sin()], -1), y)
