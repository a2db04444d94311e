"""A search among the options of a training by Optuna, on validation bounds, with its runs on any executor.

Beside the runs lies a journal of all trials. Whoever searches in the same folder, now or after a kill, on this machine
or on another one that shares the folder, goes on with the same study.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from jsonargparse import Namespace

from pyrovae.hints import nearest
from pyrovae.runs.executors import ExecutorSource
from pyrovae.runs.job import Job, Length, lengths
from pyrovae.runs.job_table import JobTable, Row, columns
from pyrovae.runs.jobs import POLL, check_placing, default_workers, opened_runner
from pyrovae.runs.runner import Runner
from pyrovae.runs.space import Space, shown
from pyrovae.runs.training import build_training, load_training_data, parse_training
from pyrovae.shapes import is_whole
from pyrovae.training import RunFolder
from pyrovae.training.interrupts import InterruptFlag

if TYPE_CHECKING:
    from pyrovae.runs.trials import Claimed, TrialBook, TrialRow

Sampler = Literal["tpe", "random"]
Pruner = Literal["median", "hyperband", "halving", "none"]
SAVED_EVERY = "2"
"""Seconds between two checkpoints of a trial, with which its metrics are written, by which it is pruned."""


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search.

    Attributes:
        trials: The trials, the best first; those without a bound last.
        options: The options that all share.
        space: What was searched.
    """

    trials: tuple[TrialRow, ...]
    options: tuple[str, ...]
    space: Space

    @property
    def best(self) -> TrialRow | None:
        """The best of those that were trained to their end."""
        return next((trial for trial in self.trials if trial.state == "complete"), None)

    @property
    def best_options(self) -> tuple[str, ...]:
        """The options to train the best again.

        Raises:
            ValueError: If no trial came to its end.
        """
        if self.best is None:
            raise ValueError(f"none of {len(self.trials)} trials came to its end, so there is no best one: train more")
        return (*self.options, *self.space.words(self.best.values))

    def __str__(self) -> str:
        names = [each.name for each in self.space.dimensions]
        rows: list[tuple[str, ...]] = [("trial", "state", "bound", "epochs", *names)]
        for trial in self.trials:
            bound = "-" if trial.bound is None else f"{trial.bound:.2f}"
            values = (shown(trial.values.get(name)) for name in names)
            rows.append((str(trial.number), trial.state, bound, str(trial.epochs), *values))
        return "\n".join(columns(rows, frozenset({0, 2, 3})))


