"""A graph against Pyro: the same step from the same state, and whether the two agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# Relative to what is compared, by the precision of the products: rounding in another order stays well below.
_TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "tf32": 2e-2, "bfloat16": 5e-2}
_TOLERANCE_OF_GRADIENTS = {"float64": 1e-7, "float32": 1e-2, "tf32": 0.1, "bfloat16": 0.25}


GRADIENT = "the gradient"
"""How the words of a difference begin that rounding may explain."""


@dataclass(frozen=True)
class Outcome:
    """What one step computed.

    Attributes:
        loss: The loss, scalar.
        log_probs: Log-probability by site, scalars.
        weighted: The same, as the loss counted it.
        gradients: Gradient by parameter; none for an evaluation.
    """

    loss: Tensor
    log_probs: Mapping[str, Tensor]
    weighted: Mapping[str, Tensor]
    gradients: Mapping[Tensor, Tensor]


def due(use: int, every: int | None) -> bool:
    """Whether a graph is compared with Pyro at its n-th use: at 1, 2, 4, 8 … and each `every`-th; never if None."""
    return every is not None and (use % every == 0 or (use & (use - 1) == 0 and use < every))


def difference(ours: Outcome, theirs: Outcome, precision: str, names: Mapping[int, str]) -> str | None:
    """The first thing in which a graph differs from Pyro by more than rounding, in words; None if they agree.

    Args:
        ours: What the graph computed.
        theirs: What Pyro computed from the same state.
        precision: "float32", "tf32" or "bfloat16", of the products; tensors in float64 are held to float64.
        names: Names of parameters by the tensor's `id`.
    """
    if ours.log_probs.keys() != theirs.log_probs.keys():
        sites = sorted(ours.log_probs.keys() ^ theirs.log_probs.keys())
        return f"site {_site(sites[0])} is in one of them alone"
    in_order = sorted(ours.log_probs, key=lambda name: not name.startswith("guide."))
    total = 0.0
    for what, mine, other in (
        ("log-probability", ours.log_probs, theirs.log_probs),
        ("weighted log-probability", ours.weighted, theirs.weighted),
    ):
        common = [name for name in in_order if name in mine and name in other]
        total = max(total, float(sum(other[name].abs().double().cpu() for name in common)))
        for name in common:
            if _apart(mine[name], other[name], precision, 0.01 * total):
                numbers = _numbers(mine[name], other[name])
                return f"the {what} of site {_site(name)} is {numbers}"
    if _apart(ours.loss, theirs.loss, precision, total):
        return f"the loss is {_numbers(ours.loss, theirs.loss)}"
    for number, parameter in enumerate(theirs.gradients.keys() | ours.gradients.keys()):
        name = names.get(id(parameter), f"parameter {number}")
        gradient, reference = ours.gradients.get(parameter), theirs.gradients.get(parameter)
        if gradient is None or reference is None:
            given = gradient if reference is None else reference
            if given is not None and bool(given.any()):
                return f"{name} has a gradient in one of them alone"
        elif _gradients_apart(gradient, reference, precision):
            return f"{GRADIENT} of {name} differs"
    return None


def explained_by_rounding(ours: Outcome, theirs: Outcome, moved: Outcome) -> bool:
    """Whether the gradients of a graph and of Pyro differ no more than rounding of the parameters would move them.

    Args:
        ours: What the graph computed.
        theirs: What Pyro computed from the same state.
        moved: What the graph computes where each parameter is changed by a rounding error.
    """
    for parameter, gradient in ours.gradients.items():
        other, shifted = theirs.gradients.get(parameter), moved.gradients.get(parameter)
        if other is None or shifted is None or gradient.is_sparse or not gradient.numel():
            continue
        if not (gradient - other).abs().max() <= _MARGIN * (shifted - gradient).abs().max() + 1e-12:
            return False
    return True


_MARGIN = 30.0
"""How many rounding errors of the parameters two ways to compute a gradient may lie apart."""


def _apart(ours: Tensor, theirs: Tensor, precision: str, scale: float) -> bool:
    tolerance = _TOLERANCE[_precision_of(theirs, precision)]
    a, b = float(ours), float(theirs)
    if a == b or (a != a and b != b):
        return False
    return not abs(a - b) <= tolerance * (abs(b) + scale + 1e-6)


def _gradients_apart(ours: Tensor, theirs: Tensor, precision: str) -> bool:
    if ours.is_sparse or theirs.is_sparse:
        ours, theirs = ours.to_dense(), theirs.to_dense()
    if not theirs.numel():
        return False
    tolerance = _TOLERANCE_OF_GRADIENTS[_precision_of(theirs, precision)]
    largest = float(theirs.abs().max())
    if largest != largest:
        return not bool(ours.isnan().any())
    return not float((ours - theirs).abs().max()) <= tolerance * largest + 1e-12


def _precision_of(tensor: Tensor, precision: str) -> str:
    return "float64" if tensor.dtype == torch.float64 and precision == "float32" else precision


def _numbers(ours: Tensor, theirs: Tensor) -> str:
    return f"{float(ours):.7g} in the graph and {float(theirs):.7g} by Pyro"


def _site(name: str) -> str:
    role, _, site = name.partition(".")
    return f"{site!r} of the {role}"
