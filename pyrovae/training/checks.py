"""Whether a model can be trained on a set of images, found before anything is trained or written."""

from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.contracts import name_of
from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split, to_unit
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

FEW = 256
"""Images whose pixels are held against the likelihood's support."""


def check_shapes(model: LatentVariableModel, data: ImageSet) -> None:
    """Refuse what is no set of images, and images or classes of another number than the model was built for.

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
    if data.has_missing and not model.likelihood.takes_missing:
        raise ValueError(
            f"{data.name} has values that are missing, and the model was not built for them: give missing='mask' or "
            f"'zeros' (--model.missing mask), and the likelihood scores what is seen"
        )


def check_support(model: LatentVariableModel, data: ImageSet, pixels: PixelPolicy) -> None:
    """Refuse pixels or values that the likelihood gives no probability.

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
        policy, cure = f"pixels={pixels}", model.likelihood.cure
        if data.scaling is not None:
            policy, cure = f"scaling={data.scaling.policy}", _cure_for_values(data)
        raise ValueError(
            f"the likelihood {name_of(model.likelihood)} scores {model.likelihood.pixels or f'values in {support}'}, "
            f"which those of {data.name} with {policy} are not: {cure}"
        )


def _cure_for_values(data: ImageSet) -> str:
    """The likelihood for values, by looking at them, as the end of a message."""
    x = data.images[data.splits["train"][:FEW]]
    x = x[~x.isnan()]
    if bool(((x >= 0) & (x == x.round())).all()):
        return "for counts choose --model.likelihood NegativeBinomial --model.likelihood.levels 1"
    return "for values choose --model.likelihood Normal --model.likelihood.noise per_pixel"


def check_optimizer(
    model: LatentVariableModel,
    optimizer: Callable[[Iterable[torch.nn.Parameter]], Optimizer],
    scheduler: Callable[[Optimizer], LRScheduler] | None,
) -> None:
    """Refuse an optimiser or a schedule that cannot be made, by making both once.

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
