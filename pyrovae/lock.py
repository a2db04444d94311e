"""One process at a time writes into a folder."""

from __future__ import annotations

import errno
import os
import platform
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows knows no such locks: two writers are not kept apart there
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
"""The file of the lock. It is never replaced or removed: a lock holds the file, not its name."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


class InUseError(ValueError):
    """Somebody else writes into the folder."""


@dataclass
class _Held:
    """A lock of this process."""

    descriptor: int
    thread: int
    depth: int = 1


_held: dict[tuple[int, int], _Held] = {}
_guard = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.clear)  # a child does not inherit its parent's locks


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder. The system gives the lock back when the process ends, however it ends.

    A thread that has the lock may take it again.

    Raises:
        FileNotFoundError: If there is no such folder.
        InUseError: If another process or another thread has it.
        OSError: If the file of the lock cannot be made.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist: there is nothing to resume; train the run anew")
    with _guard:
        key = _take(folder)
    try:
        yield
    finally:
        with _guard:
            _give(key)


def is_held(folder: Path) -> bool:
    """Whether somebody writes into a folder now; on Windows nobody can know, and the answer is no.

    Nobody who takes the lock meanwhile is disturbed, except that systems other than Linux may refuse him by bad luck.
    """
    path = folder / NAME
    if fcntl is None or not path.is_file():
        return False
    with _guard:
        if _identity(path.stat()) in _held:
            return True  # to open and close the file once more would give the lock back
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return _is_locked_by_another(descriptor)
        except OSError as error:
            return error.errno not in _WITHOUT_LOCKS
        finally:
            os.close(descriptor)


def _is_locked_by_another(descriptor: int) -> bool:
    """Ask the system for a lock that would be in the way; where its question has another form, try to share it."""
    if sys.platform == "linux" and struct.calcsize("l") == 8:
        question = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, question)
        return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
    fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # fails where another process has it
    return False


def _take(folder: Path) -> tuple[int, int]:
    path = folder / NAME
    mine = _held.get(_identity(path.stat())) if path.exists() else None
    if mine is not None:
        # To open and close the file once more would give the lock back.
        if mine.thread != threading.get_ident():
            raise InUseError(_refusal(folder, "another thread of this process"))
        mine.depth += 1
        return _identity(path.stat())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        if error.errno not in _WITHOUT_LOCKS:
            os.close(descriptor)
            raise InUseError(_refusal(folder, holder or "another process")) from error
    _sign(descriptor)
    key = _identity(os.fstat(descriptor))
    _held[key] = _Held(descriptor, threading.get_ident())
    return key


def _sign(descriptor: int) -> None:
    """Write who has the lock, for those who are refused; on a full disk they learn less."""
    text = f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, text.encode())
    except OSError:
        pass


def _give(key: tuple[int, int]) -> None:
    mine = _held[key]
    mine.depth -= 1
    if not mine.depth:
        del _held[key]
        os.close(mine.descriptor)


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _refusal(folder: Path, holder: str) -> str:
    return f"{folder} is in use by {holder}: wait until that has ended, or stop it, or choose another --name"
