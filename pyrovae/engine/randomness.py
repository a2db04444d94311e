"""State of torch's random number generators."""

from __future__ import annotations

import torch
from torch import Tensor


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of the random number generators that computations on a device draw from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_rng_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Put back what `rng_state` gave; a device that the state does not know keeps its own."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal, so that the same numbers follow."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
