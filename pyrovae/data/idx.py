"""The IDX files of the MNIST family, read straight into memory that is there already.

An IDX file is two zero bytes, a byte for the type of its numbers (8: unsigned bytes), a byte for the number
of dimensions, each size as four bytes with the highest first, and then the numbers.

References:
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits", http://yann.lecun.com/exdb/mnist/
"""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
from torch import Tensor

_UNSIGNED_BYTES = 8
_BAD_COMPRESSION = (gzip.BadGzipFile, EOFError, zlib.error)


def find_idx(path: Path) -> Path | None:
    """Returns the IDX file at ``path`` or its gzip-compressed form beside it, or None if there is neither."""
    return next((p for p in (path, path.with_name(f"{path.name}.gz")) if p.is_file()), None)


def idx_shape(path: Path, ndim: int) -> tuple[int, ...]:
    """Reads the sizes that an IDX file claims to have.

    Args:
        path: The file, compressed if its name ends in ".gz".
        ndim: The number of dimensions that it must have: 3 for images (N, H, W), 1 for labels (N,).

    Returns:
        The sizes.

    Raises:
        ValueError: If it is no IDX file of unsigned bytes with so many dimensions, none of them 0.
    """
    try:
        with _open(path) as stream:
            header = stream.read(4 * (1 + ndim))
    except _BAD_COMPRESSION as error:
        raise _damaged(path, str(error)) from error
    if header[:4] != bytes((0, 0, _UNSIGNED_BYTES, ndim)) or len(header) < 4 * (1 + ndim):
        expected = bytes((0, 0, _UNSIGNED_BYTES, ndim)).hex(" ")
        raise _damaged(
            path, f"it must begin with the bytes {expected} and {ndim} sizes, got {header.hex(' ') or 'none'}"
        )
    shape = tuple(np.frombuffer(header, ">u4")[1:].tolist())
    if 0 in shape:
        raise _damaged(path, f"it must hold something, got the sizes {shape}")
    return shape


def read_idx(path: Path, out: Tensor) -> None:
    """Reads the numbers of an IDX file into ``out``.

    Args:
        path: The file, compressed if its name ends in ".gz".
        out: Where to put them: uint8, contiguous, on the CPU, of ``idx_shape(path)``.

    Raises:
        ValueError: If the file is shorter or longer than the sizes in its header, or its compression is
            damaged.
    """
    buffer = out.numpy().data.cast("B")
    filled = 0
    try:
        with _open(path) as stream:
            stream.read(4 * (1 + out.ndim))
            # In pieces, as a compressed stream would otherwise hold all of it once more.
            while filled < len(buffer) and (count := stream.readinto(buffer[filled : filled + (1 << 20)])):
                filled += count
            surplus = len(stream.read(1))
    except _BAD_COMPRESSION as error:
        raise _damaged(path, str(error)) from error
    if filled < len(buffer) or surplus:
        held = "more" if surplus else f"only {filled:,}"
        raise _damaged(path, f"its header promises {len(buffer):,} bytes of data and it holds {held}")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} is truncated or corrupt: {reason}; delete it and run again to fetch it anew, or put a whole copy there"
    )
