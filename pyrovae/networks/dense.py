"""Networks of fully connected layers: plain, gated, residual."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn
from torch.nn.functional import linear

from pyrovae.networks.base import (
    Activation,
    Decoder,
    Encoder,
    _beside,
    _checked,
    _positive,
    checked_code,
    checked_labels,
    rows_of_labels,
)
from pyrovae.shapes import Shapes


def _dense(sizes: Sequence[int], activation: Activation) -> nn.Sequential:
    """Linear layers of the given sizes, each followed by an activation."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers)


def dense(inputs: int, hidden: Sequence[int], outputs: int, activation: Activation = nn.Tanh) -> nn.Sequential:
    """Layers between two vectors: hidden ones, none of them if there are no units, and a linear one.

    Raises:
        ValueError: If a number of units is not positive.
    """
    sizes = [inputs, *(_positive("hidden", hidden) if hidden else ())]
    return nn.Sequential(*_dense(sizes, activation), nn.Linear(sizes[-1], outputs))


class _DenseEncoder(Encoder):
    """Layers over the flattened pixels (and the one-hot label), (B, D), to features."""

    def __init__(self, shapes: Shapes, layers: Callable[[int], nn.Module], out_features: int) -> None:
        super().__init__()
        self.image_shape, self.num_classes = shapes.image_shape, shapes.num_classes
        self.layers = layers(prod(shapes.image_shape) + shapes.num_classes)
        self.out_features = out_features

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, (B, C, H, W), to features, (B, out_features), or (..., B, out_features) for labels (..., B)."""
        pixels = _checked(x, self.image_shape, self).flatten(-3)
        if self.num_classes and isinstance(y, Tensor) and y.ndim >= pixels.ndim:
            return self._of_every_label(pixels, y)
        return self.layers(_beside(pixels, y, self.num_classes))

    def _of_every_label(self, pixels: Tensor, y: Tensor) -> Tensor:
        """Features of images that have several labels each: the first layer's products with pixels are made once."""
        layers, count = self.layers, pixels.shape[-1]
        if not (isinstance(layers, nn.Sequential) and isinstance(layers[0], nn.Linear)):
            return layers(_beside(pixels, y, self.num_classes))
        weight, bias = layers[0].weight, layers[0].bias
        labels = rows_of_labels(weight[:, count:].T, checked_labels(y, self.num_classes))
        return layers[1:](linear(pixels, weight[:, :count], bias) + labels)


class _DenseDecoder(Decoder):
    """Layers over the code (and the one-hot label), then a linear one to numbers for each pixel."""

    def __init__(self, shapes: Shapes, channels: int, layers: Callable[[int], nn.Module], features: int) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = shapes.latent_dim, shapes.num_classes
        self.out_shape = (channels, *shapes.image_shape[1:])
        self.layers = layers(shapes.latent_dim + shapes.num_classes)
        self.head = nn.Linear(features, prod(self.out_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes, (..., B, latent_dim), to (..., B, channels, H, W)."""
        inputs = _beside(checked_code(z, self.latent_dim, self), y, self.num_classes)
        return self.head(self.layers(inputs)).unflatten(-1, self.out_shape)


class MLPEncoder(_DenseEncoder):
    """Fully connected layers from the flattened pixels (and the one-hot label) to features.

    Args:
        shapes: Sizes of the model.
        hidden: Units of each hidden layer; the last one gives the features.
        activation: Class of the activation after each layer, from `torch.nn`.
    """

    def __init__(self, shapes: Shapes, hidden: Sequence[int] = (256,), activation: Activation = nn.ReLU) -> None:
        hidden = _positive("hidden", hidden)
        super().__init__(shapes, lambda inputs: _dense([inputs, *hidden], activation), hidden[-1])


class MLPDecoder(_DenseDecoder):
    """Fully connected layers from the code (and the one-hot label) to numbers for each pixel.

    Args:
        shapes: Sizes of the model.
        channels: Parameters per pixel.
        hidden: Units of each hidden layer.
        activation: Class of the activation after each hidden layer, from `torch.nn`.
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
        hidden: Units of each hidden layer; the last one gives the features.
    """

    def __init__(self, shapes: Shapes, hidden: Sequence[int] = (300, 300)) -> None:
        hidden = _positive("hidden", hidden)
        super().__init__(shapes, lambda inputs: _gated([inputs, *hidden]), hidden[-1])


class GatedMLPDecoder(_DenseDecoder):
    """Gated layers from the code (and the one-hot label), then a linear one: see `GatedMLPEncoder`.

    Args:
        shapes: Sizes of the model.
        channels: Parameters per pixel.
        hidden: Units of each hidden layer.
    """

    def __init__(self, shapes: Shapes, channels: int, hidden: Sequence[int] = (300, 300)) -> None:
        hidden = _positive("hidden", hidden)
        super().__init__(shapes, channels, lambda inputs: _gated([inputs, *hidden]), hidden[-1])


class _Residual(nn.Module):
    """h -> h + A f(B f(h)) with the activation f."""

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
    """A linear layer and residual blocks, h -> h + A f(B f(h)), which train well at larger depth.

    References:
        K. He et al., Identity Mappings in Deep Residual Networks (2016), arXiv:1603.05027.

    Args:
        shapes: Sizes of the model.
        width: Units of every layer, and number of features.
        blocks: Number of residual blocks, of two layers each.
        activation: Class of the activation before each layer, from `torch.nn`.
    """

    def __init__(self, shapes: Shapes, width: int = 256, blocks: int = 2, activation: Activation = nn.ReLU) -> None:
        super().__init__(shapes, lambda inputs: _residual(inputs, width, blocks, activation), width)


class ResidualMLPDecoder(_DenseDecoder):
    """A linear layer, residual blocks and a linear layer to numbers for each pixel: see `ResidualMLPEncoder`.

    Args:
        shapes: Sizes of the model.
        channels: Parameters per pixel.
        width: Units of every hidden layer.
        blocks: Number of residual blocks, of two layers each.
        activation: Class of the activation before each layer, from `torch.nn`.
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
