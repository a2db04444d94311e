"""The table of jobs: what the folders say, alive on a terminal and in lines elsewhere."""

import io
import os
from pathlib import Path

import pytest

from pyrovae.runs.job import Job, Length
from pyrovae.runs.job_table import JobTable, Row, duration
from pyrovae.training import RunFolder

HEADER = "epoch,step,train_negative_elbo,validation_negative_elbo,seconds"


def write(job: Job, *bounds: float) -> None:
    """The metrics of so many epochs of ten steps and two seconds."""
    job.folder.path.mkdir(exist_ok=True)
    job.folder.checkpoint.touch()
    rows = [f"{i},{10 * i},99,{bound},{2 * i}" for i, bound in enumerate(bounds, 1)]
    job.folder.metrics.write_text("\n".join([HEADER, *rows]) + "\n")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    jobs = [Job(RunFolder(tmp_path / name), (), cost=cost) for name, cost in (("a", 1), ("b", 3), ("c", 1))]
    write(jobs[0], 40.0, 30.5, 31.0)
    write(jobs[1], 50.0)
    found = [Row(job, Length(10, 100)) for job in jobs]
    found[0].state = found[1].state = "running"
    for row in found:
        row.look()
    return found


def test_how_far_a_job_is_by_its_folder(rows: list[Row]) -> None:
    assert [row.cells() for row in rows] == [
        ("a", "running", "3/10", "30.50", "14 s"),
        ("b", "running", "1/10", "50.00", "18 s"),
        ("c", "waiting", "0/10", "-", ""),
    ]
    assert [row.work for row in rows] == [(30.0, 100.0), (30.0, 300.0), (0.0, 100.0)]
    rows[0].state = "failed"
    assert rows[0].work == (100.0, 100.0)
    assert rows[0].left is None


def test_the_bound_is_the_one_that_is_trained(rows: list[Row]) -> None:
    lines = f"{HEADER},validation_negative_bound\n1,10,99,40.0,2,39.0\n2,20,99,45.0,4,35.0\n"
    rows[0].job.folder.metrics.write_text(lines)
    rows[0].look()
    assert rows[0].standing.bounds == (39.0, 35.0)
    rows[0].job.folder.metrics.write_text("epoch,step,train_negative_elbo,seconds\n1,10,99,2\n")
    rows[0].look()
    assert rows[0].standing.bounds == (99.0,)


def test_metrics_are_read_again_when_they_were_written(rows: list[Row]) -> None:
    write(rows[1].job, 50.0, 45.0)
    rows[1].look()
    assert rows[1].standing.epoch == 2
    rows[1].job.folder.metrics.write_text("nonsense")
    rows[1].look()
    assert (rows[1].standing.epoch, rows[1].standing.best) == (0, None)


def test_lines_where_there_is_no_terminal(rows: list[Row], capsys) -> None:
    table = JobTable(rows, expected=5)
    table.show()
    table.show()
    first = capsys.readouterr().out.splitlines()
    assert len(first) == 1
    assert first[0].split()[0] == "9%"  # 60 of 700
    assert "0/5 runs" in first[0]
    assert "a 3/10 30.50 b 1/10 50.00" in first[0]
    rows[0].state = "done"
    table.say("a word")
    table.show()
    table.end()
    last = capsys.readouterr().out.splitlines()
    assert last[0] == "a word"
    assert "1/5 runs" in last[1]
    assert [line.split() for line in last[2:]] == [
        ["run", "state", "epochs", "best", "bound"],
        ["a", "done", "3/10", "30.50"],
        ["b", "running", "1/10", "50.00"],
        ["c", "waiting", "0/10", "-"],
    ]


def test_nothing_is_shown_where_nobody_wants_it(rows: list[Row], capsys) -> None:
    table = JobTable(rows, enabled=False)
    table.show()
    table.say("a word")
    table.end()
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_table_that_is_drawn_over(tmp_path: Path, rows: list[Row], monkeypatch) -> None:
    """No more lines than fit, and each no longer than the terminal is wide."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *fallback, **named: os.terminal_size((40, 12)))
    many = [Row(Job(RunFolder(tmp_path / f"more-{i}"), ()), Length(10, 100)) for i in range(30)]
    table = JobTable(rows + many)
    table.show()
    drawn = terminal.getvalue().splitlines()
    assert len(drawn) == 11
    assert max(map(len, drawn)) <= 39
    assert drawn[-2] == "and 25 more"
    before = len(terminal.getvalue())
    rows[2].state = "running"
    table.show()
    assert terminal.getvalue()[before:].startswith("\x1b[11F\x1b[J")


def test_a_table_that_nobody_can_read_stops_nothing(rows: list[Row], monkeypatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("gone")

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Closed())
    monkeypatch.setattr("sys.stdout", Closed())
    table = JobTable(rows)
    table.show()
    table.say("a word")
    table.end()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (9e4, "25 h 0 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
