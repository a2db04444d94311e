"""The report: a self-contained page of HTML."""

from __future__ import annotations

import base64
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pyrovae.data import ImageSet
from pyrovae.estimates import Estimate
from pyrovae.files import replace_text
from pyrovae.studies.seeds.budgets import Budget, Recipe
from pyrovae.studies.seeds.claims import Claim
from pyrovae.studies.seeds.quotations import QUOTATIONS
from pyrovae.studies.seeds.runs import read_test
from pyrovae.training import RunFolder


@dataclass(frozen=True, eq=False)
class Section:
    """One experiment in the report.

    Attributes:
        number: Its number.
        title: Its heading.
        claims: Its decided claims.
        pictures: File, caption and alternative text of each figure.
    """

    number: int
    title: str
    claims: Sequence[Claim]
    pictures: Sequence[tuple[Path, str, str]]


def write_report(
    path: Path,
    budget: Budget,
    data: ImageSet,
    sections: Sequence[Section],
    runs: Sequence[tuple[Recipe, RunFolder]],
    classifier: Estimate,
) -> None:
    """Write the page.

    Args:
        path: Its file.
        budget: Sizes and lengths of the study.
        data: Its images.
        sections: Its experiments.
        runs: Its trainings and their folders.
        classifier: Accuracy of the classifier on test images.
    """
    jinja2 = jinja()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"data_uri": data_uri, "is_wide": is_wide, "unbroken": unbroken}
    claims = [claim for section in sections for claim in section.claims]
    verdicts = [claim.verdict for claim in claims]
    page = environment.get_template("report.html.jinja").render(
        budget=budget,
        data=data,
        sections=sections,
        claims=claims,
        quotations=QUOTATIONS,
        counts={verdict: verdicts.count(verdict) for verdict in dict.fromkeys(sorted(verdicts))},
        runs=[_row(recipe, folder) for recipe, folder in runs],
        classifier=classifier.percent,
        machine=f"{platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'}",
        versions=f"pyrovae {version('pyrovae')}, torch {torch.__version__}, Python {platform.python_version()}",
    )
    replace_text(path, page)


def jinja() -> Any:
    """The package jinja2, which only this report needs.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ValueError("the report of a study needs jinja2: pip install 'pyrovae[study]'") from error
    return jinja2


def data_uri(path: Path) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def unbroken(text: str) -> str:
    """Words whose values and errors stay in one line."""
    return re.sub(r" (=|±|%) ?", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}", 1 + (found[1] != "%")), text)


def is_wide(path: Path) -> bool:
    """Whether a picture is so much wider than high that a narrow screen should let it be moved sideways."""
    width, height = Image.open(path).size
    return width > 1.3 * height


def claims_json(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """The claims as plain containers."""
    return [
        asdict(claim) | {"values": {name: {"mean": v.value, "error": v.error} for name, v in claim.values.items()}}
        for claim in claims
    ]


def claims_markdown(claims: Sequence[Claim]) -> str:
    """The table of claims in Markdown."""
    lines = ["| | the document says | measured | holds if | verdict |", "|---|---|---|---|---|"]
    for claim in claims:
        measured = claim.remark if claim.verdict == "skipped" else f"{claim.quantity}: {claim.measured}"
        says = "<br>".join([claim.says, *(f"*{quotation}*" for quotation in QUOTATIONS.get(claim.number, ()))])
        cells = claim.number, says, measured, claim.criterion, claim.verdict
        lines.append(f"| {' | '.join(cells)} |".replace("\n", " "))
    return "\n".join(lines)


def _row(recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    rows, test = folder.rows(), read_test(folder)
    return {
        "name": recipe.name,
        "options": re.findall(r"--\S+(?: (?!--)\S+)*", " ".join(recipe.options)),
        "epochs": f"{int(rows[-1]['epoch'])}",
        "seconds": f"{rows[-1]['seconds']:,.0f}",
        "reconstruction": f"{test['reconstruction']:.2f}",
        "kl": f"{test['kl']:.2f}",
        "score": test["score"],
    }
