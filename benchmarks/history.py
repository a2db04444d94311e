"""The history of the benchmark: a line a release, and whether the newest is slower than the one before.

    python benchmarks/history.py                       # compare the two newest lines; exit status 1 if one is slower
    python benchmarks/history.py --add 0.2.0           # first append what `svi_speed.py` has written into results/

A line holds ratios, (time of a contender) / (time of the compiled engine), of rounds on one machine: the machine's own
speed cancels, and milliseconds of two days are never compared. A ratio has a standard error, from the spread of the
rounds, and has fallen if that is more than three standard errors of the difference and 3 %. The engine is slower where
the ratios of all contenders have fallen: other work on the machine slows one contender more than another.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HISTORY = RESULTS / "history.jsonl"
MEASUREMENTS = ("svi-speed-cpu", "svi-small-batch-cpu", "svi-speed-cuda", "svi-small-batch-cuda")
OURS = "pyrovae compiled"
CONTENDERS = ("PyTorch eager", "NumPyro fori_loop")
ERRORS, SHARE = 3.0, 0.03
QUARTILE = 0.6745
"""Of the normal distribution: half the distance between the quartiles, in standard deviations."""
OF_A_MEDIAN = math.sqrt(math.pi / 2)
"""Standard error of a median, in standard errors of a mean."""


def ratios(measured: Mapping[str, Any]) -> dict[str, list[float]]:
    """Each contender's ratio to the compiled engine, and its standard error.

    Args:
        measured: What `svi_speed.py` writes for one problem.
    """
    table = measured["tables"][0]
    rows = table["rows"]

    def relative(name: str) -> float:
        deviation = rows[name]["spread_ms"] / QUARTILE
        return OF_A_MEDIAN * deviation / math.sqrt(table["rounds"]) / rows[name]["median_ms"]

    found = {}
    for name in CONTENDERS:
        if name in rows:
            ratio = rows[name]["ratio_to_ours"]
            found[name] = [round(ratio, 4), round(ratio * math.hypot(relative(name), relative(OURS)), 4)]
    return found


def line_of(release: str, results: Path) -> dict[str, Any]:
    """A line of the history, from the files of results that there are.

    Raises:
        ValueError: If there is none.
    """
    found: dict[str, Any] = {}
    for name in MEASUREMENTS:
        path = results / f"{name}.json"
        if path.exists():
            measured = json.loads(path.read_text(encoding="utf-8"))
            machine = measured["machine"]
            of = {"device": machine["device"], "threads": machine["threads"], "torch": machine["torch"]}
            found[name] = {**of, "ratios": ratios(measured)}
    if not found:
        raise ValueError(f"{results} has none of {', '.join(MEASUREMENTS)}: run svi_speed.py first")
    return {"release": release, "measured": found}


def read(history: Path) -> list[dict[str, Any]]:
    """All lines, the oldest first.

    Raises:
        ValueError: If one is no line of a history.
    """
    lines = []
    for number, text in enumerate(history.read_text(encoding="utf-8").splitlines() if history.exists() else [], 1):
        try:
            line = json.loads(text)
            lines.append({"release": line["release"], "measured": line["measured"]})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{history}, line {number} is no line of a history: {text[:60]}") from error
    return lines


def compare(older: Mapping[str, Any], newer: Mapping[str, Any]) -> tuple[list[str], bool]:
    """What has changed from one line to another, in words, and whether anything is slower.

    Measurements on other devices or numbers of threads are not compared, and neither are contenders of one alone.
    """
    said, slower = [], False
    for name, now in newer["measured"].items():
        before = older["measured"].get(name)
        if before is None or any(before[what] != now[what] for what in ("device", "threads")):
            said.append(f"{name}: not measured before on {now['device']} with {now['threads']} threads")
            continue
        fallen = []
        for contender in sorted(now["ratios"].keys() & before["ratios"].keys()):
            (old, old_error), (new, error) = before["ratios"][contender], now["ratios"][contender]
            noise = max(ERRORS * math.hypot(old_error, error), SHARE * old)
            fallen.append(new < old - noise)
            word = "fallen" if fallen[-1] else "risen" if new > old + noise else "as before"
            said.append(f"{name}: {contender} / ours was {old:.2f} and is {new:.2f} (noise {noise:.2f}): {word}")
        if any(fallen):
            all_of_them = "SLOWER than before" if all(fallen) else "in doubt, measure again on a machine at rest"
            said.append(f"{name}: {all_of_them}")
        slower = slower or (bool(fallen) and all(fallen))
    return said, slower


def main(words: Sequence[str] | None = None) -> int:
    """Add a line if asked to, compare the two newest, and say by the exit status whether one is slower."""
    parser = argparse.ArgumentParser(description="The history of the benchmark.")
    parser.add_argument("--add", metavar="RELEASE", help="append what was measured under the name of this release")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of what svi_speed.py has written")
    parser.add_argument("--history", type=Path, default=HISTORY)
    options = parser.parse_args(words)
    try:
        lines = read(options.history)
        if options.add in [line["release"] for line in lines]:
            parser.error(f"argument --add: {options.history} has a line of {options.add} already; a release has one")
        if options.add is not None:
            lines.append(line_of(options.add, options.results))
            whole = "".join(json.dumps(line) + "\n" for line in lines)
            beside = options.history.with_suffix(".part")
            beside.write_text(whole, encoding="utf-8")
            beside.replace(options.history)
    except ValueError as error:
        parser.error(str(error))
    if len(lines) < 2:
        print(f"{options.history} has {len(lines)} lines: nothing to compare yet")
        return 0
    said, slower = compare(*lines[-2:])
    print(f"{lines[-2]['release']} -> {lines[-1]['release']}", *said, sep="\n")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
