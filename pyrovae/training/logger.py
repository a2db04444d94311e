"""The log of a run: sums over the steps of an epoch, a row per epoch in its files, and the text of the progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pyrovae.training.history import EpochRow, History
from pyrovae.training.learner import Losses
from pyrovae.training.run_folder import RunFolder


class Logger:
    """Collects losses and writes a row per epoch.

    Args:
        evaluate: Measures the model at the end of an epoch: the row's columns.
        warn: Says in a line what is wrong by a row, or None; asked until it says something.
        images: Training images of an epoch.
        score: What the reconstruction is called.
        additive: Whether the loss is the sum of its two parts.
        folder: Where the rows are kept, or None.
        tensorboard: Whether to write TensorBoard events as well.

    Attributes:
        history: The rows.
        sums: Loss and its parts, summed over the images of this epoch's steps so far.
        step_seconds: How long these steps took.

    Raises:
        ValueError: If TensorBoard is asked for without a folder, or is not installed.
    """

    def __init__(
        self,
        evaluate: Callable[[], EpochRow],
        warn: Callable[[EpochRow], str | None],
        images: int,
        score: str,
        *,
        additive: bool = True,
        folder: RunFolder | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.history = History(score=score)
        self.sums = {"loss": 0.0, "loss_reconstruction": 0.0, "loss_kl": 0.0}
        self.step_seconds = 0.0
        self._evaluate, self._warn = evaluate, warn
        self._images, self._additive, self._folder = images, additive, folder
        self._make_writer = _tensorboard(folder) if tensorboard else None
        self._writer: Any = None
        self._warned = False
        self._last_saved = 0.0

    def add(self, sizes: Sequence[int], losses: Sequence[Losses], seconds: float) -> None:
        """Add the losses of some steps in their order, so that the sums do not depend on when they are read."""
        for images, step in zip(sizes, losses, strict=True):
            for name, value in zip(self.sums, step, strict=True):
                self.sums[name] += images * value
        self.step_seconds += seconds

    def text(self, epoch: int, epochs: int, seen: int) -> str:
        """The text of the progress bar after a number of images of an epoch."""
        loss, reconstruction, kl = (value / seen for value in self.sums.values())
        # A bound from several codes at once is no sum of the two terms, which are shown beside it all the same.
        equals, plus = ("=", "+") if self._additive else (" ", " ")
        return (
            f"epoch {epoch}/{epochs}  loss {loss:.2f} {equals} {self.history.score} {reconstruction:.2f} "
            f"{plus} KL {kl:.2f} nats/image  {seen / self.step_seconds:,.0f} images/s"
        )

    def end_epoch(self, epoch: int, step: int, settings: dict[str, float], seconds: float) -> EpochRow:
        """Write the epoch's row and begin the next one."""
        row: EpochRow = {"epoch": epoch, "step": step, **settings}
        row |= {name: value / self._images for name, value in self.sums.items()}
        row |= self._evaluate()
        row |= {"images_per_second": self._images / max(self.step_seconds, 1e-9), "seconds": seconds}
        self.history.rows.append(row)
        self.sums, self.step_seconds = dict.fromkeys(self.sums, 0.0), 0.0
        # Short epochs do not wait for the disk each: a row is there within a second, and with every checkpoint.
        if self._folder is not None and time.monotonic() - self._last_saved >= 1:
            self.save()
        if self._make_writer is not None:
            self._writer = self._writer or self._make_writer(epoch)
            for name, value in row.items():
                self._writer.add_scalar(name, value, epoch)
        return row

    def warning(self, epoch: int, epochs: int) -> str | None:
        """A warning, given once. At the beginning and during a warm-up a small KL is normal."""
        if self._warned or epoch < max(3, epochs // 3):
            return None
        found = self._warn(self.history.rows[-1])
        self._warned = found is not None
        return f"warning: after epoch {epoch} {found}" if found else None

    def save(self) -> None:
        """Write all rows into the folder."""
        if self._folder is not None:
            self.history.save(self._folder.metrics)
            self._last_saved = time.monotonic()

    def close(self) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()

    def state_dict(self) -> dict[str, Any]:
        """Rows and sums."""
        return {"rows": self.history.rows, "sums": self.sums, "step_seconds": self.step_seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.history.rows, self.step_seconds = state["rows"], state["step_seconds"]
        self.sums = {name: state["sums"][name] for name in self.sums}


def _tensorboard(folder: RunFolder | None) -> Callable[[int], Any]:
    """A function from the next epoch to a writer, which discards older events of that epoch and later ones."""
    if folder is None:
        raise ValueError("TensorBoard events need a run folder")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        cure = "pip install 'pyrovae[tensorboard]', or leave --tensorboard"
        raise ValueError(f"TensorBoard is not installed: {cure}") from error
    return lambda epoch: SummaryWriter(folder.path / "tensorboard", purge_step=epoch)
