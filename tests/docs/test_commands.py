"""Every command line in the pages, the notebooks and the docstrings of commands is one that its command takes."""

import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pyrovae.cli.commands import COMMANDS
from pyrovae.factory.parser import Parser
from pyrovae.program import script_of
from pyrovae.runs.training import parse_training

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
OWN = {script_of(name): name for name in COMMANDS}
CALL = re.compile(
    r"(?:^|`|\s)(pyrovae (?:" + "|".join(COMMANDS) + r")|(?:python |torchrun [^`\n]*?)(?:\.\./|scripts/)(\w+)\.py"
    r"|torchrun [^`\n]*?-m pyrovae (\w+))([^`\n]*)"
)
"""How a command is called: by its name, by its script, or by several processes."""
PROSE = r"\s{2,}#.*|[.,;:)]$|\s[…>].*|\s\[--.*"
"""What follows a command line: remarks, full stops, and what may be left out."""


class Parsed(Exception):  # noqa: N818 - no error
    """The command line was understood."""


def texts() -> dict[str, str]:
    """Pages, notebooks and docstrings, by their names."""
    found = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells)
    for command in COMMANDS.values():
        found[command.module] = import_module(f"pyrovae.cli.{command.module}").__doc__ or ""
    return found


def calls() -> list[tuple[str, str, str]]:
    """Where each command line is, its command, and its words."""
    found = set()
    for place, text in texts().items():
        for whole, script, several, words in CALL.findall(text.replace("\\\n", " ")):
            name = OWN.get(script) or several or whole.removeprefix("pyrovae ")
            if ("--" in words or "runs/" in words) and "help" not in words and name != "list":
                found.add((place, name, re.sub(PROSE, "", re.sub(PROSE, "", words)).strip()))
    return sorted(found)


def test_there_are_command_lines() -> None:
    assert len(calls()) > 100
    assert {name for _, name, _ in calls()} >= set(COMMANDS) - {"completion", "list"}


@pytest.mark.parametrize(("place", "name", "words"), calls())
def test_a_command_takes_its_words(place: str, name: str, words: str, tmp_path: Path, monkeypatch) -> None:
    if "my.yaml" in words or re.search(r"hierarchical\.\w|my\w+\.\w", words):
        pytest.skip("a file of the reader's own")
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(re.sub(r"--resume \S+", "", words))
    monkeypatch.setattr(sys, "argv", [f"pyrovae {name}", *arguments])
    if name == "train":
        parse_training(arguments)
        return
    module = import_module(f"pyrovae.cli.{COMMANDS[name].module}")
    parse = Parser.parse_args

    def stop(*given: object, **more: object) -> None:
        if isinstance(given[0], Parser):
            parse(*given, **more)
        raise Parsed

    if name in ("sweep", "search"):  # whose other options are those of a training
        monkeypatch.setattr(module, "training_executor", stop)
    else:
        monkeypatch.setattr(Parser, "parse_args", stop)
    with pytest.raises(Parsed):
        module.main(module.__doc__)
