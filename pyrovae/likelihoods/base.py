"""What a likelihood is built with."""

from collections.abc import Callable

from torch import nn

DecoderFactory = Callable[[int], nn.Module]
"""From a number of channels to a decoder with that many outputs for each pixel."""
