"""Encoder and decoder networks, built from the shapes of the model that they serve.

An encoder maps images x, (B, C, H, W), and labels y, (B,), to features, (B, out_features), from which a
posterior part computes its parameters. A decoder maps codes z, (..., B, latent_dim), and labels y to
`channels` numbers for each pixel, (..., B, channels, H, W), from which a likelihood part computes its own.
A label enters one-hot: beside the pixels in an encoder, beside the code in a decoder. Any module that maps
the same shapes will do in their place.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from pyrovae.shapes import ImageShape, Shapes

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
    """`values`, (..., B, D), with the one-hot label behind them, (..., B, D + num_classes)."""
    if not num_classes:
        return values
    labels = one_hot_labels(y, num_classes).to(values.dtype)
    return torch.cat([values, labels.expand(*values.shape[:-1], num_classes)], -1)


def _dense(sizes: Sequence[int], activation: Activation) -> nn.Sequential:
    """Linear layers of the given sizes, each with an activation behind it."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers)


def _positive(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    if not sizes or any(n < 1 for n in sizes):
        raise ValueError(f"{name} must be one or more positive whole numbers, got {list(sizes)}")
    return tuple(sizes)


class _DenseEncoder(Encoder):
    """Layers over the flattened pixels (and the one-hot label), (B, D), to features."""

    def __init__(self, shapes: Shapes, layers: Callable[[int], nn.Module], out_features: int) -> None:
        super().__init__()
        self.num_classes = shapes.num_classes
        self.layers = layers(prod(shapes.image_shape) + shapes.num_classes)
        self.out_features = out_features

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, (B, C, H, W), to features, (B, out_features)."""
        return self.layers(_beside(x.flatten(-3), y, self.num_classes))


class _DenseDecoder(Decoder):
    """Layers over the code (and the one-hot label), then a linear one to numbers for each pixel."""

    def __init__(self, shapes: Shapes, channels: int, layers: Callable[[int], nn.Module], features: int) -> None:
        super().__init__()
        self.num_classes = shapes.num_classes
        self.out_shape = (channels, *shapes.image_shape[1:])
        self.layers = layers(shapes.latent_dim + shapes.num_classes)
        self.head = nn.Linear(features, prod(self.out_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes, (..., B, latent_dim), to (..., B, channels, H, W)."""
        return self.head(self.layers(_beside(z, y, self.num_classes))).unflatten(-1, self.out_shape)


class MLPEncoder(_DenseEncoder):
    """Fully connected layers from the flattened pixels (and the one-hot label) to features.

    Args:
        shapes: Sizes of the model.
        hidden: Units of each hidden layer; the last one's are the features.
        activation: Class of the non-linearity behind each layer, from `torch.nn`.
    """

    def __init__(self, shapes: Shapes, hidden: Sequence[int] = (256,), activation: Activation = nn.ReLU) -> None:
        hidden = _positive("hidden", hidden)
        super().__init__(shapes, lambda inputs: _dense([inputs, *hidden], activation), hidden[-1])


class MLPDecoder(_DenseDecoder):
    """Fully connected layers from the code (and the one-hot label) to numbers for each pixel.

    Args:
        shapes: Sizes of the model.
        channels: Numbers for each pixel of the image.
        hidden: Units of each hidden layer.
        activation: Class of the non-linearity behind each hidden layer, from `torch.nn`.
    """

    def __init__(
        self,
        shapes: Shapes,
        channels: int,
        hidden: Sequence[int] = (256,),
        activation: Activation = nn.ReLU,
    ) -> None:
        hidden = _positive("hidden", hidden)
        super().__init__(shapes, channels, lambda inputs: _dense([inputs, *hidden], activation), hidden[-1])


class _Gated(nn.Module):
    """h -> (A h + a) * sigmoid(B h + b), as one matrix product."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, 2 * fan_out)

    def forward(self, h: Tensor) -> Tensor:
        return nn.functional.glu(self.linear(h))


def _gated(sizes: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*[_Gated(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)])


class GatedMLPEncoder(_DenseEncoder):
    """Gated layers, h -> (A h + a) * sigmoid(B h + b): the 300-300 network of the published VampPrior figures.

    References:
        J. Tomczak and M. Welling, VAE with a VampPrior (2018), arXiv:1705.07120; Y. Dauphin et al., Language Modeling
        with Gated Convolutional Networks (2017), arXiv:1612.08083, for the layer.

    Args:
        shapes: Sizes of the model.
        hidden: Units of each hidden layer; the last one's are the features.
    """

    def __init__(self, shapes: Shapes, hidden: Sequence[int] = (300, 300)) -> None:
        hidden = _positive("hidden", hidden)
        super().__init__(shapes, lambda inputs: _gated([inputs, *hidden]), hidden[-1])


class GatedMLPDecoder(_DenseDecoder):
    """Gated layers from the code (and the one-hot label), then a linear one: see `GatedMLPEncoder`.

    Args:
        shapes: Sizes of the model.
        channels: Numbers for each pixel of the image.
        hidden: Units of each hidden layer.
    """

    def __init__(self, shapes: Shapes, channels: int, hidden: Sequence[int] = (300, 300)) -> None:
        hidden = _positive("hidden", hidden)
        super().__init__(shapes, channels, lambda inputs: _gated([inputs, *hidden]), hidden[-1])


class _Residual(nn.Module):
    """h -> h + A f(B f(h)), f the activation: the identity plus what two layers add to it."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.layers = nn.Sequential(activation(), nn.Linear(width, width), activation(), nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.layers(h)


def _residual(fan_in: int, width: int, blocks: int, activation: Activation) -> nn.Sequential:
    _positive("width", [width])
    _positive("blocks", [blocks])
    stack = [_Residual(width, activation) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(fan_in, width), *stack, activation())


class ResidualMLPEncoder(_DenseEncoder):
    """A linear layer and residual blocks, h -> h + A f(B f(h)): deep without being hard to train.

    References:
        K. He et al., Identity Mappings in Deep Residual Networks (2016), arXiv:1603.05027.

    Args:
        shapes: Sizes of the model.
        width: Units of every layer, and number of features.
        blocks: Number of residual blocks, of two layers each.
        activation: Class of the non-linearity in front of each layer, from `torch.nn`.
    """

    def __init__(self, shapes: Shapes, width: int = 256, blocks: int = 2, activation: Activation = nn.ReLU) -> None:
        super().__init__(shapes, lambda inputs: _residual(inputs, width, blocks, activation), width)


class ResidualMLPDecoder(_DenseDecoder):
    """A linear layer, residual blocks and a linear layer to numbers for each pixel: see `ResidualMLPEncoder`.

    Args:
        shapes: Sizes of the model.
        channels: Numbers for each pixel of the image.
        width: Units of every hidden layer.
        blocks: Number of residual blocks, of two layers each.
        activation: Class of the non-linearity in front of each layer, from `torch.nn`.
    """

    def __init__(
        self,
        shapes: Shapes,
        channels: int,
        width: int = 256,
        blocks: int = 2,
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__(shapes, channels, lambda inputs: _residual(inputs, width, blocks, activation), width)


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


def _label_planes(x: Tensor, y: Tensor | None, num_classes: int) -> Tensor:
    """Images with the one-hot label as constant planes behind their channels."""
    if not num_classes:
        return x
    planes = one_hot_labels(y, num_classes).to(x.dtype)[:, :, None, None]
    return torch.cat([x, planes.expand(-1, -1, *x.shape[-2:])], 1)


def _halved(image_shape: ImageShape, layers: int) -> list[tuple[int, int]]:
    """Height and width in front of and behind each of `layers` stride-2 convolutions (kernel 4, padding 1)."""
    _, height, width = image_shape
    if min(height, width) < 2**layers:
        raise ValueError(
            f"{layers} strided convolutions need images of at least {2**layers}x{2**layers} pixels, "
            f"got {height}x{width}: give fewer channels (one number for each layer) or use an MLP"
        )
    return [(height >> i, width >> i) for i in range(layers + 1)]


class ConvEncoder(Encoder):
    """Strided convolutions (kernel 4, stride 2), each halving the resolution, then flattened to features.

    Args:
        shapes: Sizes of the model; height and width must be at least 2 to the number of layers.
        channels: Output channels of each convolution.
        activation: Class of the non-linearity behind each layer, from `torch.nn`.

    Raises:
        ValueError: If the images are too small for the number of layers.
    """

    def __init__(
        self, shapes: Shapes, channels: Sequence[int] = (32, 64, 128), activation: Activation = nn.ReLU
    ) -> None:
        super().__init__()
        self.num_classes = shapes.num_classes
        channels = _positive("channels", channels)
        height, width = _halved(shapes.image_shape, len(channels))[-1]
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip([shapes.image_shape[0] + shapes.num_classes, *channels], channels, strict=False):
            layers += [nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1), activation()]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.out_features = channels[-1] * height * width

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, (B, C, H, W), to features, (B, out_features)."""
        return self.layers(_label_planes(x, y, self.num_classes))


class ConvDecoder(Decoder):
    """The mirror of `ConvEncoder`: a linear layer, then transposed convolutions, each doubling the resolution.

    Args:
        shapes: Sizes of the model; height and width must be at least 2 to the number of layers.
        channels: Numbers for each pixel of the image.
        hidden: Input channels of each transposed convolution.
        activation: Class of the non-linearity in front of each transposed convolution, from `torch.nn`.

    Raises:
        ValueError: If the images are too small for the number of layers.
    """

    def __init__(
        self,
        shapes: Shapes,
        channels: int,
        hidden: Sequence[int] = (128, 64, 32),
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        self.num_classes = shapes.num_classes
        hidden = _positive("hidden", hidden)
        sizes = _halved(shapes.image_shape, len(hidden))[::-1]
        layers: list[nn.Module] = [
            nn.Linear(shapes.latent_dim + shapes.num_classes, hidden[0] * prod(sizes[0])),
            nn.Unflatten(1, (hidden[0], *sizes[0])),
        ]
        for fan_in, fan_out, size in zip(hidden, [*hidden[1:], channels], sizes[1:], strict=True):
            odd = (size[0] % 2, size[1] % 2)
            layers += [
                activation(),
                nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, output_padding=odd),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes, (..., B, latent_dim), to (..., B, channels, H, W)."""
        inputs = _beside(z, y, self.num_classes)
        pixels = self.layers(inputs.reshape(-1, inputs.shape[-1]))
        return pixels.reshape(*z.shape[:-1], *pixels.shape[1:])


class FourLayerConvEncoder(Encoder):
    """Four 3x3 convolutions, the second with stride 2, flattened: 12,544 features of a 28x28 image.

    Args:
        shapes: Sizes of the model.
        channels: Output channels of the four convolutions.
        activation: Class of the non-linearity behind each layer, from `torch.nn`.

    Raises:
        ValueError: If there are not four channel numbers.

    References:
        F. Chollet, Deep Learning with Python (2017), section 8.4, for the layers.
    """

    def __init__(
        self, shapes: Shapes, channels: Sequence[int] = (32, 64, 64, 64), activation: Activation = nn.ReLU
    ) -> None:
        super().__init__()
        if len(channels) != 4:
            raise ValueError(f"channels must be four numbers, one for each convolution, got {list(channels)}")
        self.num_classes = shapes.num_classes
        channels = _positive("channels", channels)
        image_channels, height, width = shapes.image_shape
        layers: list[nn.Module] = []
        fan_in = image_channels + shapes.num_classes
        for fan_out, stride in zip(channels, (1, 2, 1, 1), strict=True):
            layers += [nn.Conv2d(fan_in, fan_out, 3, stride, padding=1), activation()]
            fan_in = fan_out
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.out_features = fan_in * ((height + 1) // 2) * ((width + 1) // 2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, (B, C, H, W), to features, (B, out_features)."""
        return self.layers(_label_planes(x, y, self.num_classes))


class FourLayerConvDecoder(Decoder):
    """A linear layer to half the resolution, one transposed convolution to the whole, one convolution to pixels.

    Args:
        shapes: Sizes of the model.
        channels: Numbers for each pixel of the image.
        hidden: Channels at half and at whole resolution.
        activation: Class of the non-linearity behind each hidden layer, from `torch.nn`.

    Raises:
        ValueError: If there are not two hidden channel numbers.

    References:
        F. Chollet, Deep Learning with Python (2017), section 8.4, for the layers.
    """

    def __init__(
        self,
        shapes: Shapes,
        channels: int,
        hidden: Sequence[int] = (64, 32),
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        if len(hidden) != 2:
            raise ValueError(f"hidden must be two numbers, one for each hidden layer, got {list(hidden)}")
        self.num_classes = shapes.num_classes
        coarse, fine = _positive("hidden", hidden)
        _, height, width = shapes.image_shape
        half = ((height + 1) // 2, (width + 1) // 2)
        even = (1 - height % 2, 1 - width % 2)
        self.layers = nn.Sequential(
            nn.Linear(shapes.latent_dim + shapes.num_classes, coarse * prod(half)),
            activation(),
            nn.Unflatten(1, (coarse, *half)),
            nn.ConvTranspose2d(coarse, fine, 3, stride=2, padding=1, output_padding=even),
            activation(),
            nn.Conv2d(fine, channels, 3, padding=1),
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes, (..., B, latent_dim), to (..., B, channels, H, W)."""
        inputs = _beside(z, y, self.num_classes)
        pixels = self.layers(inputs.reshape(-1, inputs.shape[-1]))
        return pixels.reshape(*z.shape[:-1], *pixels.shape[1:])
