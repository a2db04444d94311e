"""The sizes that every part of a model is built from."""

from dataclasses import dataclass

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class Shapes:
    """What a part needs to know about the model that it is built for.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        latent_dim: Number of dimensions of the latent code z.
        num_classes: Number of classes of the label y; 0 for a model that does not look at labels.

    Raises:
        ValueError: If a size is not a whole number in its range.
    """

    image_shape: ImageShape
    latent_dim: int
    num_classes: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        if len(self.image_shape) != 3 or any(not isinstance(n, int) or n < 1 for n in self.image_shape):
            raise ValueError(
                f"image_shape must be three positive whole numbers (channels, height, width), "
                f"got {self.image_shape}; for MNIST it is (1, 28, 28)"
            )
        if not isinstance(self.latent_dim, int) or self.latent_dim < 1:
            raise ValueError(
                f"latent_dim must be a whole number of at least 1, got {self.latent_dim}; "
                f"2 can be drawn as a plane, 10 to 50 reconstruct better"
            )
        if not isinstance(self.num_classes, int) or self.num_classes < 0:
            raise ValueError(f"num_classes must be a whole number of at least 0, got {self.num_classes}")
