"""Writing of packs: rows of any source into a folder of arrays, shard by shard, in bounded memory.

A shard is a range of rows of `images.npy`, 64 MiB of it. It is written through to the disk before it is noted in a
journal, so that a pack that was stopped goes on after its last whole shard, and ends with the same bytes as one that
was not. All is done in a folder beside the place, which is moved there when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyrovae import lock
from pyrovae.data.labels import encode_labels
from pyrovae.data.manifest import ATTRIBUTES, FACTORS, IMAGES, LABELS, MANIFEST, ROWS, VERSION, Manifest, partial_of
from pyrovae.data.moments import Moments
from pyrovae.data.rows import Rows
from pyrovae.data.scaling import Scaling, ScalingPolicy
from pyrovae.data.values import check_finite, check_fits
from pyrovae.digests import digest
from pyrovae.files import FULL, replace_file, replace_text
from pyrovae.memory import in_words

SHARD_BYTES = 1 << 26
READ_ROWS = 256
"""Rows that are read from a source at a time."""
ORDER_SEED = 1
"""Of the order in which training rows are written."""
_JOURNAL, _CODES = "journal.jsonl", "codes.bin"


class Packing:
    """One pack, from its first row or its journal to its end.

    Args:
        rows: What is packed.
        target: Folder of the pack; it must not exist yet.
        policy: How values become x.
        progress: Whether to show progress.
    """

    def __init__(self, rows: Rows, target: Path, policy: ScalingPolicy = "standard", progress: bool = False) -> None:
        self.rows, self.target, self.partial, self.progress = rows, target, partial_of(target), progress
        self.policy = policy
        first, _ = rows.read([0])
        self.grey = first.dtype == torch.uint8
        self.shape = (rows.count, *first.shape[1:])
        self.kind = np.dtype(np.uint8 if self.grey else np.float32)
        self.row_bytes = first[0].numel() * self.kind.itemsize
        self.shard = max(1, SHARD_BYTES // self.row_bytes)
        train = rows.splits["train"]
        mixed = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(ORDER_SEED))]
        self.order = torch.cat([mixed, rows.splits["validation"], rows.splits["test"]])
        self.plan = {
            "version": VERSION,
            "source": rows.name,
            "shape": list(self.shape),
            "dtype": self.kind.name,
            "policy": policy,
            "order": digest(self.order),
            "classes": list(rows.class_names),
            "content": rows.content,
        }

    def run(self) -> None:
        """Write what is not written yet, and move it to its place.

        Raises:
            OSError: If it cannot be written.
            ValueError: If a row cannot be read, or what was begun is another pack.
        """
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            with _alone(self.partial):
                self._run()
        except OSError as error:
            reason = FULL.get(error.errno or 0) or error.strerror or str(error)
            raise OSError(f"cannot write {self.partial}: {reason}{self._kept}") from error
        except ValueError as error:
            raise ValueError(f"{error}{self._kept}") from error

    @property
    def _kept(self) -> str:
        whole = max(0, len(read_journal(self.partial / _JOURNAL)) - 2)
        return f"; {whole} whole shards are kept: set it right and run the same again" if whole else ""

    def _run(self) -> None:
        journal = self._journal()
        if len(journal) < 2:
            scaling, missing = self._measured()
            note = {"scaling": None if scaling is None else scaling.to_dict(), "missing": missing}
            journal.append(self._note(note))
        scaling = None if journal[1]["scaling"] is None else Scaling.from_dict(journal[1]["scaling"])
        file = self.partial / IMAGES
        if not file.exists():
            self._make_images(file)
        journal[2:] = self._whole_shards(journal[2:])
        replace_text(self.partial / _JOURNAL, "".join(json.dumps(line) + "\n" for line in journal))
        self._write_shards(journal, scaling)
        self._finish(journal)
        self.partial.rename(self.target)
        for name in (_JOURNAL, _CODES, lock.NAME):
            (self.target / name).unlink(missing_ok=True)

    def _journal(self) -> list[dict[str, Any]]:
        """What was noted before, or a new journal; the plan, the measures, and then a line for each whole shard."""
        found = read_journal(self.partial / _JOURNAL)
        if not found:
            return [self._note(self.plan)]
        if found[0] != self.plan and len(found) <= 2:  # nothing is lost
            for file in (_JOURNAL, IMAGES, _CODES):
                (self.partial / file).unlink(missing_ok=True)
            return [self._note(self.plan)]
        if found[0] != self.plan:
            differs = next((k for k in self.plan if found[0].get(k) != self.plan[k]), "plan")
            raise ValueError(
                f"{self.partial} is an unfinished pack of {found[0].get('source')!r:.60} with another {differs}: run "
                f"the command that began it, or remove that folder"
            )
        return found

    def _note(self, line: dict[str, Any]) -> dict[str, Any]:
        with (self.partial / _JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return line

    def _measured(self) -> tuple[Scaling | None, float]:
        """Scaling of the values, and the share that is missing: one pass over a source of values."""
        if self.grey:
            return None, 0.0
        train, every = (Moments(self.rows.columns) for _ in range(2))
        trained = torch.zeros(self.rows.count, dtype=torch.bool)
        trained[self.rows.splits["train"]] = True
        with self._bar("measuring") as bar:
            for numbers in torch.arange(self.rows.count).split(READ_ROWS):
                x = self.rows.read(numbers.tolist())[0].double()
                check_finite(self.rows.name, x, self.rows.columns, int(numbers[0]))
                every.add(x)
                if bool(trained[numbers].any()):
                    train.add(x[trained[numbers]])
                bar.update(len(x))
        missing = every.missing / every.total
        if self.rows.scaling is not None:
            return self.rows.scaling, missing
        if train.empty():
            what = (
                f"column {self.rows.columns[train.empty()[0]]!r}"
                if self.rows.columns
                else f"channel {train.empty()[0]}"
            )
            raise ValueError(f"{what} of {self.rows.name} has no value among the training rows: leave it out")
        return train.scaling(self.policy), missing

    def _whole_shards(self, noted: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the noted shards, from the first on, that are on the disk as they were noted."""
        images = np.load(self.partial / IMAGES, mmap_mode="c", allow_pickle=False)
        for i, line in enumerate(noted):
            shard = images[i * self.shard : (i + 1) * self.shard]
            if not len(shard) or digest(torch.from_numpy(shard)) != line["digest"]:
                return noted[:i]
        return noted

    def _make_images(self, file: Path) -> None:
        """The file of the images with nothing in it yet.

        Raises:
            OSError: If there is no room for them.
        """
        needed, free = self.rows.count * self.row_bytes, shutil.disk_usage(self.partial).free
        if needed > free:
            raise OSError(
                f"the disk is full: {in_words(needed)} needed, {in_words(free)} free in "
                f"{self.partial.resolve().parent}; make room there"
            )
        np.lib.format.open_memmap(file, "w+", self.kind, self.shape)

    def _write_shards(self, journal: list[dict[str, Any]], scaling: Scaling | None) -> None:
        parts, done = self.order.split(self.shard), len(journal) - 2
        offset = np.load(self.partial / IMAGES, mmap_mode="r").offset
        codes: dict[Any, int] = {}
        for line in journal[2:]:
            codes.update((label, len(codes)) for label in line["labels"])
        with (self.partial / IMAGES).open("r+b") as images, self._bar("packing", done * self.shard) as bar:
            for i in range(done, len(parts)):
                shard, labels = self._shard(parts[i], scaling, bar)
                images.seek(offset + i * self.shard * self.row_bytes)
                _write_through(images, shard.numpy())
                new = [] if labels is None else self._write_codes(labels, codes, i * self.shard)
                journal.append(self._note({"digest": digest(shard), "labels": new}))

    def _shard(self, numbers: Tensor, scaling: Scaling | None, bar: tqdm[Any]) -> tuple[Tensor, list[Any] | None]:
        """Rows as they are written, and their labels if these are not known beforehand."""
        shard = torch.empty(len(numbers), *self.shape[1:], dtype=torch.uint8 if self.grey else torch.float32)
        labels: list[Any] | None = None if self.rows.labels is not None else []
        for some, out in zip(numbers.split(READ_ROWS), shard.split(READ_ROWS), strict=True):
            x, own = self.rows.read(some.tolist())
            if scaling is None or self.rows.scaling is not None:
                out.copy_(x)
            else:
                out.copy_(scaling.apply(x))
                check_fits(self.rows.name, x, out, scaling, self.policy)
            if labels is not None:
                labels += own or []
            bar.update(len(some))
        return shard, labels

    def _write_codes(self, labels: list[Any], codes: dict[Any, int], first: int) -> list[Any]:
        """Write labels as numbers in the order in which they are first seen; returns those that are new."""
        known = len(codes)
        for label in labels:
            codes.setdefault(label, len(codes))
        file = self.partial / _CODES
        file.touch()
        with file.open("r+b") as stream:
            stream.seek(8 * first)
            _write_through(stream, np.array([codes[label] for label in labels], dtype=np.int64))
        return list(codes)[known:]

    def _labels(self, journal: list[dict[str, Any]]) -> tuple[Tensor, tuple[str, ...]]:
        """Class of each row in the order of the pack, and the names of the classes."""
        if self.rows.labels is not None:
            return self.rows.labels[self.order], self.rows.class_names
        seen = [label for line in journal[2:] for label in line["labels"]]
        if all(label is None for label in seen):
            return encode_labels(self.rows.name, None, self.rows.count)
        codes = np.fromfile(self.partial / _CODES, dtype=np.int64)
        return encode_labels(self.rows.name, [seen[code] for code in codes], self.rows.count)

    def _finish(self, journal: list[dict[str, Any]]) -> None:
        """Write all but the images."""
        labels, class_names = self._labels(journal)
        arrays = {LABELS: labels, ROWS: self.order}
        if self.rows.attributes is not None:
            arrays[ATTRIBUTES] = self.rows.attributes[self.order]
        if self.rows.factors is not None:
            arrays[FACTORS] = self.rows.factors[self.order]
        for name, tensor in arrays.items():
            _save(self.partial / name, tensor.numpy())
        manifest = Manifest(
            name=self.rows.name,
            shape=self.shape,
            dtype=self.kind.name,
            **{part: len(self.rows.splits[part]) for part in ("train", "validation", "test")},
            official_validation=self.rows.official_validation,
            class_names=class_names,
            attribute_names=self.rows.attribute_names,
            factor_names=self.rows.factor_names,
            missing=journal[1]["missing"],
            scaling=journal[1]["scaling"],
            shard=self.shard,
            shards=tuple(line["digest"] for line in journal[2:]),
            arrays={name: digest(tensor) for name, tensor in arrays.items()},
        )
        replace_text(self.partial / MANIFEST, manifest.to_text())

    def _bar(self, what: str, done: int = 0) -> tqdm[Any]:
        words, total = f"{what} {self.rows.name}", self.rows.count
        return tqdm(
            desc=words, total=total, initial=min(done, total), unit="row", disable=not self.progress, leave=False
        )


def read_journal(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; a line that was being written when the process ended is none."""
    lines: list[dict[str, Any]] = []
    with suppress(OSError, ValueError):
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            lines.append(json.loads(line))
    return lines


def _write_through(stream: IO[bytes], array: np.ndarray) -> None:
    stream.write(array.tobytes())
    stream.flush()
    os.fsync(stream.fileno())


def _save(file: Path, array: np.ndarray) -> None:
    def write(beside: Path) -> None:
        with beside.open("wb") as stream:
            np.save(stream, array)

    replace_file(file, write)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one who writes to a folder.

    Raises:
        ValueError: If another process does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.locked(folder))
        except lock.InUseError:
            raise ValueError(f"another process is writing {folder}: wait for it, or stop it") from None
        yield
