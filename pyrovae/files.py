"""Files that are either the old one or the new one, whole, whenever the process is killed."""

import os
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it over the old one.

    Args:
        path: Where the file shall be.
        write: Function that writes to the path that it is given.

    Raises:
        OSError: If it cannot be written; the old file is untouched then.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)  # noqa: PTH105 - the atomic rename, by its name
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if not isinstance(error, Exception):  # Ctrl-C is no trouble with the file
            raise
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
        raise OSError(f"cannot write {path}: {reason}; what was there before is untouched") from error


def replace_text(path: Path, text: str) -> None:
    """Write text to a file as `replace_file` does."""
    replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))
