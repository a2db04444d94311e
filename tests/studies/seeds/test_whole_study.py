"""The whole study at its smallest, and its report in a browser."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium

from pyrovae.studies.seeds import BUDGETS, Claim, run_study
from pyrovae.studies.seeds.report import claims_markdown
from pyrovae.studies.seeds.run import choose

VERDICTS = {"holds", "does not hold", "undecided", "skipped"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Claim]]:
    folder = tmp_path_factory.mktemp("study")
    return folder, run_study(BUDGETS["quick"], folder, device="cpu", progress=False)


class Addresses(HTMLParser):
    """Everything in a page that names another file, and its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action", "poster") and v]
        if tag == "img":
            self.pictures.append(dict(attrs))


def test_every_claim_has_a_verdict_from_values(study: tuple[Path, list[Claim]]) -> None:
    folder, claims = study
    assert {claim.number.rstrip("abcdefg") for claim in claims} == {str(k) for k in range(1, 18)}
    assert {claim.verdict for claim in claims} <= VERDICTS
    assert all(claim.values or claim.number == "3c" for claim in claims if claim.verdict != "skipped")
    kept = json.loads((folder / "claims.json").read_text())
    assert [c["number"] for c in kept] == [c.number for c in claims]
    assert claims_markdown(claims).count("\n") == len(claims) + 1


def test_the_report_needs_nothing_else(study: tuple[Path, list[Claim]]) -> None:
    text = (study[0] / "report.html").read_text()
    page = Addresses(text)
    assert all(address.startswith(("data:", "#")) for address in page.found)
    assert len(page.pictures) > 20
    assert all(picture["alt"] for picture in page.pictures)
    assert "url(" not in text.split("</style>")[0]
    assert "@import" not in text
    assert "<script" not in text


def test_a_second_time_nothing_is_trained(study: tuple[Path, list[Claim]], monkeypatch) -> None:
    folder, claims = study
    monkeypatch.setattr("pyrovae.runs.jobs.Job.train", None)
    before = (folder / "report.html").read_text()
    again = run_study(BUDGETS["quick"], folder, device="cpu", only=[3], progress=False)
    assert [c for c in claims if c.number.startswith("3")] == again
    (folder / "report.html").write_text(before)


@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_opens_the_report(study: tuple[Path, list[Claim]], tmp_path: Path, width: int) -> None:
    browser = Chromium(tmp_path)
    try:
        browser.open(study[0] / "report.html", width)
        sizes = browser.run("Array.from(document.images, i => [i.complete, i.naturalWidth])")
        assert len(sizes) > 20
        assert all(complete and natural > 0 for complete, natural in sizes)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []
        assert sum(url.startswith("file:") for url in browser.requests()) == 1
        assert browser.complaints() == []
    finally:
        browser.close()


def test_some_claims_can_be_chosen() -> None:
    assert [experiment.number for experiment in choose([5, 4])] == [4, 5]
    with pytest.raises(ValueError, match="claims have numbers 1 to 17, got 0"):
        choose([0])


def test_without_jinja_nothing_is_trained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ValueError, match=r"needs jinja2: pip install 'pyrovae\[study\]'"):
        run_study(BUDGETS["quick"], tmp_path)
    assert not list(tmp_path.iterdir())
