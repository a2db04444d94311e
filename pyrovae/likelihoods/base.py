"""What a likelihood is."""

from collections.abc import Callable
from typing import ClassVar

from torch import nn

DecoderFactory = Callable[[int], nn.Module]


class Likelihood(nn.Module):
    """Base of the built-in likelihoods: a module that maps codes and labels to p(x | z, y).

    Attributes:
        score: What the reconstruction term is called in tables and on axes: "NLL" where it is the negative
            logarithm of a probability of the data, another name where it is not.
        pixels: What the likelihood scores, in words, for messages about data that it cannot.
        cure: What to do about such data, in words.
    """

    score: ClassVar[str] = "NLL"
    pixels: ClassVar[str]
    cure: ClassVar[str] = "choose another likelihood (--model.likelihood) or another policy for pixels (--pixels)"
