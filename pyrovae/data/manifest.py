"""The manifest of a pack: what lies in its folder, with a digest of every part and of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pyrovae.digests import digest
from pyrovae.program import command_line

FORMAT, VERSION = "pyrovae pack", 1
MANIFEST, IMAGES, LABELS, ROWS = "manifest.json", "images.npy", "labels.npy", "rows.npy"
ATTRIBUTES, FACTORS = "attributes.npy", "factors.npy"


@dataclass(frozen=True)
class Manifest:
    """What a pack holds.

    Args:
        name: What was packed.
        shape: Shape of the images, (N, C, H, W).
        dtype: Their type, "uint8" for grey values or "float32" for values.
        train: Number of training rows, which come first.
        validation: Number of validation rows, which follow.
        test: Number of test rows, the last.
        official_validation: Whether the validation rows are those of the set's makers, and not drawn.
        class_names: One name per class.
        attribute_names: One name per attribute.
        factor_names: One name per factor.
        missing: Share of the values that is missing.
        scaling: How values became x; None for grey values.
        shard: Rows in a shard; the last one has those that are left.
        shards: Digest of each shard of the images.
        arrays: Digests of the other arrays, by the names of their files.
    """

    name: str
    shape: tuple[int, int, int, int]
    dtype: str
    train: int
    validation: int
    test: int
    official_validation: bool
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    factor_names: tuple[str, ...]
    missing: float
    scaling: dict[str, Any] | None
    shard: int
    shards: tuple[str, ...]
    arrays: dict[str, str]

    def kind_of(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape and type of an array, by the name of its file."""
        count = self.shape[0]
        return {
            IMAGES: (self.shape, self.dtype),
            ATTRIBUTES: ((count, len(self.attribute_names)), "bool"),
            FACTORS: ((count, len(self.factor_names)), "float64"),
        }.get(name, ((count,), "int64"))

    def to_text(self) -> str:
        """JSON with the digest of everything that it says."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(content | {"digest": _digest(content)}, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder.

        Raises:
            FileNotFoundError: If there is no such folder, or no manifest in it.
            ValueError: If it is damaged, was edited, or is of another version.
        """
        if not folder.is_dir():
            unfinished = partial_of(folder)
            what = f"{unfinished} is unfinished: run the same command again" if unfinished.exists() else "make it"
            raise FileNotFoundError(f"{folder} does not exist; {what} ({command_line('pack', 'SOURCE', folder)})")
        file = folder / MANIFEST
        if not file.is_file():
            makes = command_line("pack", "SOURCE", "OUT")
            raise FileNotFoundError(f"{folder} has no {MANIFEST}: it is no pack, or not a whole one; {makes} makes one")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version = content["version"] if content["format"] == FORMAT else None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise damaged(folder, f"{MANIFEST} cannot be read") from error
        if version != VERSION:
            raise ValueError(
                f"{folder} must be a pack of version {VERSION}, got version {version!r:.20}: pack its source again, "
                f"or install the pyrovae that wrote it"
            )
        noted = content.pop("digest", None)
        if noted != _digest(content) or {field.name for field in fields(cls)} != content.keys() - {"format", "version"}:
            raise damaged(folder, f"{MANIFEST} is not as it was written (its digest differs)")
        found: dict[str, Any] = {name: content[name] for name in content if name not in ("format", "version")}
        found |= {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
        return cls(**found)


def damaged(folder: Path, what: str) -> ValueError:
    """The error for a pack that is not as it was written."""
    return ValueError(f"{folder} is damaged: {what}; copy it here again, or remove it and pack its source again")


def partial_of(folder: Path) -> Path:
    """The folder in which a pack is written, until it is whole and moved."""
    return folder.with_name(f"{folder.name}.partial")


def _digest(content: dict[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True))
