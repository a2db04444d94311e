"""A table of jobs that follows them, by the files in their folders: alive on a terminal, lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pyrovae.runs.job import Job, Length, Standing

MOST_ROWS = 16
"""Jobs that are shown at a time."""
ORDER = ("failed", "elsewhere", "running", "waiting", "pruned", "done")
"""States, in the order in which the table shows them where there is no room for all."""


@dataclass(eq=False)
class Row:
    """A job in the table.

    Attributes:
        job: The job.
        length: How long it is, None where nothing is left of it.
        state: waiting, running, elsewhere, done, failed or pruned.
        standing: How far it is.
    """

    job: Job
    length: Length | None
    state: str = "waiting"
    standing: Standing = field(default_factory=Standing)
    _seen: tuple[int, int] | None = field(default=None, init=False, repr=False)

    def look(self) -> None:
        """Read how far it is, if its metrics were written since."""
        try:
            stat = self.job.folder.metrics.stat()
        except OSError:
            return
        if self._seen != (stat.st_mtime_ns, stat.st_size):
            self._seen, self.standing = (stat.st_mtime_ns, stat.st_size), self.job.standing()

    @property
    def left(self) -> float | None:
        """Seconds until its end, at the speed that it has had; None where nobody can know."""
        if self.length is None or not self.standing.step or self.state in ("done", "failed", "pruned"):
            return None
        return self.standing.seconds / self.standing.step * max(0, self.length.steps - self.standing.step)

    @property
    def work(self) -> tuple[float, float]:
        """What is done of it and what it is in all, in steps times their cost."""
        if self.length is None:
            return 0.0, 0.0
        all_of_it = float(self.job.cost * self.length.steps)
        ended = self.state in ("done", "failed", "pruned")
        return (all_of_it if ended else min(all_of_it, float(self.job.cost * self.standing.step))), all_of_it

    def cells(self) -> tuple[str, ...]:
        """Its cells."""
        best, left = self.standing.best, self.left
        epochs = f"{self.standing.epoch}/{self.length.epochs}" if self.length else str(self.standing.epoch)
        return (
            self.job.name,
            self.state,
            epochs,
            "-" if best is None else f"{best:.2f}",
            "" if left is None else duration(left),
        )


HEAD = ("run", "state", "epochs", "best bound", "left")


def duration(seconds: float) -> str:
    """Seconds in words: 2 h 5 min.

    >>> duration(7500), duration(90), duration(4.2)
    ('2 h 5 min', '1 min 30 s', '4 s')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset({2, 3})) -> list[str]:
    """Rows of cells as lines; some columns end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class JobTable:
    """Shows jobs while they run.

    Args:
        rows: The jobs; those that come later are appended.
        expected: How many there will be, if more come later.
        enabled: Whether anything is shown at all.
        every: Seconds between two lines where there is no terminal.
    """

    def __init__(self, rows: list[Row], *, expected: int = 0, enabled: bool = True, every: float = 10.0) -> None:
        self.rows, self._expected, self._enabled, self._every = rows, expected, enabled, every
        self._alive = enabled and sys.stderr.isatty()
        self._drawn, self._said, self._count = 0, "", -1
        self._started = self._last = time.monotonic()
        self._first = -1.0

    def show(self) -> None:
        """Look at the folders, and draw what is new."""
        for row in self.rows:
            if row.state in ("running", "elsewhere"):
                row.look()
        if not self._enabled:
            return
        now, ended = time.monotonic(), sum(row.state in ("done", "failed", "pruned") for row in self.rows)
        if self._alive:
            self._draw(self._line(ended, now))
        elif ended != self._count or now - self._last >= self._every:
            self._last, self._count = now, ended
            self._print(self._line(ended, now))

    def say(self, text: str) -> None:
        """Print a line above the table."""
        if self._enabled:
            self._erase()
            self._print(text)

    def end(self, *, kept: bool = True) -> None:
        """Print the whole table as it is at the end, or only take away what was drawn."""
        if self._enabled:
            self._erase()
        if self._enabled and kept:
            for row in self.rows:
                row.look()
            self._print("\n".join(columns([HEAD[:-1], *(row.cells()[:-1] for row in self.rows)])))

    def _table(self, most: int) -> list[str]:
        chosen = sorted(self.rows, key=lambda row: ORDER.index(row.state))[:most]
        lines = columns([HEAD, *(row.cells() for row in self.rows if row in chosen)])
        hidden = len(self.rows) - len(chosen)
        return lines + ([f"and {hidden} more"] if hidden else [])

    def _line(self, ended: int, now: float) -> str:
        """All jobs in a line."""
        done, whole = (sum(part) for part in zip((0.0, 0.0), *(row.work for row in self.rows), strict=True))
        to_come = max(0, self._expected - len(self.rows))
        if self.rows:
            whole += to_come * self.rows[-1].work[1]
        if self._first < 0:
            self._first = done
        speed = (done - self._first) / max(now - self._started, 1e-9)
        left = f", about {duration((whole - done) / speed)} left" if speed > 0 and whole > done else ""
        share = done / whole if whole else 1.0
        running = " ".join(
            f"{row.job.name} {row.cells()[2]} {row.cells()[3]}" for row in self.rows if row.state == "running"
        )
        text = f"{share:4.0%}  {now - self._started:5.0f} s  {ended}/{len(self.rows) + to_come} runs{left}"
        return text if self._alive or not running else f"{text}  {running[:100]}"

    def _draw(self, last: str) -> None:
        """Draw as many jobs as fit, what runs before what waits, and all of them in a last line."""
        width, height = shutil.get_terminal_size()
        lines = [line[: width - 1] for line in (*self._table(max(1, min(MOST_ROWS, height - 4))), last)]
        text = "\n".join(lines) + "\n"
        if text != self._said:
            self._erase()
            with suppress(OSError):
                sys.stderr.write(text)
                sys.stderr.flush()
            self._drawn, self._said = len(lines), text

    def _erase(self) -> None:
        if self._drawn:
            with suppress(OSError):
                sys.stderr.write(f"\x1b[{self._drawn}F\x1b[J")
                sys.stderr.flush()
        self._drawn, self._said = 0, ""

    def _print(self, text: str) -> None:
        with suppress(OSError):  # a training goes on when nobody can read it any more
            print(text, flush=True)
