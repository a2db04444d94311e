"""Checks that a model can be trained on a set of images, before anything is trained or written."""

from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.contracts import name_of
from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split, to_unit
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

FEW = 256
"""Number of images whose pixels are compared with the likelihood's support."""


def check_shapes(model: LatentVariableModel, data: ImageSet) -> None:
    """Refuse objects that are not image sets, and images or classes that do not match the model.

    Raises:
        ValueError: If they do not fit.
    """
    if not isinstance(data, ImageSet):
        raise ValueError(
            f"data must be an ImageSet, got {type(data).__name__}: make one of arrays with "
            f"pyrovae.ImageSet.from_arrays(images, labels), or load one with pyrovae.load_images(name)"
        )
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
    model.prior.check_classes(data.num_classes)


def check_support(model: LatentVariableModel, data: ImageSet, pixels: PixelPolicy) -> None:
    """Refuse pixels outside the likelihood's support.

    Raises:
        ValueError: If a pixel is outside of the likelihood's support.
    """
    index = data.splits["train"][:FEW]
    few = fixed_split(Split(data.images[index], data.labels[index]), pixels)
    with frozen(model) as device:
        z = torch.zeros(len(index), model.shapes.latent_dim, device=device)
        support = model.likelihood(z, few.labels.to(device)).support
        inside = support.check(to_unit(few.images).to(device))
    if not bool(inside.all()):
        raise ValueError(
            f"the likelihood {name_of(model.likelihood)} scores {model.likelihood.pixels or f'values in {support}'}, "
            f"which those of {data.name} with pixels={pixels} are not: {model.likelihood.cure}"
        )


def check_optimizer(
    model: LatentVariableModel,
    optimizer: Callable[[Iterable[torch.nn.Parameter]], Optimizer],
    scheduler: Callable[[Optimizer], LRScheduler] | None,
) -> None:
    """Refuse an optimiser or a schedule that cannot be built, by building both once.

    Raises:
        ValueError: If one of them refuses its arguments, or is something else.
    """
    try:
        made = optimizer(model.parameters())
        if isinstance(made, Optimizer) and scheduler is not None:
            scheduler(made)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(f"the optimizer or its scheduler cannot be made: {' '.join(str(error).split())}") from error
    if not isinstance(made, Optimizer):
        raise ValueError(f"optimizer must make an optimiser of torch.optim, got one that makes {type(made).__name__}")
