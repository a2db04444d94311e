"""Networks of convolutions."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from pyrovae.networks.base import (
    Activation,
    Decoder,
    Encoder,
    _beside,
    _checked,
    _positive,
    check_one_each,
    checked_code,
    one_hot_labels,
)
from pyrovae.shapes import ImageShape, Shapes


def _label_planes(x: Tensor, y: Tensor | None, num_classes: int) -> Tensor:
    """Images with the one-hot label appended as constant channels."""
    if not num_classes:
        return x
    labels = one_hot_labels(y, num_classes).to(x.dtype)
    check_one_each(labels, x.shape[-4])
    shape = torch.broadcast_shapes(x.shape[:-3], labels.shape[:-1])
    planes = labels[..., None, None].expand(*shape, num_classes, *x.shape[-2:])
    return torch.cat([x.expand(*shape, -1, -1, -1), planes], -3)


def _halved(image_shape: ImageShape, layers: int) -> list[tuple[int, int]]:
    """Height and width before and after each of `layers` stride-2 convolutions (kernel 4, padding 1)."""
    _, height, width = image_shape
    if min(height, width) < 2**layers:
        raise ValueError(
            f"{layers} strided convolutions need images of at least {2**layers}x{2**layers} pixels, "
            f"got {height}x{width}: give fewer channels (one number for each layer) or use an MLP"
        )
    return [(height >> i, width >> i) for i in range(layers + 1)]


class _ConvEncoder(Encoder):
    """Layers over the pixels (and the label as planes), (B, channels, H, W), flattened to features."""

    def __init__(self, shapes: Shapes, layers: Sequence[nn.Module], out_features: int) -> None:
        super().__init__()
        self.image_shape, self.num_classes = shapes.image_shape, shapes.num_classes
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.out_features = out_features

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, (B, C, H, W), to features, (B, out_features), or (..., B, out_features) for labels (..., B)."""
        inputs = _label_planes(_checked(x, self.image_shape, self), y, self.num_classes)
        return self.layers(inputs.flatten(0, -4)).unflatten(0, inputs.shape[:-3])


class _ConvDecoder(Decoder):
    """Layers over the code (and the one-hot label) that make the pixels of one image each."""

    def __init__(self, shapes: Shapes, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = shapes.latent_dim, shapes.num_classes
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes, (..., B, latent_dim), to (..., B, channels, H, W)."""
        inputs = _beside(checked_code(z, self.latent_dim, self), y, self.num_classes)
        pixels = self.layers(inputs.reshape(-1, inputs.shape[-1]))
        return pixels.reshape(*inputs.shape[:-1], *pixels.shape[1:])


class ConvEncoder(_ConvEncoder):
    """Strided convolutions (kernel 4, stride 2), each halving the resolution, then flattened to features.

    Args:
        shapes: Sizes of the model; height and width must be at least 2 to the number of layers.
        channels: Output channels of each convolution.
        activation: Class of the activation after each layer, from `torch.nn`.

    Raises:
        ValueError: If the images are too small for the number of layers.
    """

    def __init__(
        self, shapes: Shapes, channels: Sequence[int] = (32, 64, 128), activation: Activation = nn.ReLU
    ) -> None:
        channels = _positive("channels", channels)
        height, width = _halved(shapes.image_shape, len(channels))[-1]
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip([shapes.image_shape[0] + shapes.num_classes, *channels], channels, strict=False):
            layers += [nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1), activation()]
        super().__init__(shapes, layers, channels[-1] * height * width)


class ConvDecoder(_ConvDecoder):
    """The mirror of `ConvEncoder`: a linear layer, then transposed convolutions, each doubling the resolution.

    Args:
        shapes: Sizes of the model; height and width must be at least 2 to the number of layers.
        channels: Parameters per pixel.
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
        super().__init__(shapes, layers)


class FourLayerConvEncoder(_ConvEncoder):
    """Four 3x3 convolutions, the second with stride 2, flattened: 12,544 features of a 28x28 image.

    Args:
        shapes: Sizes of the model.
        channels: Output channels of the four convolutions.
        activation: Class of the activation after each layer, from `torch.nn`.

    Raises:
        ValueError: If there are not four channel numbers.

    References:
        F. Chollet, Deep Learning with Python (2017), section 8.4, for the layers.
    """

    def __init__(
        self, shapes: Shapes, channels: Sequence[int] = (32, 64, 64, 64), activation: Activation = nn.ReLU
    ) -> None:
        channels = _positive("channels", channels)
        if len(channels) != 4:
            raise ValueError(f"channels must be four numbers, one for each convolution, got {list(channels)}")
        image_channels, height, width = shapes.image_shape
        layers: list[nn.Module] = []
        fan_in = image_channels + shapes.num_classes
        for fan_out, stride in zip(channels, (1, 2, 1, 1), strict=True):
            layers += [nn.Conv2d(fan_in, fan_out, 3, stride, padding=1), activation()]
            fan_in = fan_out
        super().__init__(shapes, layers, fan_in * ((height + 1) // 2) * ((width + 1) // 2))


class FourLayerConvDecoder(_ConvDecoder):
    """A linear layer to half the resolution, one transposed convolution to the whole, one convolution to pixels.

    Args:
        shapes: Sizes of the model.
        channels: Parameters per pixel.
        hidden: Channels at half and at whole resolution.
        activation: Class of the activation after each hidden layer, from `torch.nn`.

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
        hidden = _positive("hidden", hidden)
        if len(hidden) != 2:
            raise ValueError(f"hidden must be two numbers, one for each hidden layer, got {list(hidden)}")
        coarse, fine = hidden
        _, height, width = shapes.image_shape
        half = ((height + 1) // 2, (width + 1) // 2)
        even = (1 - height % 2, 1 - width % 2)
        layers = [
            nn.Linear(shapes.latent_dim + shapes.num_classes, coarse * prod(half)),
            activation(),
            nn.Unflatten(1, (coarse, *half)),
            nn.ConvTranspose2d(coarse, fine, 3, stride=2, padding=1, output_padding=even),
            activation(),
            nn.Conv2d(fine, channels, 3, padding=1),
        ]
        super().__init__(shapes, layers)
