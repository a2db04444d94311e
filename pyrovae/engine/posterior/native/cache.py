"""Compiled libraries on disk, for the next process that asks for the same text."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

logger = logging.getLogger(__name__)

KEPT = 200
"""Libraries in the folder; those that were used longest ago go first. One takes some 20 to 200 KB."""


def folder() -> Path:
    """Where libraries are kept, in the user's cache."""
    return Path(platformdirs.user_cache_dir("pyrovae", appauthor=False)) / "densities"


def key_of(code: str, command: Sequence[str], program: Path) -> str:
    """A name for what a compiler makes of a text on this kind of processor.

    Args:
        code: The text.
        command: The compiler with its flags.
        program: The compiler's file, which changes with its version.
    """
    state = program.resolve().stat()
    parts = (code, *command, str(program.resolve()), state.st_size, state.st_mtime_ns, _processor())
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


def _processor() -> str:
    """What `-march=native` looks at."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return f"{platform.machine()} {line}"
    return f"{platform.platform()} {platform.processor()}"


def cached(key: str, make: Callable[[Path], None], temporary: Path) -> Path:
    """The file of a library: from the cache, or made and put there; in `temporary` where there can be no cache.

    A file's name ends in the hash of its contents, so that a damaged one is found and made anew. It is written beside
    its place and moved there, so that processes may do it at the same time.
    """
    found = _whole(key)
    if found is not None:
        return found
    target = temporary / "density.so"
    make(target)
    try:
        contents = target.read_bytes()
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = folder() / f".{secrets.token_hex(8)}"
        place = folder() / f"{key}-{_hash(contents)}.so"
        try:
            beside.write_bytes(contents)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
        _prune()
    except OSError as error:
        logger.info("the compiled density is not kept (%s)", error)
        return target
    return place


def _whole(key: str) -> Path | None:
    with contextlib.suppress(OSError):
        for path in folder().glob(f"{key}-*.so"):
            if path.stem.endswith(_hash(path.read_bytes())):
                os.utime(path)
                return path
            path.unlink()
    return None


def _hash(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()[:32]


def _prune() -> None:
    """Remove what was used longest ago, and what killed processes have left."""
    files = sorted(folder().iterdir(), key=lambda path: path.stat().st_mtime)
    for path in files[:-KEPT]:
        path.unlink(missing_ok=True)
