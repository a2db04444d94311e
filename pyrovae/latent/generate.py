"""Images from a model: samples from the prior, samples of given classes, and reconstructions."""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.checks import Count, Seed, checked
from pyrovae.data.images import Split
from pyrovae.data.pixels import to_unit
from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen


@dataclass(frozen=True)
class PriorSamples:
    """Images decoded from draws from the prior.

    Attributes:
        images: Mean of p(x | z) at each draw, (rows, columns, C, H, W).
        labels: Class of each row, (rows,), or None for a model without labels.
    """

    images: np.ndarray
    labels: np.ndarray | None


@checked
def sample_prior(model: LatentVariableModel, rows: Count = 10, columns: Count = 10, *, seed: Seed = 0) -> PriorSamples:
    """Draw rows x columns codes from the model's own prior and decode them.

    A conditional model needs classes: see `sample_per_class`.

    Raises:
        ValueError: If rows or columns are below 1, or the model is conditional.
    """
    check_labels(model, None)
    images = _draw(model, rows * columns, None, seed)
    return PriorSamples(images.unflatten(0, (rows, columns)).numpy(), None)


@checked
def sample_per_class(
    model: LatentVariableModel, columns: Count = 10, *, classes: Tensor | None = None, seed: Seed = 0
) -> PriorSamples:
    """Draw `columns` codes from the prior of each class and decode them with its label: one row per class.

    Args:
        model: A conditional model.
        columns: Draws for each class.
        classes: Labels, (rows,); by default every class once.
        seed: Seed of the draws.

    Raises:
        ValueError: If the model is not conditional, a class does not exist, or rows or columns are below 1.
    """
    if not model.shapes.num_classes:
        raise ValueError("this model does not look at labels, so it cannot draw a chosen class: use a CVAE")
    classes = torch.arange(model.shapes.num_classes) if classes is None else classes
    _check_grid(len(classes), columns)
    check_labels(model, classes)
    _check_images(model, len(classes) * columns)
    images = _draw(model, len(classes) * columns, classes.repeat_interleave(columns), seed)
    return PriorSamples(images.unflatten(0, (len(classes), columns)).numpy(), classes.numpy())


def check_labels(model: LatentVariableModel, y: Tensor | None) -> None:
    """Refuse classes that a conditional model does not know.

    Raises:
        ValueError: If labels are missing or out of range.
    """
    classes = model.shapes.num_classes
    if not classes:
        return
    if y is None:
        raise ValueError(f"this model is conditional on a label: choose one from 0 to {classes - 1} (--label 0)")
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise ValueError(f"labels of this model are 0 to {classes - 1}, got {int(wrong[0])}")


def _check_grid(rows: int, columns: int) -> None:
    if min(rows, columns) < 1:
        raise ValueError(f"a grid of images needs at least one row and one column, got {rows} and {columns}")


@checked
def decode(model: LatentVariableModel, z: Tensor, y: Tensor | None = None) -> Tensor:
    """Mean of p(x | z, y), on the CPU. The model is not changed.

    Args:
        model: The model.
        z: Codes, (N, latent_dim).
        y: Labels, (N,), for a conditional model.

    Returns:
        Images, (N, C, H, W).

    Raises:
        ValueError: If a conditional model gets no labels or unknown ones.
    """
    check_labels(model, y)
    _check_images(model, len(z))
    with frozen(model) as device:
        return model.likelihood(z.to(device), None if y is None else y.to(device)).mean.cpu()


def _check_images(model: LatentVariableModel, count: int) -> None:
    """Refuse more images than there is memory for."""
    size = 4 * 4 * count * prod(model.shapes.image_shape)
    check_memory({f"{count:,} images of {model.shapes.image_shape}": size}, "ask for fewer rows or columns")


def _draw(model: LatentVariableModel, n: int, y: Tensor | None, seed: int) -> Tensor:
    _check_images(model, n)
    with frozen(model, seed) as device:
        y = None if y is None else y.to(device)
        # By the model program, so that all codes of a hierarchical model are drawn.
        blank = torch.zeros(n, *model.shapes.image_shape, device=device)
        return poutine.trace(model.model).get_trace(blank, y).nodes["x"]["fn"].mean.cpu()


@dataclass(frozen=True)
class Reconstructions:
    """Images and their reconstructions.

    Attributes:
        inputs: The images, (images, C, H, W).
        outputs: Mean of p(x | z) at the posterior mean of each, (images, C, H, W).
        labels: Class of each image, (images,).
    """

    inputs: np.ndarray
    outputs: np.ndarray
    labels: np.ndarray


@checked
def reconstruct(model: LatentVariableModel, split: Split) -> Reconstructions:
    """Encode images and decode their posterior means.

    Args:
        model: The model.
        split: Images, uint8 (N, C, H, W), and labels, (N,). For a model of binary pixels, binarise it first with
            `fixed_split`.
    """
    with frozen(model) as device:
        x, y = to_unit(split.images.to(device)), split.labels.to(device)
        outputs = model.likelihood(model.posterior(x, y).mean, y).mean
        return Reconstructions(x.cpu().numpy(), outputs.cpu().numpy(), split.labels.numpy())
