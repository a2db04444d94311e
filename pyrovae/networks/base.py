"""Base classes of the networks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyrovae.shapes import MOST, ImageShape, WrongTypeError, is_whole

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
        ValueError: If there is no label where the model needs one, a class that it does not know, or no whole number.
        TypeError: If the labels are no tensor.
    """
    labels = checked_labels(y, num_classes)
    # Unlike torch's one_hot, which looks at the labels' values to check them, this can be traced into a graph.
    return rows_of_labels(torch.eye(num_classes, device=labels.device), labels)


def checked_labels(y: Tensor | None, num_classes: int) -> Tensor:
    """The labels, whose type is known without a look at their values, so also while a graph is traced.

    Raises:
        ValueError: If there are none, or they are no whole numbers.
        TypeError: If they are no tensor.
    """
    must = f"an int64 tensor of shape (B,) with values from 0 to {num_classes - 1}"
    if y is None:
        raise ValueError(f"this model is conditional on a label: pass y, {must}")
    if not isinstance(y, Tensor) or y.dtype not in (torch.int64, torch.int32, torch.uint8):
        wrong = ValueError if isinstance(y, Tensor) else WrongTypeError
        raise wrong(f"labels y must be {must}, got {described(y)}: torch.as_tensor(labels, dtype=torch.int64)")
    return y


def rows_of_labels(table: Tensor, y: Tensor) -> Tensor:
    """The rows of a table, (classes, ...), that labels choose, (B, ...); -1 is no way to say the last one.

    Raises:
        ValueError: If there is no such row (on a GPU, where a look at values would wait, CUDA itself fails).
    """
    try:
        return table.index_select(0, y.reshape(-1).long()).reshape(*y.shape, *table.shape[1:])
    except IndexError as error:
        raise ValueError(f"labels are 0 to {len(table) - 1}, got {int(y.min())} to {int(y.max())}") from error


def described(value: object) -> str:
    """What was given, in a few words: a tensor or an array by its type and shape, anything else by its class."""
    kind = type(value).__name__
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"a {kind} of {getattr(value, 'dtype', 'values')} of shape {tuple(shape)}"
    return "None" if value is None else f"a value of type {kind}"


def _beside(values: Tensor, y: Tensor | None, num_classes: int) -> Tensor:
    """`values`, (..., B, D), with the one-hot label appended, (..., B, D + num_classes); both may have more axes."""
    if not num_classes:
        return values
    labels = one_hot_labels(y, num_classes).to(values.dtype)
    check_one_each(labels, values.shape[-2])
    shape = torch.broadcast_shapes(values.shape[:-1], labels.shape[:-1])
    return torch.cat([values.expand(*shape, -1), labels.expand(*shape, -1)], -1)


def check_one_each(labels: Tensor, count: int) -> None:
    """Refuse another number of one-hot labels, (B, classes), than there are codes or images.

    Raises:
        ValueError: If it is neither that nor one for all.
    """
    if labels.ndim > 1 and labels.shape[-2] not in (1, count):
        raise ValueError(f"labels y must be one for each of {count}, got {labels.shape[-2]}")


def checked_code(z: Tensor, latent_dim: int, like: nn.Module) -> Tensor:
    """The codes, whose size and type are known without a look at their values.

    Args:
        z: The codes, (..., B, latent_dim).
        latent_dim: Number of dimensions that the decoder was built for.
        like: The decoder, whose weights' type codes must have.

    Raises:
        TypeError: If they are no tensor.
        ValueError: If they are of another type or number of dimensions, or have no axis of codes.
    """
    must = f"codes z must be a tensor of shape (B, {latent_dim})"
    _check_type(z, like, must)
    if z.ndim < 2 or z.shape[-1] != latent_dim:
        cure = "z.unsqueeze(0) makes a batch of one code" if z.ndim < 2 else "a model is built for one latent_dim"
        raise ValueError(f"{must}, got {described(z)}: {cure}")
    return z


def _check_type(values: object, like: nn.Module, must: str) -> None:
    """Refuse what is no tensor of the type of a network's weights.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If it is one of another type.
    """
    wanted = next((weight.dtype for weight in like.parameters() if weight.is_floating_point()), None)
    if not isinstance(values, Tensor):
        cure = "torch.as_tensor(array, dtype=torch.float32) of an array, and pyrovae.data.to_unit of grey values"
        raise WrongTypeError(f"{must}, got {described(values)}: {cure}")
    if wanted is not None and values.dtype != wanted and not torch.is_autocast_enabled(values.device.type):
        cure = "pyrovae.data.to_unit(images) converts grey values" if values.dtype == torch.uint8 else "convert them"
        raise ValueError(f"{must}, got {described(values)}: {cure} to {wanted}, which the weights are of")


def _positive(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes of layers as a tuple.

    Raises:
        ValueError: If there are none, or one is no positive whole number.
    """
    if not isinstance(sizes, Sequence) or not sizes or not all(is_whole(n, 1, MOST) for n in sizes):
        raise ValueError(f"{name} must be one or more positive whole numbers, such as (256, 128), got {sizes!r}")
    return tuple(sizes)


def _checked(x: Tensor, image_shape: ImageShape, like: nn.Module) -> Tensor:
    """The images, whose sizes and type are known without a look at their values, so also while a graph is traced.

    Raises:
        TypeError: If they are no tensor.
        ValueError: If they are not of the shape that the encoder was built for, or the type of its weights.
    """
    must = f"images x must be numbers from 0 to 1 in a tensor of shape (B, {', '.join(map(str, image_shape))})"
    _check_type(x, like, must)
    if x.ndim < 4 or x.shape[-3:] != image_shape:
        alone = tuple(x.shape) == image_shape
        cure = "x.unsqueeze(0) makes a batch of one image" if alone else "a model is built for one image_shape"
        raise ValueError(f"{must}, got {described(x)}: {cure}")
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


class FromDimension(nn.Module):
    """A decoder of the last dimensions of the code: gives another what is left without the first ones.

    Args:
        decoder: Decoder of codes of fewer dimensions.
        first: Number of dimensions that it does not see.
    """

    def __init__(self, decoder: nn.Module, first: int) -> None:
        super().__init__()
        self.decoder, self.first = decoder, first

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes, (..., B, latent_dim), to (..., B, channels, H, W)."""
        return self.decoder(z[..., self.first :], y)
