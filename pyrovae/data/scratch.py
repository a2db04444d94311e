"""Large tensors that are made once and read in parts: they lie in a temporary file instead of in memory."""

import os
import tempfile
from math import prod

import numpy as np
import torch
from torch import Tensor

IN_MEMORY = 1 << 27
"""Bytes up to which such a tensor is in memory."""


def scratch_like(tensor: Tensor) -> Tensor:
    """A tensor of the same type, shape and device whose values are left open.

    One of more than 128 MiB on the CPU lies in a file without a name in the folder of temporary files ($TMPDIR), which
    goes with it. Where that has no room it is in memory after all.
    """
    if tensor.device.type != "cpu" or tensor.nbytes <= IN_MEMORY:
        return torch.empty_like(tensor)
    kind = torch.empty(0, dtype=tensor.dtype).numpy().dtype
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # or a full disk would end the process while it writes
                os.posix_fallocate(file.fileno(), 0, prod(tensor.shape) * kind.itemsize)
            return torch.from_numpy(np.memmap(file, kind, "w+", shape=tuple(tensor.shape)))
    except OSError:
        return torch.empty_like(tensor)
