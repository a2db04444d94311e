"""The pages of the site: their links, what they load, their code; and every part has a page."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pyro
import pytest

from pyrovae.factory.names import part_names

ROOT = Path(__file__).parent.parent.parent
DOCS, SITE = ROOT / "docs", ROOT / "docs" / "_build" / "html"
PAGES = sorted([*DOCS.glob("*.md"), *(DOCS / "howto").glob("*.md")])
WITH_CODE = [DOCS / "start.md", DOCS / "nuts.md", *(DOCS / "howto").glob("*.md")]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
built = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site is not built: make docs")


class Page(HTMLParser):
    """What a page of HTML links to, what it loads, and the places in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places |= {value for name in ("id", "name") if (value := found.get(name))}
        loaded = found.get(LOADED.get(tag, ""))
        if loaded and not (tag == "link" and found.get("rel") in ("canonical", "author")):
            self.loaded.append(loaded)
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))


def dead_links(site: Path) -> Iterator[str]:
    """Links to pages, files and places that are not there."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if path.name != "explorer.html"}
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            address, place = urldefrag(link)
            if urlsplit(link).scheme in ("http", "https", "mailto", "data"):
                continue
            target = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
            if not target.exists() or (place and target in pages and unquote(place) not in pages[target].places):
                yield f"{path.name}: {link}"


@built
def test_every_link_inside_of_the_site_is_alive() -> None:
    assert len(list(SITE.rglob("*.html"))) > 60
    assert not list(dead_links(SITE))


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text('<a href="two.html#here">x</a> <a href="gone.html">y</a> <a href="#no">z</a>')
    (tmp_path / "two.html").write_text('<p id="there">')
    assert sorted(dead_links(tmp_path)) == ["one.html: #no", "one.html: gone.html", "one.html: two.html#here"]


@built
def test_the_site_loads_nothing_from_another_host() -> None:
    pages = [path for path in SITE.rglob("*.html") if path.name != "explorer.html"]
    assert not [(path.name, a) for path in pages for a in Page(path).loaded if re.match(r"(https?:)?//", a)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_links_to_is_there(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file = link.partition("#")[0]
        if file and "://" not in link and not file.startswith("notebooks/"):
            assert (path.parent / file.replace("../notebooks/", "../../notebooks/")).exists(), link


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md", *sorted(ROOT.glob("C*.md"))], ids=lambda path: path.stem)
def test_no_line_of_a_page_is_a_comment_to_the_site(path: Path) -> None:
    """MyST leaves out lines that begin with a percent sign, and takes three plus signs for a border."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.findall(r"^(?:%|\+\+\+).*", text, flags=re.MULTILINE)


@pytest.mark.parametrize("kind", ["prior", "likelihood", "posterior", "objective", "encoder", "decoder"])
def test_every_part_has_a_row_that_says_when(kind: str) -> None:
    """Of the table from which the site makes the pages of the parts."""
    rows = [line for line in (DOCS / "parts.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for name in part_names(kind):
        found = [row for row in rows if f"`{name}`" in row.split(" | ")[0] and belongs(row, kind)]
        assert len(found) == 1, f"{name} has {len(found)} rows"
        (row,) = found
        assert len(row.rstrip("| ").rpartition("|")[2].strip()) > 5, f"{name} does not say when"


def belongs(row: str, kind: str) -> bool:
    """Whether a row is in the section of a kind; priors and posteriors share names."""
    text = (DOCS / "parts.md").read_text(encoding="utf-8")
    section = text[: text.index(row)].rpartition("\n## ")[2].splitlines()[0].lower()
    return section.startswith({"encoder": "network", "decoder": "network"}.get(kind, kind))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Estimated shape")  # by ArviZ, of a guide that nuts.md compares with the truth
@pytest.mark.filterwarnings("ignore:The inplace keyword")  # its own, of pandas
@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(path), "exec"), names)  # the page is ours
    pyro.clear_param_store()


def test_the_modules_of_the_api_are_there() -> None:
    """Each public package of the library has a page, but those that serve the command line alone."""
    text = (DOCS / "_ext" / "generated_pages.py").read_text(encoding="utf-8")
    with_page = set(
        re.findall(r'^    "([\w.]+)": "', text.partition("PACKAGES = {")[2].partition("\n}")[0], re.MULTILINE)
    )
    for path in (ROOT / "pyrovae").glob("*/__init__.py"):
        name = path.parent.name
        if name not in ("cli", "factory", "studies"):
            assert name in with_page, f"pyrovae.{name} has no page: add it to PACKAGES of docs/_ext/generated_pages.py"
            assert import_module(f"pyrovae.{name}").__doc__
