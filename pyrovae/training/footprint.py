"""What a training needs at once, estimated from sizes alone: weights, gradients, optimiser, activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from math import prod

import pyro
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyrovae.memory import check_memory
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

EVALUATED = 1000
"""Images that are evaluated together."""
OF_AN_IMAGE = 6
"""Tensors of an image's size that are alive at once: its pixels, the likelihood's parameters and their gradients."""


def check_weights(model: LatentVariableModel) -> None:
    """Refuse a model whose weights alone do not fit; it may be one on torch's device "meta", which has sizes only.

    Raises:
        NotEnoughMemory: If they do not.
    """
    check_memory({_weights(model): _bytes(model)}, _CURE)


def check_footprint(
    model: LatentVariableModel,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    batch_size: int,
    images: int,
    *,
    codes: int = 1,
    pair: int = 0,
    device: torch.device | str = "cpu",
) -> None:
    """Refuse a training that needs more memory than is left.

    Args:
        model: The model; a sketch on torch's device "meta" will do.
        optimizer: Makes the optimiser.
        batch_size: Images in a step, at most.
        images: Images there are.
        codes: Codes of each image that are decoded in a step.
        pair: Numbers that are kept for each pair of images of a batch.
        device: Where the training will run.

    Raises:
        NotEnoughMemory: If it does.
    """
    there = all(weight.device == torch.device(device) for weight in model.parameters())
    learned = sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    shared, each, decoded = _activations(model)
    pixels = OF_AN_IMAGE * 4 * prod(model.shapes.image_shape)
    together = {min(batch_size, images): codes, min(EVALUATED, images): 1}
    sizes = {count: shared + count * (each + n * (decoded + pixels)) for count, n in together.items()}
    most = max(sizes, key=lambda count: sizes[count])
    parts = {
        _weights(model): 0 if there else _bytes(model),
        "gradients": learned,
        f"state of {_name(optimizer)}": int(_state_per_weight(optimizer) * learned),
        f"activations of {most:,} images": sizes[most],
        f"pairs of {min(batch_size, images):,} images": 4 * pair * min(batch_size, images) ** 2,
    }
    check_memory(parts, _CURE, device)


_CURE = (
    "choose a smaller model (--model.latent_dim, hidden units, components), smaller images or a smaller --batch_size"
)


def _weights(model: nn.Module) -> str:
    return f"{sum(weight.numel() for weight in model.parameters()):,} weights"


def _name(optimizer: object) -> str:
    return getattr(optimizer, "__name__", "the optimiser").replace("<lambda>", "the optimiser")


def _bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _state_per_weight(optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]) -> float:
    """Numbers that an optimiser keeps for each weight, found by one step of it; 2 if that cannot be seen."""
    weight = nn.Parameter(torch.zeros(8, 8))
    weight.grad = torch.zeros_like(weight)
    try:
        made = optimizer([weight])
        made.step()
        kept = sum(value.numel() for value in made.state[weight].values() if isinstance(value, Tensor))
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return 2.0
    return kept / weight.numel()


def _activations(model: LatentVariableModel) -> tuple[int, int, int]:
    """Bytes that layers give out for the prior, for one image encoded and for one code decoded; zero if unknown."""
    with frozen(model) as device, pyro.validation_enabled(False), _counted(model) as counted:
        x = torch.zeros(1, *model.shapes.image_shape, device=device)
        y = torch.zeros(1, dtype=torch.int64, device=device)
        z = torch.zeros(1, model.shapes.latent_dim, device=device)
        marks = [0]
        for part in (lambda: model.prior(y), lambda: model.posterior(x, y), lambda: model.likelihood(z, y)):
            with suppress(Exception):  # of a user's own part, or one that looks at values, which a sketch has not
                part()
            marks.append(sum(counted))
    first, second, third = (after - before for before, after in pairwise(marks))
    return first, second, third


@contextmanager
def _counted(model: nn.Module) -> Iterator[list[int]]:
    """Bytes of what each call of a layer returns, which is kept for the backward pass."""
    found: list[int] = []

    def count(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            found.append(output.nbytes)

    handles = [part.register_forward_hook(count) for part in model.modules() if not list(part.children())]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
