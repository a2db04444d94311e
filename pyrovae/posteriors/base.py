"""Posteriors whose parameters come from an encoder."""

from torch import Tensor, nn

from pyrovae.contracts import Posterior


class _Headed(Posterior):
    """Base class: the parameters are a linear layer of the encoder's features.

    Args:
        encoder: Module from images and labels to features, (B, encoder.out_features).
        outputs: Number of parameters of the family per image.
    """

    def __init__(self, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(out_features(encoder), outputs)

    def outputs(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The parameters of each image, (B, outputs)."""
        return self.head(self.encoder(x, y))


def out_features(encoder: nn.Module) -> int:
    """The number of features that an encoder returns; ValueError where it does not say."""
    features = getattr(encoder, "out_features", None)
    if not isinstance(features, int):
        raise ValueError(
            f"an encoder must say how many features it returns in its attribute out_features (a whole number); "
            f"{type(encoder).__name__} has {features!r}"
        )
    return features
