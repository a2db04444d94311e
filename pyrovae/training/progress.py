"""Progress of a run on a terminal, in a notebook or in a log file."""

import sys
import time
import warnings
from contextlib import suppress
from types import TracebackType

from tqdm.std import tqdm


class Progress:
    """A progress bar on a terminal or in a notebook, plain lines in a log file.

    Args:
        total: Steps of the whole run.
        done: Steps that are done already.
        enabled: Whether anything is shown at all.
        every: Seconds between two lines in a log file.
    """

    def __init__(self, total: int, done: int = 0, *, enabled: bool = True, every: float = 10.0) -> None:
        self._total = total
        self._done = done
        self._every = every
        self._enabled = enabled
        self._lines = enabled and not _draws_bars()
        self._started = self._last_line = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns of missing notebook widgets and falls back to text
            self._bar = tqdm(
                total=total,
                initial=done,
                disable=not enabled or self._lines,
                unit="step",
                dynamic_ncols=True,
                smoothing=0.1,
                bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )

    def advance(self, steps: int, text: str) -> None:
        """Count steps and show a text beside them; a training goes on when nobody can read it any more."""
        self._done += steps
        with suppress(OSError):
            self._show(steps, text)

    def _show(self, steps: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(steps)
        now = time.monotonic()
        if self._lines and (now - self._last_line >= self._every or self._done == self._total):
            self._last_line = now
            print(f"{100 * self._done // self._total:3d}%  {now - self._started:5.0f} s  {text}", flush=True)

    def say(self, text: str) -> None:
        """Print a line above the bar, if progress is shown."""
        if not self._enabled:
            return
        with suppress(OSError):
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._bar.close()


def _draws_bars() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
