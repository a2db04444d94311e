"""Values other than grey levels, brought to one scale by a declared policy, which the run keeps and output undoes.

* ``standard``: mean 0 and standard deviation 1 over the training rows, what is missing left out;
* ``unit``: the training rows' smallest value is 0 and their largest 1;
* ``none``: values as they are, as counts need it.

A column of a table is scaled by its own numbers. All values of a channel of images or sequences share theirs.
A column that does not vary is moved and not stretched.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

ScalingPolicy = Literal["standard", "unit", "none"]
SCALING_POLICIES: tuple[ScalingPolicy, ...] = get_args(ScalingPolicy)


@dataclass(frozen=True, eq=False)
class Scaling:
    """How values became x: x = (value - shift) / scale.

    Args:
        policy: One of ``SCALING_POLICIES``.
        shift: float64, of a shape that broadcasts to (C, H, W), in units of the values.
        scale: The same, above 0.
        columns: Names of a table's columns; none for images and sequences.
    """

    policy: ScalingPolicy
    shift: Tensor
    scale: Tensor
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Tensor, policy: ScalingPolicy, columns: tuple[str, ...] = ()) -> "Scaling":
        """The scaling of training values.

        Args:
            values: float64 (N, C, H, W), NaN where a value is missing.
            policy: One of ``SCALING_POLICIES``.
            columns: Names of the columns of a table, whose values are (N, 1, 1, columns).

        Raises:
            ValueError: If there is no such policy.
        """
        if policy not in SCALING_POLICIES:
            raise ValueError(f"scaling must be one of {', '.join(SCALING_POLICIES)}, got {policy!r}")
        by = values.flatten(0, 2).T if columns else values.transpose(0, 1).flatten(1)
        shift, scale = torch.zeros(len(by), dtype=torch.float64), torch.ones(len(by), dtype=torch.float64)
        for i, each in enumerate(by) if policy != "none" else ():
            seen = each[~each.isnan()]
            low, high = seen.aminmax()
            # The mean of equal values is rounded; a constant column must become 0 exactly.
            shift[i] = low if policy == "unit" or low == high else seen.mean()
            wide = high - low if policy == "unit" else seen.std(correction=0)
            scale[i] = wide if low < high else 1.0
        return cls.of_each(policy, shift, scale, columns)

    @classmethod
    def of_each(cls, policy: ScalingPolicy, shift: Tensor, scale: Tensor, columns: tuple[str, ...]) -> "Scaling":
        """The scaling with these numbers, one for each column of a table, or for each channel of anything else."""
        shape = (1, 1, -1) if columns else (-1, 1, 1)
        return cls(policy, shift.reshape(shape), scale.reshape(shape), columns)

    def apply(self, values: Tensor) -> Tensor:
        """Values, float64 (N, C, H, W), as x, float32 of the same shape; what is missing stays so."""
        return ((values.double() - self.shift) / self.scale).float()

    def undo(self, x: Tensor) -> Tensor:
        """x, (..., C, H, W), as values, float64 of the same shape."""
        return x.double() * self.scale.to(x.device) + self.shift.to(x.device)

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        return {
            "policy": self.policy,
            "columns": list(self.columns),
            "shift": self.shift.flatten().tolist(),
            "scale": self.scale.flatten().tolist(),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> "Scaling":
        """What `to_dict` gave.

        Raises:
            ValueError: If a number is missing or none.
        """
        try:
            shift, scale = (torch.tensor(state[name], dtype=torch.float64) for name in ("shift", "scale"))
            return cls.of_each(state["policy"], shift, scale, tuple(state["columns"]))
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"this is no scaling of values: {error}") from error
