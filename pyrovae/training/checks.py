"""Checks that a model can be trained on a set of images, before anything is trained or written."""

import math
from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyrovae.checks import check_value
from pyrovae.contracts import name_of
from pyrovae.data import HIDDEN, ImageSet, PixelPolicy, Split, fixed_split, to_unit
from pyrovae.data.pixels import extreme_share, has_colour
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

FEW = 256
"""Images whose pixels are held against the likelihood's support, where images are alike or stored on a disk."""
ROWS = 1 << 14
"""Rows of values that are held against it at a time."""
TRIED_EPOCHS = 5000
"""Epochs, at most, for which a schedule is moved before a training."""


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
    check_value("model", model, LatentVariableModel)
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
    _check_labels(model, data)
    if data.has_missing and not model.likelihood.takes_missing:
        raise ValueError(
            f"{data.name} has values that are missing, and the model was not built for them: give missing='mask' or "
            f"'zeros' (--model.missing mask), and the likelihood scores what is seen"
        )


def _check_labels(model: LatentVariableModel, data: ImageSet) -> None:
    """Refuse hidden labels for a model that needs them all, and classes of which none is known for one that does not.

    Raises:
        ValueError: If labels are lacking.
    """
    labels = data.labels[data.splits["train"]]
    hidden = int((data.labels == HIDDEN).sum())
    if hidden and not model.infers_labels:
        raise ValueError(
            f"the labels of {hidden:,} images of {data.name} ({int((labels == HIDDEN).sum()):,} of them training "
            f"images) are missing or hidden, and {type(model).__name__} sums over no classes: choose --model "
            f"SemiSupervisedVAE, or leave those rows (or --data_labels) out"
        )
    known = labels[labels != HIDDEN].bincount(minlength=data.num_classes)
    if model.shapes.num_classes and not bool(known.all()):
        empty = data.class_names[int(known.argmin())]
        raise ValueError(
            f"each class of {data.name} must have a labelled training image, and {empty!r} has none: label one, or "
            f"leave the class out"
        )


def check_support(model: LatentVariableModel, data: ImageSet, pixels: PixelPolicy, *, chosen: bool = True) -> None:
    """Refuse pixels or values that the likelihood gives no probability.

    Args:
        model: The model.
        data: The images.
        pixels: How they become pixels.
        chosen: Whether the user has said so; otherwise it follows from the images.

    Raises:
        ValueError: If a pixel is outside of the likelihood's support.
    """
    index = data.splits["train"][:FEW]
    few = fixed_split(Split(data.images[index], data.labels[index]), pixels)
    with frozen(model) as device:
        z = torch.zeros(1, model.shapes.latent_dim, device=device)
        support = model.likelihood(z, few.labels[:1].clamp(min=0).to(device)).support
        # Grey images are alike; a single row of a table may hold what no other does.
        every = few.images if data.scaling is None or data.stored is not None else data.images
        inside = torch.cat([support.check(to_unit(some).to(device)).cpu() for some in every.split(ROWS)])
    if bool(inside.all()):
        if data.scaling is not None and data.scaling.policy == "none" and not support.is_discrete:
            _check_no_counts(model, data)
        return
    scored = f"the likelihood {name_of(model.likelihood)} scores {model.likelihood.pixels or f'values in {support}'}"
    if data.scaling is not None:
        wrong = (~inside.reshape(len(every), -1).all(1)).nonzero().flatten() if every is data.images else index[:0]
        cure = _cure_for_rows(data, wrong)
        raise ValueError(f"{scored}, which those of {data.name} with scaling={data.scaling.policy} are not{cure}")
    if chosen:
        raise ValueError(f"{scored}, which those of {data.name} with pixels={pixels} are not: {model.likelihood.cure}")
    raise ValueError(
        f"{data.name} holds photographs ({_seen(few.images)}), and {scored}: train on their grey values, "
        f"--pixels none --model.likelihood DiscretizedLogistic, or say how they shall become black or white, "
        f"--pixels threshold"
    )


def unused_greys(model: LatentVariableModel, pixels: PixelPolicy) -> str | None:
    """What to say where grey images become black and white by themselves, and the likelihood is one of grey values."""
    if pixels == "none":
        return None
    shapes = model.shapes
    with frozen(model) as device:
        z = torch.zeros(1, shapes.latent_dim, device=device)
        y = torch.zeros(1, dtype=torch.int64, device=device) if shapes.num_classes else None
        grey = torch.full((1, *shapes.image_shape), 51 / 255, device=device)
        if not bool(model.likelihood(z, y).support.check(grey).all()):
            return None
    return (
        f"pixels are drawn black or white (pixels {pixels}, chosen from the images), and the likelihood "
        f"{name_of(model.likelihood)} scores grey values too: --pixels none trains on these"
    )


def _seen(images: torch.Tensor) -> str:
    """What makes images photographs and not drawings."""
    if has_colour(images):
        return "their channels differ"
    return f"{100 * (1 - extreme_share(images)):.0f} % of their pixels are neither nearly black nor nearly white"


def _check_no_counts(model: LatentVariableModel, data: ImageSet) -> None:
    """Refuse a density of real numbers for whole ones: it grows without limit where a number is hit again and again."""
    kind = _kind_of_values(data)
    if kind in _WHOLE:
        raise ValueError(
            f"the likelihood {name_of(model.likelihood)} is a density of real numbers, and {data.name} holds "
            f"{_WHOLE[kind]}: {_cure_for_values(data)}; or, to treat them as real numbers, --data_scaling standard"
        )


