"""What a campaign knows without the code under test: bits of weights and numbers, read by other means."""

import argparse
import json
import re
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

LEFTOVER = re.compile(r"pyrovae-tmp|\.tmp")


@dataclass
class Report:
    """The count of each outcome, and what went wrong in words."""

    outcomes: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def run_from_command_line(campaign: Callable[..., Report], cases: int) -> NoReturn:
    """Run a campaign with the seed and the number of cases that the command line says; status 1 if anything failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=cases)
    options = parser.parse_args()
    found = campaign(options.seed, options.cases, say=True)
    print(json.dumps({"seed": options.seed, "cases": options.cases, "outcomes": found.outcomes}, indent=1))
    print("\n".join(found.failures) or "nothing went wrong")
    raise SystemExit(bool(found.failures))


def tensors_of(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of each tensor of a safetensors file, by the format's own rules."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    body = content[8 + length :]
    return {
        name: (entry["dtype"], tuple(entry["shape"]), body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def timeless_metrics(path: Path) -> list[str]:
    """The lines of a metrics.csv without speed and time, its last two columns."""
    return [line.rsplit(",", 2)[0] for line in path.read_text(encoding="utf-8").splitlines()]


def result_of(run: Path) -> dict[str, object]:
    """What a finished run must be equal in, to the bit, to one that was never disturbed."""
    return {
        "last": tensors_of(run / "model.safetensors"),
        "best": tensors_of(run / "model.best.safetensors"),
        "metrics": timeless_metrics(run / "metrics.csv"),
    }


def differences(found: dict[str, object], truth: dict[str, object]) -> list[str]:
    """Names of the entries that are not equal."""
    return [name for name in truth if found[name] != truth[name]]


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if LEFTOVER.search(path.name)]


def is_refusal(status: int, stderr: str) -> bool:
    """Whether a command refused as it should: status 2 and one line."""
    return status == 2 and stderr.count("\n") == 1 and "Traceback" not in stderr
