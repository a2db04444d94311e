"""Devices, seeds, and evaluation without side effects."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pyrovae.engine.compilation import tf32
from pyrovae.engine.randomness import restore_rng_state, rng_state

MAX_SEED = 2**32 - 1
"""The greatest seed that each generator takes, also where it is multiplied by a million for the epochs' own."""


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name.

    Args:
        name: "auto" (the first that exists of CUDA, Apple's MPS and the CPU), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ValueError: If this machine does not have the device.
    """
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    found[:0] = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if name == "auto":
        return torch.device(found[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in found:
        raise ValueError(f"device {name!r} does not exist here; this machine has {', '.join(found)}")
    return torch.device(wanted)


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's parameters or buffers; the CPU for a model without either."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw random numbers from `seed` within the context, and restore the generators afterwards."""
    device = torch.device(device)
    before = rng_state(device)
    try:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every other device as well
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield
    finally:
        restore_rng_state(before, device)


@contextmanager
def frozen(model: nn.Module, seed: int = 0) -> Iterator[torch.device]:
    """Evaluate a model without changing it: no gradients, evaluation mode, random numbers from `seed`.

    Products are in whole float32, on a GPU too. Weights, module modes and the random number generators are bit-equal
    afterwards.

    Yields:
        The device of the model. Inputs must be on it.
    """
    device = device_of(model)
    modes = [(module, module.training) for module in model.modules()]
    with seeded(seed, device), tf32(False), torch.no_grad():
        model.eval()
        try:
            yield device
        finally:
            for module, training in modes:
                module.training = training
