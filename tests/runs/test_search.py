"""A search: what it chooses by, what it leaves behind, who may go on with it, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyrovae.cli.main import main
from pyrovae.runs.search import search_runs
from pyrovae.runs.space import Space
from pyrovae.runs.trials import JOURNAL, SETTINGS, Claimed, TrialBook

SMALL = ("--data", "digits", "--epochs", "2", "--engine", "pyro", "--model.encoder.hidden", "[8]")
SPACE = ("optimizer.lr=log(1e-4,1e-2)", "model.latent_dim=int(2,8)")
SETTINGS_OF_BOOK = {"options": [], "space": list(SPACE), "sampler": "tpe", "pruner": "median", "seed": 0}
ROOT = Path(__file__).parents[2]


def book(folder: Path, **other: object) -> TrialBook:
    return TrialBook(folder, SETTINGS_OF_BOOK | other, epochs=4)


def finish(book: TrialBook, claimed: Claimed, *bounds: float) -> bool:
    """Report bounds until the trial is pruned or ends; whether it was pruned."""
    for epoch in range(1, len(bounds) + 1):
        if book.is_bad(claimed, bounds[:epoch]):
            book.prune(claimed)
            return True
    book.end(claimed, min(bounds))
    return False


# -- the journal -----------------------------------------------------------------------------------------------------


def test_trials_are_numbered_and_counted_over_all_that_share_the_journal(tmp_path: Path) -> None:
    space, mine = Space.parse(SPACE), book(tmp_path)
    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(book, tmp_path).result()
        taken = [mine.take(space, 5) if i % 2 else other.submit(theirs.take, space, 5).result() for i in range(6)]
        assert [each and each.number for each in taken] == [0, 1, 2, 3, 4, None]
        for i, each in enumerate(taken[:5]):
            if i % 2:
                finish(mine, each, 40.0 - i, 30.0 - i)
            else:
                other.submit(finish, theirs, each, 40.0 - i, 30.0 - i).result()
    rows = mine.rows()
    assert [(row.number, row.bound, row.epochs) for row in rows] == [(i, 30.0 - i, 2) for i in (4, 3, 2, 1, 0)]


def test_choices_depend_on_the_seed_and_the_number_alone(tmp_path: Path) -> None:
    space = Space.parse(SPACE)
    one, two, other = book(tmp_path / "a"), book(tmp_path / "b"), book(tmp_path / "c", seed=1)
    drawn = [[b.take(space, 4).values for _ in range(4)] for b in (one, two, other)]
    assert drawn[0] == drawn[1]
    assert all(mine != others for mine, others in zip(drawn[0], drawn[2], strict=True))
    assert len({str(values) for values in drawn[0]}) == 4


def test_what_was_left_is_taken_over_with_its_choices(tmp_path: Path) -> None:
    """Also what a killed search had chosen in part; but nothing that a living one has in hand."""
    space, first = Space.parse(SPACE), book(tmp_path)
    left, held = first.take(space, 3), first.take(space, 3)
    first.is_bad(left, (50.0,))
    left.close()
    with ThreadPoolExecutor(1) as other:  # a thread has locks of its own, as a process has
        second = other.submit(book, tmp_path).result()
        again, new, none = (other.submit(second.take, space, 3).result() for _ in range(3))
    assert (again.number, again.values, again.reported) == (left.number, left.values, 1)
    assert (held.number, new.number, none) == (1, 2, None)


def test_a_trial_that_ends_while_another_search_looks_is_not_taken_over(tmp_path: Path, monkeypatch) -> None:
    space, first = Space.parse(SPACE), book(tmp_path)
    held = first.take(space, 2)
    with ThreadPoolExecutor(1) as other:
        second = other.submit(book, tmp_path).result()
        claim = second._claim

        def late(number: int) -> object:
            if number == held.number:
                finish(first, held, 30.0)
            return claim(number)

        monkeypatch.setattr(second, "_claim", late)
        new, none = (other.submit(second.take, space, 2).result() for _ in range(2))
    assert (new.number, none) == (1, None)
    assert [(row.number, row.state) for row in first.rows()] == [(0, "complete"), (1, "running")]


@pytest.mark.parametrize("pruner", ["median", "hyperband", "halving"])
def test_a_bad_trial_is_pruned_by_name(pruner: str, tmp_path: Path) -> None:
    space, mine = Space.parse(SPACE), book(tmp_path, pruner=pruner)
    pruned = [finish(mine, mine.take(space, 30), *[20.0 + i + 1 / epoch for epoch in range(1, 5)]) for i in range(20)]
    assert not pruned[0]
    assert any(pruned[5:])
    assert {row.state for row in mine.rows()} == {"complete", "pruned"}
    none = book(tmp_path / "none", pruner="none")
    assert not any(finish(none, none.take(space, 30), *[20.0 + i] * 4) for i in range(20))


def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path: Path) -> None:
    space, mine = Space.parse(SPACE), book(tmp_path)
    finish(mine, mine.take(space, 9), 30.0)
    whole = (tmp_path / JOURNAL).read_bytes()
    for length in (1, 10, 40):
        (tmp_path / JOURNAL).write_bytes(whole + whole.splitlines(keepends=True)[-1][:length].rstrip(b"\n"))
        again = book(tmp_path)
        claimed = again.take(space, 9)
        finish(again, claimed, 20.0)
        assert [row.bound for row in book(tmp_path).rows()] == [20.0, 30.0]
        (tmp_path / JOURNAL).write_bytes(whole)


def test_a_damaged_journal_or_another_search_is_one_line(tmp_path: Path) -> None:
    space, mine = Space.parse(SPACE), book(tmp_path)
    finish(mine, mine.take(space, 9), 30.0)
    with pytest.raises(ValueError, match=r"holds another search: its seed is 0, and here 1; give the same again"):
        book(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"its space is optimizer\.lr=.* and here x; give the same again"):
        book(tmp_path, space=["x"])
    good = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(good[:100] + b"#" + good[101:])
    with pytest.raises(ValueError, match="is damaged"):
        book(tmp_path).rows()
    (tmp_path / JOURNAL).write_bytes(good)
    settings = (tmp_path / SETTINGS).read_text()
    for damage in ("", "{", "3", "{}"):
        (tmp_path / SETTINGS).write_text(damage)
        with pytest.raises(ValueError, match=rf"{SETTINGS} is damaged"):
            book(tmp_path)
    (tmp_path / SETTINGS).unlink()
    with pytest.raises(ValueError, match=rf"has a {JOURNAL} but no {SETTINGS}"):
        book(tmp_path)
    (tmp_path / SETTINGS).write_text(settings)
    assert [row.bound for row in book(tmp_path).rows()] == [30.0]


# -- the command -----------------------------------------------------------------------------------------------------


def search(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pyrovae", "search", *words])
    main()


@pytest.mark.slow
def test_a_search_is_made_printed_and_gone_on_with(tmp_path: Path, monkeypatch, capsys) -> None:
    """By validation images alone: no trial's folder has a bound of test images."""
    words = [*SMALL, "--runs_dir", str(tmp_path), "--name", "s", "--workers", "1", "--pruner", "none"]
    words += [word for text in SPACE for word in ("--space", text)]
    search(monkeypatch, *words, "--trials", "2")
    out = capsys.readouterr().out
    search(monkeypatch, *words, "--trials", "3", "--progress", "false")
    again = capsys.readouterr().out.splitlines()
    assert sum("complete" in line for line in out.splitlines()) == 2
    assert sum("complete" in line for line in again) == 3
    assert not list(tmp_path.glob("s/trial-*/test.json"))
    best = re.search(r"train the best again: pyrovae (train .*)", again[-1])[1].split()
    rows = book(tmp_path / "s", **json.loads((tmp_path / "s" / SETTINGS).read_text())).rows()
    assert best[best.index("--model.latent_dim") + 1] == str(rows[0].values["model.latent_dim"])
    assert float(best[best.index("--optimizer.lr") + 1]) == rows[0].values["optimizer.lr"]
    bounds = [float(row["validation_negative_elbo"]) for row in metrics(tmp_path / "s" / f"trial-{rows[0].number:03d}")]
    assert rows[0].bound == min(bounds)
    alone = search_runs(SMALL, SPACE, tmp_path / "b", trials=3, pruner="none", workers=1, progress=False)
    assert [t.values for t in alone.trials] == [row.values for row in rows]
    assert [t.bound for t in alone.trials] == [row.bound for row in rows]


