"""The table in docs/engine.md names every class of change, and its closed list every program left to the check."""

import re
from pathlib import Path

from changes import CASES

PAGE = (Path(__file__).parents[2] / "docs" / "engine.md").read_text(encoding="utf-8")


def test_every_class_of_change_has_a_row_and_every_row_a_class():
    table = PAGE.split("| class | what happens |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([a-zA-Z ]+) \| \S", table, flags=re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {case.class_ for case in CASES}


def test_the_closed_list_names_programs_that_exist():
    listed = re.findall(r"`(\w+)`", PAGE.split("closed list:")[1].split("##")[0])
    assert set(listed) <= {case.name for case in CASES if case.beyond}
