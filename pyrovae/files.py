"""Atomic writes: after a crash a file is either the old one or the new one."""

import os
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file and move it to its path.

    Args:
        path: Path of the file.
        write: Function that writes to a given path.

    Raises:
        OSError: If it cannot be written. Then the old file is unchanged.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)  # noqa: PTH105 - the atomic rename, by its name
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if not isinstance(error, Exception):  # Ctrl-C is not an error of the file
            raise
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
        raise OSError(f"cannot write {path}: {reason}; what was there before is untouched") from error


def replace_text(path: Path, text: str) -> None:
    """Write text to a file by `replace_file`."""
    replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))
