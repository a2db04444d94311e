"""One training by several processes: what of its command line, its data and its folder they share."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from jsonargparse import Namespace

from pyrovae.data import ImageSet
from pyrovae.digests import digest
from pyrovae.factory.parser import training_parser
from pyrovae.files import replace_text
from pyrovae.runs.training import open_training, parse_training
from pyrovae.training import Processes, RunFolder
from pyrovae.training.processes import is_restart, launch, say

COMPARED = 256
"""Images whose content processes compare."""
LAUNCH = "launch.json"
"""File of a run by which a restart finds it."""


def parse_shared(processes: Processes, description: str | None) -> Namespace:
    """Parse the command line; where torchrun has restarted the processes, that of a resumption of their run."""
    arguments = parse_training(description=description)
    if processes.size == 1 or not is_restart() or arguments.resume is not None:
        return arguments
    found = processes.from_first(_run_of(launch(), Path(arguments.runs_dir)) if processes.is_first else None)
    if found is None:
        return arguments
    say(processes, f"restarted by torchrun: going on with {found}")
    return parse_training(["--resume", found], description)


def _run_of(wanted: str | None, parent: Path) -> str | None:
    """The folder of the run that a launch has begun."""
    for path in sorted(parent.rglob(LAUNCH)) if parent.is_dir() else []:
        try:
            launched = json.loads(path.read_text(encoding="utf-8")).get("launch")
        except (OSError, ValueError, AttributeError):
            continue
        if wanted is not None and launched == wanted and RunFolder(path.parent).config.exists():
            return str(path.parent)
    return None


def facts_of(arguments: Namespace, data: ImageSet) -> dict[str, str]:
    """What must be the same in all processes."""
    step = max(1, len(data.images) // COMPARED)
    content = {"labels": data.labels, "images": data.images[::step][:COMPARED].contiguous()}
    facts = {name: version(name) for name in ("pyrovae", "torch", "pyro-ppl")}
    facts["Python"] = ".".join(platform.python_version_tuple()[:2])
    facts["settings"] = training_parser().dump(arguments, skip_unset=False)
    facts["data"] = f"{len(data.images)} images of digest {digest(content)[-12:]}"
    return facts


@contextmanager
def open_shared(processes: Processes, arguments: Namespace, data: ImageSet) -> Iterator[tuple[RunFolder, bool]]:
    """The folder of a training, see `open_training`: the first process opens it, the others are told of it.

    Yields:
        The folder, and whether there is a checkpoint to go on from.

    Raises:
        ValueError: If the folder is taken or in use.
    """
    if not processes.is_first:
        path, resume = processes.from_first(None)
        yield RunFolder(Path(path)), resume
        return
    with open_training(arguments, data) as (folder, resume):
        processes.from_first([str(folder.path), resume])
        if processes.size > 1 and launch() is not None:
            replace_text(folder.path / LAUNCH, json.dumps({"launch": launch()}) + "\n")
        say(processes, f"run: {folder.path}")
        yield folder, resume