_WHOLE = {"binary": "zeros and ones", "counts": "counts (whole numbers from 0 on)"}
_CURES = {
    "binary": "for zeros and ones choose --model.likelihood Bernoulli{unscaled}",
    "counts": "for counts choose --model.likelihood NegativeBinomial --model.likelihood.levels 1{unscaled}",
    "unit": "for values in [0, 1] choose --model.likelihood ContinuousBernoulli{unscaled}",
    "real": "for values choose --model.likelihood Normal --model.likelihood.noise per_pixel",
}
"""Likelihoods for values, by what the values are before they are scaled."""


def _kind_of_values(data: ImageSet) -> str:
    """What the training rows hold in the units of the data: binary, counts, unit (between 0 and 1) or real.

    Of stored values the first rows are asked.
    """
    index = data.splits["train"][: FEW if data.stored is not None else None]
    kinds = {"binary", "counts", "unit"}
    for rows in index.split(ROWS):
        x = data.images[rows]
        values = x.double() if data.scaling is None else data.scaling.undo(x)
        values = values[~values.isnan()]
        whole = (values - values.round()).abs() <= 1e-5 * values.abs().clamp(min=1)  # scaled values were rounded
        counts = bool((whole & (values.round() >= 0)).all())
        kinds -= set() if counts else {"binary", "counts"}
        kinds -= set() if bool((values.round() <= 1).all()) else {"binary"}
        kinds -= set() if bool(((values > -1e-6) & (values < 1 + 1e-6)).all()) else {"unit"}
    return next((kind for kind in ("binary", "counts", "unit") if kind in kinds), "real")


def _cure_for_rows(data: ImageSet, wrong: torch.Tensor) -> str:
    """What helps against values outside of a likelihood's support, by the numbers of the rows that hold them."""
    if not len(wrong):
        return f": {_cure_for_values(data)}"
    if bool(torch.isin(wrong, data.splits["train"]).any()):
        return f" (row {int(wrong[0]) + 1}): {_cure_for_values(data)}"
    outside = ", outside of the range of the training rows" if data.scaling and data.scaling.policy == "unit" else ""
    return (
        f" in {len(wrong):,} rows, none of them a training row (row {int(wrong[0]) + 1}{outside}): correct them, leave "
        f"them out, or {_CURES['real'].removeprefix('for values ')}"
    )


def _cure_for_values(data: ImageSet) -> str:
    """The likelihood for values, and the scaling if that must be another, as the end of a message."""
    kind = _kind_of_values(data)
    if kind == "real" and data.scaling is not None and data.scaling.policy == "unit":
        return _CURES["unit"].format(unscaled="") + ", or " + _CURES["real"].removeprefix("for values choose ")
    scaled = data.scaling is not None and data.scaling.policy != "none"
    return _CURES[kind].format(unscaled=" --data_scaling none" if scaled else "")


def check_optimizer(
    model: LatentVariableModel,
    optimizer: Callable[[Iterable[torch.nn.Parameter]], Optimizer],
    scheduler: Callable[[Optimizer], LRScheduler] | None,
    epochs: int = 1,
) -> None:
    """Refuse an optimiser or a schedule that cannot do its work, by having both do it once without the model.

    Args:
        model: The model.
        optimizer: Makes the optimiser.
        scheduler: Makes its schedule.
        epochs: After how many epochs the schedule is moved; some thousands are tried.

    Raises:
        ValueError: If one of them refuses its arguments or a step, or is something else.
    """
    try:
        made = optimizer(model.parameters())
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"the optimizer or its scheduler cannot be made: {_line(error)}") from error
    if not isinstance(made, Optimizer):
        raise ValueError(f"optimizer must make an optimiser of torch.optim, got one that makes {type(made).__name__}")
    name = type(made).__name__
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros_like(weight)
    try:
        tried = optimizer([weight])
        tried.step()
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(
            f"{name} cannot take a step of stochastic variational inference, which has dense gradients and evaluates "
            f"the loss once ({_line(error)}): choose another --optimizer, such as Adam"
        ) from error
    if scheduler is not None:
        _check_scheduler(tried, scheduler, epochs)


def _check_scheduler(optimizer: Optimizer, scheduler: Callable[[Optimizer], LRScheduler], epochs: int) -> None:
    """Refuse a schedule that cannot be made, that fails after some epochs, or whose rate is no number."""
    try:
        made = scheduler(optimizer)
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"the optimizer or its scheduler cannot be made: {_line(error)}") from error
    name = type(made).__name__
    if not isinstance(made, LRScheduler):
        raise ValueError(f"scheduler must make a schedule of torch.optim.lr_scheduler, got one that makes {name}")
    optimizer.step()  # of which schedules make sure
    for epoch in range(1, min(epochs, TRIED_EPOCHS) + 1):
        try:
            made.step(1.0) if isinstance(made, ReduceLROnPlateau) else made.step()
        except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
            raise ValueError(
                f"the scheduler {name} fails after epoch {epoch} of {epochs}: {_line(error)}; give it other arguments "
                f"(--scheduler.help {name} lists them)"
            ) from error
        rate = optimizer.param_groups[0]["lr"]
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(
                f"the scheduler {name} sets the learning rate to {float(rate):g} after epoch {epoch} of {epochs}: give "
                f"it other arguments (--scheduler.help {name} lists them)"
            )


def _line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