def search_runs(
    options: Sequence[str],
    space: Sequence[str],
    folder: str | Path,
    *,
    trials: int = 20,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    seed: int = 0,
    workers: int | None = None,
    executor: ExecutorSource | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search for the options of a training with the best bound of the validation images. No test image is looked at.

    A folder that holds the same search is gone on with: its trials count, and those that nobody has in hand any more
    are taken over, from their checkpoints.

    Args:
        options: The options of `pyrovae train` that all trials share.
        space: The options that are searched, such as "optimizer.lr=log(1e-4,1e-2)"; see `pyrovae.runs.space`. One that
            the class of a trial does not take is left out.
        folder: Where journal and runs are.
        trials: Trials in all, those of earlier and simultaneous calls too.
        sampler: Who chooses: "tpe" (a Parzen estimator of what was good) or "random".
        pruner: Who stops a bad trial, by its bounds after each epoch: "median", "hyperband", "halving" or "none".
        seed: Seed of the sampler. One worker repeats a search, without a pruner to the bit.
        workers: Trials at a time; by default one a core, two on a GPU; with an executor 1, on a cluster as many as its
            workers have threads.
        executor: Who runs them instead of this machine; see `train_runs`.
        threads: Threads of torch in each; see `train_runs`.
        progress: Whether to show progress.

    Raises:
        ValueError: If an argument is out of its range, a training does not take what the space holds, or the folder
            holds another search.
        KeyboardInterrupt: When stopped by the user, after every trial in hand has written its checkpoint.
    """
    _check_arguments(trials, sampler, pruner, seed)
    check_placing(workers, None, threads)
    check_placing(None, executor, None)
    room, options = Space.parse(space), tuple(options)
    length, first = _check_trainings(options, room)
    settings: dict[str, object] = {"options": list(options), "space": [str(each) for each in room.dimensions]}
    settings |= {"sampler": sampler, "pruner": pruner, "seed": seed}
    book = _opened(Path(folder), settings, length.epochs)
    table = JobTable([], expected=trials, enabled=progress)
    width = workers or (default_workers([first]) if executor is None else None)
    with InterruptFlag() as flag, opened_runner(width or 1, executor, threads, table.say) as runner:
        search = _Search(book, room, options, length, runner, table)
        try:
            search.run(trials, lambda: width or int(getattr(executor, "width", 1)), flag)
        finally:
            search.let_go()
    table.end(kept=False)
    return SearchResult(tuple(book.rows()), options, room)


def _check_arguments(trials: object, sampler: str, pruner: str, seed: object) -> None:
    if not is_whole(trials, 1):
        raise ValueError(f"trials must be a whole number of at least 1, got {trials!r}")
    if not is_whole(seed, 0):
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    for name, value, known in (("sampler", sampler, get_args(Sampler)), ("pruner", pruner, get_args(Pruner))):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}{nearest(str(value), known)}")


def _check_trainings(options: tuple[str, ...], space: Space) -> tuple[Length, Namespace]:
    """Find what a training would refuse, at the corners of the space, before anything is trained.

    Returns:
        The length of the longest, and the first command line.

    Raises:
        ValueError: If a training does not take an option or a value.
    """
    given = {word.removeprefix("--").partition("=")[0].replace("-", "_") for word in options if word.startswith("--")}
    both = given & {each.name for each in space.dimensions}
    if both:
        raise ValueError(f"--{min(both)} is given and in the space too: leave one of the two out")
    if unused := space.unused():
        raise ValueError(f"space: no class that is chosen takes {unused[0]}: leave it out")
    commands = [parse_training([*options, *space.words(corner)]) for corner in space.corners()]
    data = load_training_data(commands[0])
    if not len(data.splits["validation"]):
        raise ValueError(
            "a search compares bounds of validation images, and there are none: give a --validation above 0"
        )
    for command in commands:
        build_training(command, data)
    return max(lengths(commands), key=lambda each: each.steps), commands[0]


def _opened(folder: Path, settings: dict[str, object], epochs: int) -> TrialBook:
    """The trials of a folder.

    Raises:
        ValueError: If Optuna is not installed, or the folder holds another search.
    """
    try:
        from pyrovae.runs.trials import TrialBook
    except ImportError as error:
        raise ValueError("a search needs Optuna: pip install 'pyrovae[search]'") from error
    return TrialBook(folder, settings, epochs)


class _Search:
    """The trials that this process has in hand."""

    def __init__(
        self,
        book: TrialBook,
        space: Space,
        options: tuple[str, ...],
        length: Length,
        runner: Runner,
        table: JobTable,
    ) -> None:
        self._book, self._space, self._options, self._length = book, space, options, length
        self._runner, self._table = runner, table
        self._mine: dict[Job, tuple[Claimed, Row]] = {}

    def run(self, trials: int, width: Callable[[], int], flag: InterruptFlag) -> None:
        """Begin and end trials until there are so many and none of them is in hand here."""
        while True:
            while len(self._mine) < width() and (claimed := self._book.take(self._space, trials)) is not None:
                self._begin(claimed)
            if not self._mine:
                return
            for job, error in self._runner.step(POLL):
                self._end(job, error)
            for job, (claimed, row) in self._mine.items():
                row.state = self._runner.state(job)
                row.look()
                if not claimed.pruned and self._book.is_bad(claimed, row.standing.bounds):
                    claimed.pruned = True
                    self._runner.stop(job)
            if flag.signal:
                raise KeyboardInterrupt
            self._table.show()

    def let_go(self) -> None:
        """Leave what is in hand to the next search."""
        for claimed, _ in self._mine.values():
            claimed.close()

    def _begin(self, claimed: Claimed) -> None:
        options = self._options
        if "--checkpoint_every" not in " ".join(options).replace("-every", "_every"):
            options = (*options, "--checkpoint_every", SAVED_EVERY)
        folder = RunFolder(self._book.folder / f"trial-{claimed.number:03d}")
        job = Job(folder, (*options, *self._space.words(claimed.values)), tested=False)
        row = Row(job, self._length)
        self._mine[job] = claimed, row
        self._table.rows.append(row)
        self._runner.start(job)

    def _end(self, job: Job, error: BaseException | None) -> None:
        """Write what became of a trial into the journal."""
        claimed, row = self._mine.pop(job)
        row.look()
        self._book.is_bad(claimed, row.standing.bounds)  # which writes what is new of them
        best = row.standing.best
        if error is None and best is not None:
            row.state = "done"
            self._book.end(claimed, best)
        elif claimed.pruned and best is not None:
            row.state = "pruned"
            self._book.prune(claimed)
        else:
            row.state = "failed"
            why = " ".join(str(error or "its bound is no number").split())
            self._table.say(f"{job.name}: {why}; the search goes on")
            self._book.fail(claimed, why)
