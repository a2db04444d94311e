"""Arrays of every kind as torch's: no gradient, in memory, dense, NaN where an entry is masked, None or NA."""

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.shapes import WrongTypeError


def is_missing(value: object) -> bool:
    """Whether an entry stands for a value that is not known: None, NaN, NaT, or the NA of a library of tables."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA is neither equal to itself nor different
        return True
    except (ValueError, RuntimeError):  # several numbers
        return False


def is_table(values: object) -> bool:
    """Whether a value is a data frame or a series of pandas or Polars."""
    return hasattr(values, "to_numpy")


def column_names(values: object) -> tuple[str, ...]:
    """Names of the columns of a data frame; none of anything else."""
    return tuple(map(str, values.columns)) if is_table(values) and hasattr(values, "columns") else ()


def to_array(values: Any) -> np.ndarray:
    """Numbers as an array of NumPy, in the byte order of the machine; a view where that is possible.

    Args:
        values: An array, a sparse one, a data frame, or nested lists.

    Raises:
        TypeError: If an entry is no real number.
    """
    if hasattr(values, "toarray"):  # SciPy's sparse arrays, which NumPy takes for one object
        values = values.toarray()
    if np.ma.isMaskedArray(values):
        masked, values = np.ma.getmaskarray(values), values.data
        values = np.where(masked, np.nan, values.astype(np.float64)) if masked.any() else values
    array = np.asarray(values)
    if array.dtype == object:
        array = _of_objects(array)
    if array.dtype.kind == "c":
        raise WrongTypeError(f"they must be real numbers, got {array.dtype}")
    if array.dtype.kind not in "biuf":
        raise WrongTypeError(f"they must be numbers, got {array.dtype}")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def to_tensor(values: Any) -> Tensor:
    """Numbers as a tensor on the CPU, dense and without a gradient.

    Args:
        values: A tensor, or what `to_array` takes.

    Raises:
        TypeError: If an entry is no real number.
    """
    if isinstance(values, Tensor):
        if values.is_meta:
            raise WrongTypeError("a tensor on the device meta holds none")
        if values.is_complex():
            raise WrongTypeError(f"they must be real numbers, got {values.dtype}")
        return plain_tensor(values).cpu()
    array = to_array(values)
    # Torch takes no array with a negative stride, and warns of one that must not be written to.
    usable = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if usable else array.copy())


def plain_tensor(values: Tensor) -> Tensor:
    """A tensor dense, without a gradient, and of a type that NumPy has."""
    dense = values.detach() if values.layout == torch.strided else values.detach().to_dense()
    return dense.float() if dense.dtype == torch.bfloat16 else dense


def _of_objects(array: np.ndarray) -> np.ndarray:
    """Objects as numbers, NaN for those that are missing."""
    found = np.empty(array.size)
    for i, value in enumerate(array.flat):
        if isinstance(value, Real | Decimal | np.bool_):
            found[i] = float(value)
        elif is_missing(value):
            found[i] = np.nan
        else:
            raise WrongTypeError(f"they must be numbers, got a value of type {type(value).__name__}")
    return found.reshape(array.shape)
