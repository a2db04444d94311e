"""The prior that adds nothing to the loss, and what conditional priors share."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.contracts import Prior
from pyrovae.shapes import Shapes


class Unscored(Prior):
    """A prior to draw codes from that adds nothing to the loss: its log-density counts as zero.

    This is what an autoencoder has: no prior term, and N(0, I) where somebody wants samples all the same.

    Args:
        prior: The prior that codes are drawn from.
    """

    scored = False

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The wrapped prior with its log-density masked."""
        return self.prior(y).mask(False)


def by_label(shapes: Shapes, name: str) -> int:
    """Number of classes of a prior that has something for each of them.

    Raises:
        ValueError: If the model does not look at labels.
    """
    if not shapes.num_classes:
        raise ValueError(f"{name} with one distribution per class needs a model that looks at labels: use a CVAE")
    return shapes.num_classes
