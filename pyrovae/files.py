"""Atomic writes: after a crash a file is either the old one or the new one."""

from __future__ import annotations

import errno
import io
import itertools
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
"""Errors of a disk that takes no more, and what they are called."""
FORGOTTEN = 3600.0
"""Seconds after which an unfinished file is nobody's, wherever its writer was."""

_HOST = re.sub(r"[^0-9A-Za-z-]", "-", platform.node())[:40]
_UNFINISHED = re.compile(r"\..*\.(?P<pid>\d+)@(?P<host>[0-9A-Za-z-]*)\.\d+\.pyrovae-tmp(\.\w+)?")
_numbers = itertools.count()
_in_hand: set[str] = set()


def replace_file(
    path: Path,
    write: Callable[[Path], object],
    needed: Callable[[], int] | None = None,
    keep: Path | None = None,
) -> None:
    """Write a file beside its place and move it over the old one.

    What processes that were killed have left unfinished in the same folder goes.

    Args:
        path: Where the file shall be.
        write: Function that writes to the path that it is given.
        needed: Says how many bytes the file has, for the message of a full disk.
        keep: Where the old file is moved, if it is to be kept.

    Raises:
        OSError: If it cannot be written. Then the old file is unchanged.
    """
    for left in unfinished(path.parent):
        left.unlink(missing_ok=True)
    beside = path.with_name(f".{path.name[:80]}.{os.getpid()}@{_HOST}.{next(_numbers)}.pyrovae-tmp{path.suffix}")
    _in_hand.add(beside.name)
    try:
        write(beside)
        _to_disk(beside)
        if keep is not None and path.exists():
            os.replace(path, keep)  # noqa: PTH105 - killed here, the old file is found there
        os.replace(beside, path)  # noqa: PTH105 - the atomic rename, by its name
        _to_disk(path.parent)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if not isinstance(error, Exception):  # Ctrl-C is not an error of the file
            raise
        reason = _full(error, path, needed) or getattr(error, "strerror", None)
        reason = reason or next(iter(str(error).splitlines()), type(error).__name__)
        raise OSError(f"cannot write {path}: {reason}; what was there before is untouched") from error
    finally:
        _in_hand.discard(beside.name)


def replace_stream(path: Path, write: Callable[[IO[bytes]], object], keep: Path | None = None) -> None:
    """Write a file as `replace_file` does, by a function that writes to an open one."""

    def to_path(beside: Path) -> None:
        with beside.open("wb") as file:
            write(file)

    def size() -> int:
        counter = _Counter()
        write(counter)  # type: ignore[arg-type]
        return counter.count

    replace_file(path, to_path, size, keep)


def replace_text(path: Path, text: str) -> None:
    """Write text to a file as `replace_file` does."""
    content = text.encode()
    replace_file(path, lambda beside: beside.write_bytes(content), lambda: len(content))


def unfinished(folder: Path) -> Iterator[Path]:
    """Files of this module's naming in a folder, whose writers do not live any more."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:  # the writer will say what is wrong with it
        return
    for name in names:
        found = _UNFINISHED.fullmatch(name)
        if found and name not in _in_hand and not _is_written(folder / name, int(found["pid"]), found["host"]):
            yield folder / name


class _Counter(io.RawIOBase):
    """Counts what is written to it and keeps nothing."""

    def __init__(self) -> None:
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        size = memoryview(content).nbytes  # type: ignore[arg-type]
        self.count += size
        return size


def _is_written(path: Path, pid: int, host: str) -> bool:
    """Whether somebody may still be at work on an unfinished file; a number of a process is used again some day."""
    try:
        recent = time.time() - path.stat().st_mtime < FORGOTTEN
    except FileNotFoundError:  # just finished
        return True
    if host != _HOST or not recent:
        return recent
    if pid == os.getpid():
        return False  # by an earlier process of the same number, as in a container that was started again
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _to_disk(path: Path) -> None:
    """Have a file or a folder written through, where the system can."""
    if path.is_dir() and os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems know no fsync of folders
            raise
    finally:
        os.close(descriptor)


def _full(error: BaseException, path: Path, needed: Callable[[], int] | None) -> str | None:
    """What is to be said of a full disk, or None if that is not the trouble.

    Libraries that write by themselves raise errors of their own, in whose chain the system's is.
    """
    number, link = None, error
    while link is not None and number is None:
        number = link.errno if isinstance(link, OSError) and link.errno in FULL else None
        link = link.__cause__ or link.__context__  # type: ignore[assignment]
    if number is None:
        return None
    free = _bytes(shutil.disk_usage(path.parent).free)
    size = _bytes(needed()) if needed else f"more than {free}"
    return f"{FULL[number]}: {size} needed, {free} free in {path.parent.resolve()}; make room there"


def _bytes(count: float) -> str:
    """A number of bytes in words: 1.5 MB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
