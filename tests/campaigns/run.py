"""Every campaign from one seed, and its counts as JSON.

    python tests/campaigns/run.py --seed 1 --files 500 --kills 100 --output counts.json

Ends with status 1 if anything went wrong.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "benchmarks")]

from campaigns import files, kills  # noqa: E402
from surroundings import surroundings  # noqa: E402

CAMPAIGNS: dict[str, Callable[..., Any]] = {"files": files.main, "kills": kills.main}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=500, help="Damaged runs.")
    parser.add_argument("--kills", type=int, default=100, help="Trainings that are killed, up to three times each.")
    parser.add_argument("--output", type=Path, help="Where the counts go, beside those that are there.")
    options = parser.parse_args()
    failures = []
    for name, campaign in CAMPAIGNS.items():
        began = time.monotonic()
        report = campaign(options.seed, getattr(options, name), say=True)
        failures += report.failures
        row = {
            "campaign": name,
            "seed": options.seed,
            "cases": getattr(options, name),
            "outcomes": dict(sorted(report.outcomes.items())),
            "failures": report.failures,
            "minutes": round((time.monotonic() - began) / 60, 1),
        }
        if options.output:
            _keep(options.output, row)
    print("\n".join(failures) or "nothing went wrong")
    raise SystemExit(bool(failures))


def _keep(path: Path, row: dict[str, Any]) -> None:
    """Add the counts of a campaign to a file, in place of those of the same seed."""
    known = json.loads(path.read_text()) if path.exists() else []
    known = [other for other in known if (other["campaign"], other["seed"]) != (row["campaign"], row["seed"])]
    path.write_text(json.dumps([*known, row | surroundings()], indent=1) + "\n")


if __name__ == "__main__":
    main()
