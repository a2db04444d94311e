"""Whether a model can be trained on a set of images, found before anything is trained or written."""

import torch

from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split, to_unit
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import device_of

FEW = 256
"""Images whose pixels are held against the likelihood's support."""


def check_shapes(model: LatentVariableModel, data: ImageSet) -> None:
    """Refuse images or classes of another number than the model was built for.

    Raises:
        ValueError: If they do not fit.
    """
    shapes = model.shapes
    if data.image_shape != shapes.image_shape:
        raise ValueError(
            f"the model takes images of {shapes.image_shape} (channels, height, width), "
            f"{data.name} has {data.image_shape}"
        )
    if shapes.num_classes and data.num_classes != shapes.num_classes:
        raise ValueError(
            f"the model knows {shapes.num_classes} classes, {data.name} has {data.num_classes}: "
            f"build it with num_classes={data.num_classes}"
        )


def check_support(model: LatentVariableModel, data: ImageSet, pixels: PixelPolicy) -> None:
    """Refuse pixels that the likelihood gives no probability.

    Raises:
        ValueError: If a pixel is outside of the likelihood's support.
    """
    index = data.splits["train"][:FEW]
    few = fixed_split(Split(data.images[index], data.labels[index]), pixels)
    device = device_of(model)
    with torch.no_grad():
        z = torch.zeros(len(index), model.shapes.latent_dim, device=device)
        support = model.likelihood(z, few.labels.to(device)).support
        inside = support.check(to_unit(few.images).to(device))
    if not bool(inside.all()):
        needs = getattr(model.likelihood, "pixels", f"values in {support}")
        cure = getattr(model.likelihood, "cure", "choose another --pixels or another --model.likelihood")
        raise ValueError(
            f"the likelihood {type(model.likelihood).__name__} scores {needs}, which those of {data.name} with "
            f"pixels={pixels} are not: {cure}"
        )
