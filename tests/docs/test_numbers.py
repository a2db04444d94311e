"""Numbers of the pages are those of the measurements, and criteria of the study's page those of its tables."""

import json
import re
import statistics
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

from pyrovae.studies.seeds import experiments

ROOT = Path(__file__).parent.parent.parent
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
CONTENDERS = {
    "graph engine, without a compiler": "pyrovae graph",
    "`pyro.infer.SVI`, images in memory": "pyro.infer.SVI, in memory",
    "`pyro.infer.SVI`, DataLoader, as in Pyro's example": "pyro.infer.SVI, DataLoader",
    "hand-written PyTorch, eager": "PyTorch eager",
    "hand-written PyTorch under `torch.compile`": "PyTorch torch.compile",
    "torch's matrix products alone (the engine has its own on this processor)": "matrix products alone",
}


def cells(text: str) -> dict[str, list[str]]:
    """The rows of all tables of a page, by their first cell."""
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {first.strip(): [cell.strip() for cell in others] for first, *others in rows}


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))], ids=lambda path: path.stem)
def test_no_place_waits_for_a_number(path: Path) -> None:
    assert not re.findall(r"@@\w*@@|TODO|FIXME", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("contender", CONTENDERS)
def test_the_readme_has_the_ratios_that_were_measured(contender: str) -> None:
    said = cells((ROOT / "README.md").read_text(encoding="utf-8"))[contender]
    for name, cell in zip(("svi-speed-cpu", "svi-small-batch-cpu"), said, strict=True):
        ratio = result(name)["tables"][0]["rows"][CONTENDERS[contender]]["ratio_to_ours"]
        assert float(cell) == float(f"{ratio:.2g}"), f"{contender}, {name}: {ratio}"


def test_bounds_on_mnist_are_those_that_were_measured() -> None:
    found = defaultdict(list)
    for run in result("mnist_bounds"):
        found[run["model"], run["latent_dim"]].append(run["bound"])
    text = (DOCS / "measured.md").read_text(encoding="utf-8")
    for (model, n), bounds in found.items():
        assert f"| {model} | {n} | {statistics.mean(bounds):.2f} ± {statistics.stdev(bounds):.2f} |" in text


def test_rates_of_nuts_are_those_that_were_measured() -> None:
    models = result("nuts")["models"]
    names = {
        "eight schools": "schools",
        "logistic regression, 25 covariates": "logistic",
        "Gaussian process, 50 points": "process",
        "hierarchical regression, 100 groups": "hierarchical",
        "10-D code under a decoder": "code",
    }
    columns = [("pyrovae", "pyrovae again", "pyrovae"), ("numpyro", "numpyro"), ("pymc", "pymc"), ("pyro", "pyro")]
    calls = [("cold", "cold", "warm"), *[("cold", "warm")] * 3]
    table = cells((DOCS / "measured.md").read_text(encoding="utf-8"))
    for words, model in names.items():
        for cell, contenders, which in zip(table[words], columns, calls, strict=True):
            for said, contender, call in zip(cell.split(", "), contenders, which, strict=True):
                rate = statistics.median(run[f"{call}_ess"] / run[f"{call}_s"] for run in models[model][contender])
                assert float(said.replace(",", "")) == pytest.approx(rate, abs=0.51 if rate > 1 else 0.051)


def test_the_study_has_its_criteria_and_counts_its_verdicts() -> None:
    statements = [
        statement
        for module in iter_modules(experiments.__path__)
        for statement in getattr(import_module(f"{experiments.__name__}.{module.name}"), "CLAIMS", ())
    ]
    text = (DOCS / "study.md").read_text(encoding="utf-8")
    rows = {name.removesuffix(" †"): others for name, others in cells(text).items() if len(others) == 4 and name}
    assert {s.number: s.criterion for s in statements} == {number: row[2] for number, row in rows.items()}
    count = Counter(row[3] for row in rows.values())
    said = f"{count['holds']} claims hold, {count['does not hold']} do not, {count['undecided']} is\nundecided"
    assert said in text
    assert f"{len(statements)} claims" in text
