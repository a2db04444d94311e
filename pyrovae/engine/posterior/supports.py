"""Supports of distributions: from real numbers to them, and whether data lie in one that moves with the latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import ComposeTransform, IndependentTransform

_AROUND = ("Independent", "ExpandedDistribution", "MaskedDistribution")
"""Distributions that only change the shape of another, or hide a part of it."""


def kind_of(distribution: Any) -> str:
    """The name of a distribution's class, below those that only change its shape."""
    return type(_core(distribution)).__name__


def _core(distribution: Any) -> Any:
    while hasattr(distribution, "base_dist") and type(distribution).__name__ in _AROUND:
        distribution = distribution.base_dist
    return distribution


def bijection_of(distribution: Any) -> Any:
    """From real numbers to the support of a distribution.

    Raises:
        NotImplementedError: If the support is none or has no transform.
    """
    if _hides_bounds(_core(distribution)):
        return _through_base(distribution)
    return biject_to(_common(distribution.support))


def _hides_bounds(distribution: Any) -> bool:
    """Whether torch takes a transformed distribution, such as a shifted one, to live everywhere, and it does not."""
    if not isinstance(distribution, torch.distributions.TransformedDistribution) or not _is_real(distribution.support):
        return False
    return _moves_bounds(distribution) or _hides_bounds(_core(distribution.base_dist))


def _moves_bounds(distribution: Any) -> bool:
    """Whether something that has bounds is given to a transform of all real numbers, such as a shift."""
    return not _is_real(_support(distribution.base_dist)) and _is_real(distribution.transforms[0].domain)


def _through_base(distribution: Any) -> Any:
    """From real numbers to the support of what is transformed, and on from there."""
    if type(distribution).__name__ == "Independent":
        inner = _through_base(distribution.base_dist)
        return IndependentTransform(inner, distribution.reinterpreted_batch_ndims)
    if type(distribution).__name__ in _AROUND:
        return _through_base(distribution.base_dist)
    return ComposeTransform([bijection_of(distribution.base_dist), *distribution.transforms])


def _is_real(support: Any) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


def _common(support: Any) -> Any:
    """The support of a mixture whose components all have the same one, for which torch has no transform."""
    if isinstance(support, constraints.MixtureSameFamilyConstraint):
        base = support.base_constraint
        return base if not any(isinstance(value, Tensor) and value.ndim for value in vars(base).values()) else support
    if isinstance(support, constraints.independent):
        return constraints.independent(_common(support.base_constraint), support.reinterpreted_batch_ndims)
    return support


# ---- data in supports that move


def within_support(distribution: Any) -> Any:
    """The distribution of observations, with no density outside of a support that depends on latents.

    Without checks of arguments, which cannot be part of a density, torch computes a number there for some of them, such
    as `Pareto`.
    """
    return _Within(distribution) if moves(distribution) else distribution


class _Within:
    """A distribution, with -inf for values outside of its support."""

    def __init__(self, distribution: Any) -> None:
        self._distribution = distribution

    def log_prob(self, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Log-density, of the batch's shape."""
        found = self._distribution.log_prob(value, *args, **kwargs)
        return torch.where(inside(self._distribution, value), found, -torch.inf)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)


def moves(distribution: Any) -> bool:
    """Whether the support depends on latents, as gradients show."""
    core = _core(distribution)
    if isinstance(core, torch.distributions.TransformedDistribution):
        moved = _moves_bounds(core) and any(map(_depends, core.transforms))
        return moved or moves(core.base_dist)
    return _depends(_support(core))


def _support(distribution: Any) -> Any:
    try:
        return distribution.support
    except NotImplementedError:
        return constraints.real


def _depends(thing: Any) -> bool:
    """Whether a constraint or a transform has numbers that depend on latents."""
    tensors = [value for value in vars(thing).values() if isinstance(value, Tensor)]
    parts = [value for name, value in vars(thing).items() if name in ("base_constraint", "base_transform", "parts")]
    parts = [part for value in parts for part in (value if isinstance(value, list) else [value])]
    return any(t.requires_grad for t in tensors) or any(map(_depends, parts))


def inside(distribution: Any, value: Tensor) -> Tensor:
    """Whether values lie in the support of a distribution, bool of the batch's shape."""
    name = type(distribution).__name__
    if name == "Independent":
        return _all_of_last(inside(distribution.base_dist, value), distribution.reinterpreted_batch_ndims)
    if name == "MaskedDistribution":
        return inside(distribution.base_dist, value) | ~torch.as_tensor(distribution._mask, dtype=torch.bool)
    if name == "ExpandedDistribution":
        return inside(distribution.base_dist, value)
    if isinstance(distribution, torch.distributions.TransformedDistribution):
        base = distribution.base_dist
        if _moves_bounds(distribution) or moves(base):
            for transform in reversed(distribution.transforms):
                value = transform.inv(value)
            return _all_of_last(inside(base, value), len(distribution.event_shape) - len(base.event_shape))
    return _support(distribution).check(value)


def _all_of_last(inside: Tensor, dims: int) -> Tensor:
    return inside.flatten(-dims).all(-1) if dims > 0 else inside
