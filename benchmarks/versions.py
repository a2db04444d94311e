"""Pass tests with the versions of this environment, and keep which they were, how many passed, and how long it took.

make lowest && .venv-lowest/bin/python benchmarks/versions.py lowest
make newest && .venv-newest/bin/python benchmarks/versions.py newest
"""

import argparse
import json
import platform
import re
import sys
import time
import tomllib
from collections import Counter
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "versions.json"
TESTS = (
    "tests/engine/test_engine_parity.py",
    "tests/engine/test_compat.py",
    "tests/test_parts.py",
    "tests/test_models.py",
    "tests/runs/test_config.py",
    "tests/diagnostics/test_export.py",
)


class Counts:
    """A pytest plugin that counts the tests by their outcome."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1


def direct_versions() -> dict[str, str]:
    """The version of each package that pyproject.toml names as a dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w-]+", line).group() for line in project["dependencies"]]
    return {name: version(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="What these versions are called, such as lowest.")
    parser.add_argument("tests", nargs="*", default=list(TESTS), help="Files of tests.")
    parser.add_argument("--workers", default="0", help="Processes of pytest-xdist.")
    options = parser.parse_args()

    counts, started = Counts(), time.perf_counter()
    pytest.main(["-q", "-n", options.workers, "-p", "no:cacheprovider", *options.tests], plugins=[counts])
    found = {
        "python": platform.python_version(),
        "versions": direct_versions(),
        "tests": options.tests,
        **{outcome: counts.outcomes[outcome] for outcome in ("passed", "failed", "skipped")},
        "seconds": round(time.perf_counter() - started),
        "date": date.today().isoformat(),
    }
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(kept | {options.name: found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(counts.outcomes["failed"] > 0)


if __name__ == "__main__":
    main()
