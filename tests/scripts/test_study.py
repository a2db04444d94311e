"""The study's command line: what cannot be done is said in one line."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "study.py"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--budget", "quik"], "budget must be one of quick, standard, full, got 'quik'; did you mean quick?"),
        (["--only", "[3,18]"], "claims have numbers 1 to 17, got 18"),
        (["--seeds", "[1,1]"], "seeds must be one or more different numbers, got [1, 1]"),
        (["--onli", "[3]"], "there is no option --onli; did you mean --only?"),
    ],
)
def test_mistakes_get_one_line(argv: list[str], message: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["study.py", "--output_dir", str(tmp_path), *argv])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not any(tmp_path.iterdir())
