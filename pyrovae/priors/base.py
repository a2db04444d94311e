"""The prior without a loss term, and helpers of conditional priors."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.contracts import Prior
from pyrovae.shapes import Shapes


class Unscored(Prior):
    """A prior that adds nothing to the loss: its log-density is masked.

    An autoencoder has no prior term; its samples are decoded from N(0, I) all the same.

    Args:
        prior: The prior for samples.
    """

    scored = False

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The wrapped prior with its log-density masked."""
        return self.prior(y).mask(False)


def by_label(shapes: Shapes, name: str) -> int:
    """Number of classes of a prior with one distribution per class.

    Raises:
        ValueError: If the model has no labels.
    """
    if not shapes.num_classes:
        raise ValueError(f"{name} with one distribution per class needs a model that looks at labels: use a CVAE")
    return shapes.num_classes