def metrics(folder: Path) -> list[dict[str, str]]:
    import csv

    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


COMMAND = "import sys; sys.argv[:1] = ['pyrovae', 'search']; from pyrovae.cli.main import main; main()"


@pytest.mark.slow
def test_a_killed_search_goes_on_and_two_share_one_journal(tmp_path: Path) -> None:
    """`kill -9` while two trials are in hand; then two searches at once."""
    words = [*SMALL, "--epochs", "8", "--checkpoint_every", "0", "--runs_dir", str(tmp_path), "--trials", "5"]
    words += [word for text in SPACE for word in ("--space", text)] + ["--workers", "2", "--pruner", "none"]
    command = [sys.executable, "-c", COMMAND, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as first:
        while len(list(tmp_path.glob("search/trial-*/checkpoint.pt"))) < 2:
            assert first.poll() is None
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    begun = {p.parent.name: p.stat().st_ino for p in tmp_path.glob("search/trial-*/config.yaml")}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    outs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert any(sum("complete" in line for line in out.splitlines()) == 5 for out in outs)
    assert sorted(path.name for path in tmp_path.glob("search/trial-*")) == [f"trial-{i:03d}" for i in range(5)]
    for folder in tmp_path.glob("search/trial-*"):
        assert [int(row["epoch"]) for row in metrics(folder)] == list(range(1, 9))
    assert set(begun) <= {path.name for path in tmp_path.glob("search/trial-*")}


@pytest.mark.slow
def test_a_stop_keeps_what_was_trained(tmp_path: Path) -> None:
    def stop() -> None:
        while not list(tmp_path.glob("s/trial-*/checkpoint.pt")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    long = (*SMALL, "--epochs", "100000")
    with pytest.raises(KeyboardInterrupt):
        search_runs(long, SPACE, tmp_path / "s", trials=3, workers=1, progress=False)
    stopper.join()
    assert not list(tmp_path.glob("s/.*.job"))
    rows = book(tmp_path / "s", **json.loads((tmp_path / "s" / SETTINGS).read_text())).rows()
    assert [row.state for row in rows] == ["running"]


@pytest.mark.slow
def test_a_trial_that_breaks_is_one_line(tmp_path: Path, capsys) -> None:
    found = search_runs(SMALL, ["optimizer.lr=float(1e29,1e30)"], tmp_path, trials=2, workers=1)
    assert [trial.state for trial in found.trials] == ["fail", "fail"]
    assert found.best is None
    with pytest.raises(ValueError, match="none of 2 trials came to its end"):
        _ = found.best_options
    assert (
        len(re.findall(r"trial-00\d: training broke in epoch 1.*; the search goes on\n", capsys.readouterr().out)) == 2
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give at least one --space"),
        (["--space", "model.latent_dimm=int(2,5)"], "VAE has no argument 'latent_dimm'; did you mean latent_dim?"),
        (["--space", "epochz=int(2,5)"], "there is no option --epochz; did you mean --epochs?"),
        (["--space", "model.latent_dim=int(0,5)"], "latent_dim must be"),
        (["--space", "model.latent_dim=float(2,5)"], "latent_dim must be a whole number, got '3.85"),
        (["--space", "model.prior=choice(StandardNormal,VampPrio)"], "there is no prior 'VampPrio'; did you mean Vam"),
        (["--space", "optimizer.lr=log(0,1)"], "log of optimizer.lr must begin above 0"),
        (["--space", "optimizer.lr=log(1e-4,1)", "--optimizer.lr", "1e-3"], "--optimizer.lr is given and in the space"),
        (["--space", "optimizer.lr=log(1e-4,1)", "--validation", "0"], "a search compares bounds of validation images"),
        (
            ["--space", "optimizer.lr=log(1e-4,1)", "--trials", "0"],
            "trials must be a whole number of at least 1, got 0",
        ),
        (["--space", "optimizer.lr=log(1e-4,1)", "--workers", "-1"], "workers must be a whole number of at least 1"),
        (["--space", "optimizer.lr=log(1e-4,1)", "--pruner", "medium"], "pruner must be one of median, hyperband"),
        (["--space", "optimizer.lr=log(1e-4,1)", "--cluster", "here"], "cluster must be the address of a Dask sched"),
        (["--space"], "--space needs a value behind it"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(words: list[str], message: str, tmp_path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        search(monkeypatch, *SMALL, "--runs_dir", str(tmp_path / "runs"), *words)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
