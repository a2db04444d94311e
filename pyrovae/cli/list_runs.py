"""List the runs of a folder: data, model and parts, size of the code, bound of the test images, age and state.

pyrovae list
pyrovae list runs/study-quick --sort bound
pyrovae list --json

Parts are listed that are not the usual ones. The bound is -ELBO in nats per image with its sampling error; bounds of
other data or pixels are of other things. "(no KL)" stands by the number of an autoencoder, which is its reconstruction
error alone and no bound. Only small files are read.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pyrovae.hints import nearest
from pyrovae.program import command_line, fail
from pyrovae.runs.listing import ListedRun, list_runs

SORTS = {
    "name": lambda run: str(run.path),
    "age": lambda run: -run.changed,
    "bound": lambda run: float("inf") if run.test is None else run.test,
}
"""Orders of the list, by their names."""
AGES = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        words = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized"):
            message = f"there is no option {words[0]}{nearest(words[0], ['--sort', '--json'])}; --help lists them all"
        fail(message)


def main(description: str | None = None) -> None:
    """Read the small files of each run, print a table."""
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", default="runs", help="Folder of runs, or a run; by default runs.")
    parser.add_argument("--sort", choices=SORTS, default="name", help="The order; by default name.")
    parser.add_argument("--json", action="store_true", help="Print all that is known as JSON instead.")
    options = parser.parse_args()
    if options.sort not in tuple(SORTS):  # argparse makes a list of "--"
        fail(f"--sort must be one of {', '.join(SORTS)}, got '--'")
    folder = Path(options.folder)
    runs = sorted(list_runs(folder), key=SORTS[options.sort])
    if options.json:
        print(json.dumps([run.to_dict() for run in runs], indent=1))
        return
    if not runs:
        print(f"{folder} holds no runs; {command_line('train', '--runs_dir', folder)} makes one")
        return
    rows: list[tuple[str, ...]] = [("run", "data", "model", "z", "test -ELBO", "epochs", "state", "age")]
    rows += [_row(run, folder, time.time()) for run in runs]
    print(_table(rows))
    for run in runs:
        if run.trouble:
            print(f"{_name(run, folder)}: {run.trouble}")


def _row(run: ListedRun, folder: Path, now: float) -> tuple[str, ...]:
    """The cells of a run."""
    number = "-" if run.test is None else f"{run.test:.2f}"
    number += "" if run.error is None else f" ± {run.error:.2f}"
    number += f" ({run.score})" if run.score not in (None, "NLL") else ""
    number += " (no KL)" if run.model == "Autoencoder" and run.test is not None else ""
    return (
        _name(run, folder),
        run.data or "?",
        ", ".join([run.model or "?", *run.parts.values()]),
        str(run.latent_dim or "?"),
        number,
        f"{run.epoch}/{run.epochs or '?'}",
        run.state,
        _age(now - run.changed),
    )


def _name(run: ListedRun, folder: Path) -> str:
    """Its path below the folder, or the name of the folder if it is the run; line breaks are escaped."""
    name = str(run.path if run.path == folder else run.path.relative_to(folder))
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in name)


def _age(seconds: float) -> str:
    """Seconds in words: 3 hours."""
    unit, name = next(((unit, name) for unit, name in AGES if seconds >= unit), AGES[-1])
    count = max(0, int(seconds // unit))
    return f"{count} {name}{'' if count == 1 else 's'}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns that are as wide as their widest cell; numbers end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {3, 4, 5}
    lines = (
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
