"""How much memory is left, asked before it is taken: Linux kills where it could have refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""What a limit of no meaning is above: cgroups say "no limit" by a number of this size."""


class NotEnoughMemory(ValueError, MemoryError):  # noqa: N818 - an answer as much as an error
    """Something needs more memory than there is; the text says how much, and how much is left."""


def free_memory(device: torch.device | str = "cpu") -> tuple[int, str]:
    """Bytes that can be taken, and who limits them, in words.

    On a CPU the least of what the machine has free, what its container may still take (control groups of both
    versions), and what this process may (ulimit -v).

    Args:
        device: Where.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0], "free on the GPU"
    limits = [*_of_the_machine(), *_of_the_container(), *_of_the_process()]
    return min(limits, default=(_UNLIMITED, "known"))


def check_memory(parts: Mapping[str, int], cure: str, device: torch.device | str = "cpu") -> None:
    """Refuse what does not fit into the memory that is left.

    Args:
        parts: Bytes of everything that is needed at once, by what they are for.
        cure: What to do about it.
        device: Where they shall be.

    Raises:
        NotEnoughMemory: If their sum is more than is left.
    """
    free, whose = free_memory(device)
    if sum(parts.values()) > free:
        listed = " + ".join(f"{what} {in_words(size)}" for what, size in parts.items() if size)
        whole = f" = {in_words(sum(parts.values()))}" if len(parts) > 1 else ""
        raise NotEnoughMemory(f"not enough memory: {listed}{whole}, and {in_words(free)} are {whose}; {cure}")


def in_words(size: float) -> str:
    """Bytes in a unit that can be read.

    >>> in_words(3 * 2**30), in_words(1500)
    ('3.0 GiB', '1.5 KiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.0f} PiB"


def refused_bytes(error: BaseException) -> str | None:
    """What an error says of memory that could not be had, in a few words; None if it is about something else."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return text.partition(" GPU ")[0].rstrip(".")
    asked = re.search(r"tried to allocate (\d+) bytes", text) or re.search(r"Unable to allocate ([\d.]+ \w+)", text)
    if asked:
        return f"out of memory: could not get {in_words(int(asked[1])) if asked[1].isdigit() else asked[1]}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "Storage size calculation overflow" in text:
        return "out of memory"
    return None


def _of_the_machine() -> Iterator[tuple[int, str]]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024, "free on this machine"


def _of_the_container() -> Iterator[tuple[int, str]]:
    """What the groups that this process is in, and those above them, may still take."""
    for folder, limit, used in _groups():
        with contextlib.suppress(OSError, ValueError):
            most = int((folder / limit).read_text(encoding="ascii"))
            taken = int((folder / used).read_text(encoding="ascii")) - _cached(folder)
            if most < _UNLIMITED:
                yield max(0, most - taken), f"left of the container's {in_words(most)}"


def _groups() -> Iterator[tuple[Path, str, str]]:
    """Folders of the memory controllers, with the names of their files of the limit and of what is used."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            names = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
            )
            root = _CGROUPS / "memory" if controllers else _CGROUPS
            if not controllers or "memory" in controllers.split(","):
                inside = Path(path.lstrip("/"))
                # Inside of a container the path may be that of the host, and the mounted root is the own group.
                for folder in {root / inside, *(root / above for above in inside.parents), root}:
                    yield folder, *names


def _cached(folder: Path) -> int:
    """Bytes of cached files, which the kernel gives back before it refuses anything."""
    with contextlib.suppress(OSError, ValueError):
        rows = [line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()]
        stat = {row[0]: int(row[1]) for row in rows if len(row) == 2}
        return stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return 0


def _of_the_process() -> Iterator[tuple[int, str]]:
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource  # not on Windows

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            yield max(0, most - pages * resource.getpagesize()), f"left of this process's {in_words(most)} (ulimit -v)"
