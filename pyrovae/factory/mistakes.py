"""Error messages of the command line, in one line with the closest name and the choices."""

import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from jsonargparse import Namespace

from pyrovae.factory.names import BASES, OURS, arguments_of, part_classes, part_names
from pyrovae.hints import nearest


def fail(message: str) -> NoReturn:
    """Print one line to standard error and exit with status 2."""
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def check_arguments(defaults: Namespace, words: list[str]) -> None:
    """Find an argument that its part does not have."""
    if any(word.startswith(("--config", "--resume")) for word in words):
        return  # the file may name another class than the default
    for word in words:
        slot, _, argument = word.removeprefix("--").partition("=")[0].rpartition(".")
        kind = slot.rpartition(".")[2]
        if not word.startswith("--") or kind not in BASES or argument == "help":
            continue
        default = defaults.get(f"{slot.replace('model.', 'model.init_args.')}.class_path")
        given = [after for before, after in pairwise(words) if before == f"--{slot}"]
        given += [other.partition("=")[2] for other in words if other.startswith(f"--{slot}=")]
        name = given[-1] if given else default or ""
        cls = next((cls for cls in part_classes(kind) if cls.__name__ == name.rpartition(".")[2]), None)
        if cls is None or ("." in name and not name.startswith(OURS)):
            continue
        names = arguments_of(cls)
        if argument not in names:
            listed = ", ".join(names) or "none"
            fail(f"{cls.__name__} has no argument {argument!r}{nearest(argument, names)}; it takes: {listed}")


def clear(message: str, options: list[str]) -> str:
    """Shorten a message of jsonargparse to one line with the closest name and the choices."""
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown:
        name = unknown[1].partition("=")[0]
        return f"there is no option {name}{nearest(name, options)}; --help lists them all"
    slots = re.findall(r'[Kk]ey "([\w.]+)"', message)
    slot = slots[-1].rpartition(".")[2] if slots else ""
    part = re.search(r"Expected a dot import path string: (\S+)", message)
    part = part or re.search(r"module '[\w.]+' has no attribute '(\w+)'", message)
    if part and slot in BASES:
        names = part_names(slot)
        listed = ", ".join(names) if slot != "activation" else "any module of torch.nn"
        return (
            f"there is no {slot} {part[1]!r}{nearest(part[1], names)}; there are: {listed}; or module.Class of your own"
        )
    choices = re.search(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (\S+)", message)
    if choices:
        names = re.findall(r"'([^']+)'", choices[1])
        return f"{slot} must be one of {', '.join(names)}, got {choices[2]!r}{nearest(choices[2], names)}"
    single = re.search(r"Expected a <class 'collections\.abc\.Sequence'>\. Got value: (.+?)(\. Got|$)", message, re.M)
    if slot and single:
        return f"{slot} must be a list, got {single[1]!r}: write [{single[1].strip('()[], ')}]"
    given = re.search(r"Given value: (\S+)", message) or re.search(r"Got value: (\S+)", message)
    kinds = list(dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", message)))
    if slot and given and kinds:
        wanted = " or ".join("none" if kind == "NoneType" else kind for kind in kinds)
        return f"{slot} must be {wanted}, got {given[1]!r}"
    return message.replace("Parser key", "option")
