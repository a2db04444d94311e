"""Where image sets lie, and fetching them: torchvision downloads and checks, in a process of its own.

A process of its own, because importing torchvision costs two seconds and 160 MB that a set already on disk
should not cost; because a stalled download can be ended with it; and because a time limit on sockets is
global to a process. This file is also the program of that process, so it imports nothing of pyrovae.
"""

import os
import queue
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

_STALL_SECONDS = 30.0


class DownloadError(RuntimeError):
    """An image set could not be fetched; the message is the reason, in one line."""


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Returns the folder of the sets: ``data_dir``, else $PYROVAE_DATA, else the platform's cache folder."""
    return Path(
        data_dir or os.environ.get("PYROVAE_DATA") or platformdirs.user_cache_dir("pyrovae", appauthor=False)
    ).expanduser()


def download(dataset: str, root: Path, split: str | None = None, *, seconds: float | None = None) -> None:
    """Lets torchvision download an image set, check it and unpack it, showing its progress on stderr.

    Args:
        dataset: Name of a class of ``torchvision.datasets``.
        root: The folder that torchvision calls ``root``.
        split: The ``split`` of that class, if it has several.
        seconds: Time after which to give up, and in which to show nothing; without it, only a stall ends the
            download.

    Raises:
        DownloadError: If it failed, was too slow, or stalled.
    """
    # -P: the folder of this file must not shadow modules of others.
    command = [sys.executable, "-P", __file__, dataset, str(root), *([split] if split else [])]
    stderr = subprocess.DEVNULL if seconds else None
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"not done within {seconds:g} s") from error
    if result.returncode:
        # torchvision prints too; the reason is the last line.
        raise DownloadError((result.stdout.strip().splitlines() or ["no reason given"])[-1])


def why_unreachable(url: str, seconds: float) -> str | None:
    """Asks whether an address answers, and never waits longer than told, not even to look up its name.

    Args:
        url: The address.
        seconds: The longest to wait.

    Returns:
        None if it answers, else the reason in one line.
    """
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            answers.put(None)
        except Exception as error:
            answers.put(_one_line(error))

    # A daemon, as looking up a name knows no time limit: this thread may outlive the answer.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"no answer from {urlsplit(url).hostname} within {seconds:g} s"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).replace("<", "").replace(">", "").split()) or type(error).__name__


def main(dataset: str, root: str, split: str | None = None) -> int:
    """Downloads; the program of the process that ``download`` starts. Prints the reason if it fails.

    Args:
        dataset: Name of a class of ``torchvision.datasets``.
        root: Its ``root``.
        split: Its ``split``, if it has several.

    Returns:
        Exit status.
    """
    socket.setdefaulttimeout(_STALL_SECONDS)
    try:
        import torchvision.datasets

        getattr(torchvision.datasets, dataset)(root, **({"split": split} if split else {}), download=True)
    except Exception as error:
        print(_one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
