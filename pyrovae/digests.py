"""A digest of weights, checkpoints and settings, by which a flipped bit is found when they are read."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any


def digest(value: Any) -> str:
    """SHA-256 of nested containers by what they hold: keys, numbers, texts, and tensors with their types and shapes.

    The order of a mapping does not matter. An object of any other kind counts by the name of its class.

    >>> import torch
    >>> digest({"a": torch.ones(2), "b": [1, "x"]}) == digest({"b": [1, "x"], "a": torch.ones(2)})
    True
    >>> digest([1]) == digest([1.0])
    False
    """
    sha = hashlib.sha256()
    _feed(sha, value)
    return f"sha256:{sha.hexdigest()}"


def _feed(sha: Any, value: Any) -> None:
    torch = sys.modules.get("torch")  # settings have a digest too; without torch there are no tensors
    if torch is not None and isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        sha.update(f"tensor {plain.dtype} {tuple(plain.shape)};".encode())
        sha.update(plain.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        sha.update(f"mapping {len(value)};".encode())
        for key in sorted(value, key=repr):
            _feed(sha, key)
            _feed(sha, value[key])
    elif isinstance(value, list | tuple):
        sha.update(f"{'tuple' if isinstance(value, tuple) else 'list'} {len(value)};".encode())
        for item in value:
            _feed(sha, item)
    else:
        text = repr(value) if isinstance(value, str | bytes | bool | int | float | None) else ""
        sha.update(f"{type(value).__name__} {len(text)} {text};".encode("utf-8", "surrogatepass"))
